"""Several teachers as one, against numpy."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from shared import classes_in
from torch import nn

from ckd.engine.life_cycle import LifeCycle
from ckd.errors import ConfigError
from ckd.heads import BiasCorrection
from ckd.losses import kd
from ckd.memory import Memory
from ckd.objective import Objective
from ckd.outputs import features, logits, tap
from ckd.part import Ending, Update
from ckd.teachers import Ema, Ensemble, Fixed, Snapshot

CPU = torch.device("cpu")
MEANS = pytest.mark.parametrize("mean", ["probabilities", "logits"])


class Given(nn.Module):
    """Returns the same logits whatever it is shown."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = nn.Parameter(torch.as_tensor(outputs))

    def forward(self, x):
        return self.outputs[: len(x)]


def several(n=3, shape=(5, 4), seed=0):
    """Logits of `n` teachers, (n, *shape), some of them far apart."""
    return 4 * np.random.default_rng(seed).standard_normal((n, *shape))


def fixed(each, **settings):
    return Ensemble([Fixed(Given(z)) for z in each], **settings)


def of(ensemble, n=5):
    return ensemble.outputs(torch.zeros(n, 1, dtype=torch.float64))[logits].numpy()


@pytest.mark.parametrize("shape", [(5, 4), (5, 3, 4), (5, 4, 2, 2)], ids=["plain", "tokens", "maps"])
def test_classes_that_not_all_know_take_nothing_from_a_teachers_say_on_the_others(shape):
    each, known, axis = several(3, shape), [0, 2], 1 if len(shape) == 4 else -1
    found = of(Ensemble([Fixed(Given(z), classes=known) for z in each], temperature=2.0))
    shares = [softmax(np.take(z, known, axis) / 2, axis=axis) for z in each]
    np.testing.assert_allclose(softmax(np.take(found, known, axis) / 2, axis=axis), np.mean(shares, 0), rtol=1e-10)
    assert np.isfinite(found).all()


# what it says ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, [1, 1, 1], [0.2, 0.5, 0.3], [4, 1, 3], [0, 1, 1], [0, 0, 2]])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_at_its_temperature_it_has_the_mean_of_the_tempered_probabilities(weights, temperature):
    each = several()
    found = of(fixed(each, weights=weights, temperature=temperature))
    shares = np.array(weights or [1, 1, 1]) / sum(weights or [1, 1, 1])
    wanted = np.einsum("k,kbc->bc", shares, softmax(each / temperature, axis=-1))
    np.testing.assert_allclose(softmax(found / temperature, axis=-1), wanted, rtol=1e-10)
    np.testing.assert_allclose(found, temperature * np.log(wanted), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weights", [None, [4, 1, 3], [0, 1, 1]])
def test_the_mean_of_logits_is_that(weights):
    each = several()
    shares = np.array(weights or [1, 1, 1]) / sum(weights or [1, 1, 1])
    wanted = np.einsum("k,kbc->bc", shares, each)
    np.testing.assert_allclose(of(fixed(each, weights=weights, mean="logits")), wanted, rtol=1e-12)


def test_probabilities_that_underflow_are_averaged_all_the_same():
    each = np.array([[[0.0, 2000.0]], [[500.0, 0.0]]])
    found = of(fixed(each), n=1)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(softmax(found, axis=-1), [[0.5, 0.5]], rtol=1e-12)


def test_the_loss_with_it_is_that_of_the_mean_of_probabilities():
    """Σ_k w_k H(p_k, q) = H(Σ_k w_k p_k, q): with one student the two differ by a constant, their gradients not."""
    each, student, temperature = several(), torch.randn(5, 4, dtype=torch.float64, requires_grad=True), 2.0
    found = torch.as_tensor(of(fixed(each, weights=[1, 2, 1], temperature=temperature)))
    kd(student, found, temperature=temperature).sum().backward()
    shares = np.array([1, 2, 1]) / 4
    p = np.einsum("k,kbc->bc", shares, softmax(each / temperature, axis=-1))
    q = softmax(student.detach().numpy() / temperature, axis=-1)
    np.testing.assert_allclose(student.grad, temperature * (q - p), rtol=1e-7, atol=1e-12)


def by_certainty(each):
    """Each teacher's weight for a sample is its largest probability."""
    assert each.shape[:2] == (3, 5)
    return each.softmax(-1).amax(-1)


@MEANS
def test_a_function_gives_weights_sample_by_sample(mean):
    each = several()
    found = of(fixed(each, weights=by_certainty, mean=mean))
    for b in range(5):
        p = softmax(each[:, b], axis=-1)
        shares = p.max(-1) / p.max(-1).sum()
        wanted = np.log(shares @ p) if mean == "probabilities" else shares @ each[:, b]
        np.testing.assert_allclose(found[b], wanted, rtol=1e-9, atol=1e-12)


@MEANS
@pytest.mark.parametrize("weights", [None, [1, 2], lambda each: each.flatten(2).amax(2).exp()], ids=["-", "2", "f"])
@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 4), -1), ((2, 4, 3, 3), 1)], ids=["sequences", "dense"])
def test_each_place_of_a_sequence_or_an_image_is_averaged_with_the_weights_of_its_sample(mean, weights, shape, axis):
    each = several(2, shape)  # as many samples as teachers
    found = of(fixed(each, weights=weights, mean=mean), n=2)
    assert found.shape == shape
    shares = np.tile(np.array([[1.0], [2.0 if weights == [1, 2] else 1.0]]), (1, 2))  # (K, B)
    if callable(weights):
        shares = np.exp(each.reshape(2, 2, -1).max(-1))
    shares = shares / shares.sum(0)
    values = each if mean == "logits" else softmax(each, axis=axis if axis < 0 else axis + 1)
    wanted = np.einsum("kb,kb...->b...", shares, values)
    np.testing.assert_allclose(found, wanted if mean == "logits" else np.log(wanted), rtol=1e-9, atol=1e-12)


@MEANS
def test_of_heads_of_different_width_the_narrowest_counts(mean):
    each = several()
    ensemble = Ensemble([Fixed(Given(z)) for z in (each[0], each[1][:, :3], each[2])], mean=mean)
    np.testing.assert_allclose(of(ensemble), of(fixed(each[..., :3], mean=mean)), rtol=1e-12)
    dense = several(2, (2, 4, 3, 3))
    ensemble = Ensemble([Fixed(Given(dense[0])), Fixed(Given(dense[1][:, :3]))], mean=mean)
    assert of(ensemble, n=2).shape == (2, 3, 3, 3)


def test_there_is_no_graph_and_task_labels_reach_each():
    class Tasks(nn.Module):
        def forward(self, x, tasks):
            return x * tasks[:, None]

    x = torch.randn(3, 2, requires_grad=True)
    found = Ensemble([Fixed(Tasks()), Fixed(Tasks())], mean="logits").outputs(x, torch.tensor([1, 2, 3]))[logits]
    torch.testing.assert_close(found, x.detach() * torch.tensor([[1.0], [2], [3]]))
    assert not found.requires_grad


def test_of_equal_teachers_it_gives_their_log_probabilities():
    each = several(1)
    np.testing.assert_allclose(of(fixed([each[0]] * 3)), log_softmax(each[0], axis=-1), rtol=1e-9)


# which classes -----------------------------------------------------------------------------------------------------


def known(*classes):
    return Fixed(nn.Linear(2, 6), classes=classes or None)


@pytest.mark.parametrize(
    ("teachers", "width", "wanted"),
    [
        ([known(0, 1, 3), known(1, 3, 5)], 6, [0, 1, 0, 1, 0, 0]),
        ([known(0, 1, 3), known(1, 3, 5)], 3, [0, 1, 0]),
        ([known(0, 1), known()], 4, [1, 1, 0, 0]),
        ([known(), known(0, 1), known(1, 2)], 4, [0, 1, 0, 0]),
        ([known(), known()], 4, None),
        ([known(0, 1, 2), known(0, 1, 2, 3)], 3, None),
        ([known(0), known(1)], 2, [0, 0]),
    ],
)
def test_a_class_is_valid_where_all_know_it(teachers, width, wanted):
    found = Ensemble(teachers).valid(width, None, CPU)
    assert found is None if wanted is None else found.int().tolist() == wanted


def test_heads_by_task_and_one_head_together():
    snapshot = Snapshot()
    snapshot.end(Ending(nn.Linear(2, 4), classes_in({0: [0, 1]}, {2: [2, 3]}, per_task=True)))
    found = Ensemble([known(1, 2), snapshot]).valid(4, torch.tensor([2, 0, 1]), CPU)
    assert found.int().tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


# its life ----------------------------------------------------------------------------------------------------------


def test_its_teachers_are_parts_with_a_life_cycle_of_their_own_and_it_is_ready_once_all_are():
    student, snapshot, ema = nn.Linear(2, 3), Snapshot(), Ema(0.5)
    ensemble, classes = Ensemble([snapshot, ema, known()]), classes_in([0, 1])
    parts = LifeCycle(Objective("own", teachers={"t": ensemble}))
    assert not ensemble.ready
    parts.begin(student, classes)
    assert ema.ready
    assert not ensemble.ready
    before = ema.model.module.weight.clone()
    with torch.no_grad():
        student.weight += 1
    parts.after_update(Update(student, *[torch.zeros(1)] * 2, None, torch.zeros(1, 3), 0))
    assert torch.allclose(ema.model.module.weight, before + 0.5)
    parts.end(Ending(student, classes))
    assert ensemble.ready
    assert torch.equal(snapshot.model.module.weight, student.weight)
    mine = 4 * (2 * 3 + 3)
    assert parts.nbytes()["teachers"] == 2 * mine + 4 * (2 * 6 + 6)


def test_an_average_that_predicts_too_moves_once_a_step():
    student, ema = nn.Linear(2, 3), Ema(0.5)
    parts = LifeCycle(Objective("own", teachers={"t": Ensemble([ema, known()])}, evaluation=ema))
    parts.begin(student, classes_in([0, 1]))
    parts.after_update(Update(student, *[torch.zeros(1)] * 2, None, torch.zeros(1, 3), 0))
    assert ema.steps == 1


def test_a_copy_of_the_evaluation_model_is_restored_inside_it_too():
    def made():
        inner = Ensemble([Snapshot(of_evaluation_model=True), given])
        return LifeCycle(Objective("own", memory=Memory(10), teachers={"t": inner}, evaluation=BiasCorrection())), inner

    given, student = known(), nn.Linear(2, 3)
    (parts, ensemble), (others, restored) = made(), made()
    for i, classes in enumerate((classes_in([0, 1]), classes_in([0, 1], [2]))):
        parts.begin(student, classes)
        parts.after_update(Update(student, torch.randn(9, 2), torch.arange(9) % 3, None, torch.zeros(9, 3), i))
        model = parts.parts["evaluation default 0"].evaluation_model
        parts.end(Ending(student, classes, i, evaluation_model=lambda model=model: model(student)))
    others.load_state_dict(parts.state_dict(), student)
    x = torch.randn(4, 2)
    assert torch.equal(restored.outputs(x)[logits], ensemble.outputs(x)[logits])


def test_it_needs_task_boundaries_where_one_of_its_teachers_does():
    assert Ensemble([Snapshot(), Ema()]).needs_boundaries
    assert not Ensemble([Ema(), known()]).needs_boundaries


# what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("teachers", [[], [known()], [known(), nn.Linear(2, 3)], [known(), None]])
def test_fewer_than_two_teachers_are_refused(teachers):
    with pytest.raises(ConfigError, match="ensemble: expected two teachers or more"):
        Ensemble(teachers)


@pytest.mark.parametrize(
    "weights", [[1], [1, 1, 1], [], [1, -0.1], [0, 0], [float("nan"), 1], [1, float("nan")], [float("inf"), 1]]
)
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ConfigError, match="weights of the ensemble: expected 2 numbers from 0, not all 0"):
        Ensemble([known(), known()], weights=weights)


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), float("nan")])
def test_temperatures_that_are_not_above_0_are_refused(temperature):
    with pytest.raises(ConfigError, match="temperature of the ensemble: expected above 0"):
        Ensemble([known(), known()], temperature=temperature)


def test_an_unknown_mean_is_refused():
    with pytest.raises(ConfigError, match=r"mean of the ensemble: expected \"probabilities\" or \"logits\""):
        Ensemble([known(), known()], mean="geometric")


@pytest.mark.parametrize("wanted", [features, tap("0")])
def test_outputs_of_modules_inside_it_are_refused(wanted):
    with pytest.raises(ConfigError, match=r"ensemble: expected logits to be wanted.*one of its teachers"):
        Ensemble([known(), known()]).outputs(torch.zeros(2, 2), None, [logits, wanted])
