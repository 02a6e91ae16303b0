"""Soft labels read back: the live teacher's logits bit by bit for what it was shown, and nothing for anything else."""

import copy
import pickle

import numpy as np
import pytest
import torch
from shared import classes_in
from torch import nn

from ckd import Ensemble, Fixed
from ckd.errors import ConfigError, DataError
from ckd.outputs import features, logits, tap
from ckd.teachers import SoftLabels, write_soft_labels

CPU = torch.device("cpu")


def network(seed=0, width=5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, width))
        model[1].running_mean.normal_()
    return model.eval()


def inputs(n=40, seed=1, dtype=torch.float32):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture
def written(tmp_path):
    """written(x, teacher, ...) -> soft labels of inputs (N, ...), in batches of 8."""

    def write(x=None, given=None, **settings):
        x = inputs() if x is None else x
        return write_soft_labels(tmp_path / "labels.safetensors", given or network(), torch.split(x, 8), **settings)

    return write


def of(labels, x):
    return labels.outputs(x)[logits]


# what is read ------------------------------------------------------------------------------------------------------


def test_in_float32_it_is_the_live_teacher_bit_by_bit(written):
    x, live = inputs(), Fixed(network())
    labels = written(x, dtype="float32")
    for batch in torch.split(x, 8):
        assert torch.equal(of(labels, batch), of(live, batch))


def test_in_float16_it_is_the_live_teacher_rounded(written):
    x, live = inputs(), Fixed(network())
    labels = written(x)
    for batch in torch.split(x, 8):
        found = of(labels, batch)
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found, of(live, batch).numpy().astype(np.float16))


def test_any_order_and_any_batch(written):
    x = inputs()
    labels, whole = written(x, dtype="float32"), torch.cat([of(Fixed(network()), b) for b in torch.split(x, 8)])
    for rows in (torch.randperm(40), torch.tensor([3]), torch.tensor([7, 7, 0]), torch.arange(0)):
        assert torch.equal(of(labels, x[rows]), whole[rows])


def test_inputs_of_the_same_bytes_have_the_logits_of_the_first(written):
    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x + self.calls

    x = inputs(4)
    labels = written(torch.cat([x, x, x]), Counting(), dtype="float32")  # the second time within a batch
    assert torch.equal(of(labels, x), x + 1)
    assert labels.about.rows == 12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_outputs_are_in_the_dtype_of_the_inputs_never_in_half_precision(written, dtype):
    x = inputs(dtype=dtype)
    found = of(written(x), x[:3])
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_tokens(written):
    x = torch.randint(0, 9, (20, 3))
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 5)).eval()
    assert torch.equal(of(written(x, model, dtype="float32"), x[:8]), of(Fixed(model), x[:8]))


@pytest.mark.parametrize("shape", [(3, 5), (5, 2, 3)], ids=["sequences", "dense"])
@pytest.mark.parametrize("top_k", [None, 2])
def test_logits_of_every_place(written, shape, top_k):
    x = torch.randn(9, *shape)
    found = of(written(x, nn.Identity(), dtype="float32", top_k=top_k), x)
    assert found.shape == x.shape
    axis = -1 if len(shape) == 2 else 1
    if top_k is None:
        assert torch.equal(found, x)
    else:
        p = x.softmax(axis)
        kept, classes = p.topk(2, axis)
        rest = (1 - kept.sum(axis, keepdim=True)) / 3
        torch.testing.assert_close(found.softmax(axis), rest.expand_as(p).scatter(axis, classes, kept))


@pytest.mark.parametrize("classes", [3, 300, 40_000])
def test_top_k_by_hand_for_heads_of_any_width(written, classes):
    z = torch.full((2, classes), 0.1 / (classes - 2))
    z[:, -1], z[:, classes // 2] = 0.7, 0.2
    labels = written(z, nn.Sequential(Log()), top_k=1, dtype="float32")
    p = of(labels, z).double().softmax(-1)
    rest = 0.3 / (classes - 1)
    wanted = torch.full((2, classes), rest, dtype=torch.float64)
    wanted[:, -1] = 0.7
    torch.testing.assert_close(p, wanted, rtol=1e-4, atol=0)


class Log(nn.Module):
    def forward(self, x):
        return x.log()


def test_top_k_in_float16_sums_to_one_at_the_temperature_of_the_loss(written):
    x, model = inputs(), network()
    labels = written(x, model, top_k=2, temperature=4.0)
    p, true = (of(labels, x) / 4).softmax(-1), (of(Fixed(model), x) / 4).softmax(-1)
    torch.testing.assert_close(p.sum(-1), torch.ones(40))
    kept, classes = true.topk(2, -1)
    torch.testing.assert_close(p.gather(-1, classes), kept, rtol=2e-3, atol=0)


def test_classes_that_the_teacher_knows(written):
    assert written().valid(5, None, CPU) is None
    labels = written(given=Fixed(network(), classes=[0, 3]), top_k=1)
    assert labels.valid(6, None, CPU).tolist() == [True, False, False, True, False, False]
    assert SoftLabels.read(labels._file).classes.indices == [0, 3]
    ensemble = Ensemble([Fixed(network(), classes=[0, 1, 3]), Fixed(network(1), classes=[1, 3, 4])])
    assert written(given=ensemble).valid(5, None, CPU).tolist() == [False, True, False, True, False]


def test_among_the_known_classes_alone_the_probabilities_are_those_of_the_teacher(written):
    x, known = inputs(), [0, 2, 3]
    labels = written(x, Fixed(network(), classes=known), top_k=1, dtype="float32")
    p, true = of(labels, x)[:, known].softmax(-1), of(Fixed(network()), x)[:, known].softmax(-1)
    torch.testing.assert_close(p.amax(-1), true.amax(-1))


# what is refused when it is shown ----------------------------------------------------------------------------------


def test_another_view_other_data_and_some_of_each_are_told_apart(written):
    x = inputs()
    labels = written(x)
    mixed = torch.cat([x[:5], inputs(3, seed=2)])
    assert labels.holds(mixed).tolist() == [True] * 5 + [False] * 3
    cases = {
        "3 of 8 that are not among its 40.*augmentation of another seed, a mixture": mixed,
        "8 of 8 that are not among its 40.*other data, preparation": inputs(8, seed=2),
        r"inputs are \(4,\) float64 here and were \(4,\) float32": x[:8].double(),
        r"inputs are \(2,\) float32 here and were \(4,\) float32": x[:8, :2],
    }
    for message, shown in cases.items():
        with pytest.raises(DataError, match=f"soft labels .*expected inputs that they were written for.*{message}"):
            labels.outputs(shown)


def test_one_bit_makes_another_view(written):
    x = inputs()
    labels = written(x)
    x.view(torch.int32)[3, 2] ^= 1
    with pytest.raises(DataError, match="1 of 40"):
        labels.outputs(x)


@pytest.mark.parametrize("wanted", [features, tap("0")])
def test_outputs_of_modules_are_refused(written, wanted):
    with pytest.raises(ConfigError, match=r"soft labels: expected logits to be wanted.*network itself"):
        written().outputs(inputs(), None, [logits, wanted])


# its life ----------------------------------------------------------------------------------------------------------


def test_it_is_ready_keeps_no_state_and_nothing_changes_it(written):
    labels, x = written(), inputs()
    before, student = of(labels, x), network(3)
    assert labels.ready
    assert labels.state_dict() == {}
    labels.begin(student, classes_in([0, 1]))
    labels.load_state_dict({}, student)
    labels.outputs(x)[logits].zero_()
    assert torch.equal(of(labels, x), before)


def test_what_is_counted_is_the_index_in_memory(written, tmp_path):
    assert written().nbytes() == {"teachers": 40 * 16}
    np.savez(tmp_path / "z.npz", np.random.default_rng(0).normal(size=(40, 5)))
    labels = SoftLabels.of_npz(tmp_path / "z.npz", inputs())
    assert labels.nbytes() == {"teachers": 40 * (16 + 8 + 4 + 5 * 4)}


COPIES = {"pickled": lambda labels: pickle.loads(pickle.dumps(labels)), "copied": copy.deepcopy, "shared": copy.copy}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_reads_the_same_file(written, copied, tmp_path, monkeypatch):
    x = inputs()
    written(top_k=2)
    monkeypatch.chdir(tmp_path)
    labels = SoftLabels.read("labels.safetensors")
    monkeypatch.chdir("/")
    other = copied(labels)
    assert torch.equal(of(other, x), of(labels, x))
    assert other.about == labels.about


def test_what_is_pickled_holds_no_rows(written):
    assert len(pickle.dumps(written(inputs(400)))) < 3000


def test_a_copy_of_what_was_written_again_is_refused(written):
    labels, x = written(), inputs()
    before, pickled = of(labels, x), pickle.dumps(labels)
    written(given=network(1))
    assert torch.equal(of(labels, x), before)  # the file that it has open
    with pytest.raises(DataError, match="expected the file that was read before; received one that was written since"):
        pickle.loads(pickled)
    labels._file.unlink()
    with pytest.raises(DataError, match="No such file"):
        pickle.loads(pickled)


def test_logits_of_another_program_are_pickled_as_they_are(tmp_path):
    np.savez(tmp_path / "z.npz", np.random.default_rng(0).normal(size=(40, 5)))
    labels = SoftLabels.of_npz(tmp_path / "z.npz", inputs())
    (tmp_path / "z.npz").unlink()
    assert torch.equal(of(pickle.loads(pickle.dumps(labels)), inputs()), of(labels, inputs()))
