"""Bias correction against scipy and numpy, and in Avalanche."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from shared import assert_plain, classes_in, storages
from torch import nn

from ckd import Engine, SelfDistillation, recipes
from ckd.classes import ClassSet
from ckd.heads import BiasCorrection
from ckd.heads.bias_correction import PENALTY, Corrected, fit
from ckd.memory import Rows
from ckd.outputs import logits as logits_output
from ckd.part import Ending, EvaluationModel

WIDTH = 7


def entropy(line, logits, targets, new, seen):
    """Cross entropy over the `seen` columns, with α z + β in the `new` ones."""
    z = logits.copy()
    z[:, new] = line[0] * z[:, new] + line[1]
    return -log_softmax(z[:, seen], axis=1)[np.arange(len(z)), np.searchsorted(seen, targets)].mean()


def penalised(line, *rest):
    return entropy(line, *rest) + PENALTY * ((line[0] - 1) ** 2 + line[1] ** 2)


def best_line(logits, targets, new, seen):
    found = minimize(penalised, [1.0, 0.0], args=(logits, targets, new, seen), method="Nelder-Mead", tol=1e-9)
    assert found.success
    return found.x


def set_of(*indices):
    return ClassSet({0: frozenset(indices)})


def noisy(n, seen, seed):
    """Logits (n, WIDTH), and labels that they make likely but not certain."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.standard_normal((n, WIDTH))
    targets = np.array([rng.choice(seen, p=softmax(row[seen])) for row in logits])
    return logits, targets


# the two numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("new", "seen"), [([3, 4], [0, 1, 2, 3, 4]), ([1], [1, 5]), ([0, 6], [0, 2, 3, 6])])
def test_fit_finds_the_minimum_that_scipy_finds(new, seen):
    logits, targets = noisy(60, seen, seed=len(seen))
    logits[:, new] = 2 * logits[:, new] + 1  # what a model says that favours its newest classes
    found = fit(torch.tensor(logits), torch.tensor(targets), new, set_of(*seen), steps=50)
    wanted = best_line(logits, targets, new, seen)
    assert found == pytest.approx(wanted, abs=1e-4)
    assert penalised(found, logits, targets, new, seen) <= penalised(wanted, logits, targets, new, seen) + 1e-9


def test_fit_recovers_numbers_that_were_planted():
    new, seen, rng = [3, 4], [0, 1, 2, 3, 4], np.random.default_rng(0)
    logits = 2 * rng.standard_normal((20_000, 5))
    true = logits.copy()
    true[:, new] = 0.6 * true[:, new] - 0.8
    cumulative = softmax(true, axis=1).cumsum(axis=1)
    targets = (rng.random((len(true), 1)) > cumulative).sum(axis=1)
    found = fit(torch.tensor(logits), torch.tensor(targets), new, set_of(*seen), steps=50)
    assert found == pytest.approx((0.6, -0.8), abs=0.03)


def test_fit_neither_needs_nor_leaves_a_graph():
    logits, targets = (torch.tensor(v) for v in noisy(30, [0, 1, 2], seed=0))
    before = logits.requires_grad_().detach().clone()
    with torch.no_grad():
        inside = fit(logits, targets, [2], set_of(0, 1, 2), steps=50)
    assert inside == fit(logits, targets, [2], set_of(0, 1, 2), steps=50)
    assert logits.grad is None
    assert torch.equal(logits, before)


@pytest.mark.parametrize("targets", [[0, 1, 2, 3] * 3, [0, 1] * 6, [2, 3] * 6], ids=["separable", "old", "new"])
def test_numbers_are_finite_where_no_minimum_exists(targets):
    targets = torch.tensor(targets)
    logits = 5 * nn.functional.one_hot(targets, 4).double()
    before = entropy([1, 0], logits.numpy(), targets.numpy(), [2, 3], [0, 1, 2, 3])
    line = fit(logits, targets, [2, 3], set_of(0, 1, 2, 3), steps=50)
    assert np.isfinite(line).all()
    assert entropy(line, logits.numpy(), targets.numpy(), [2, 3], [0, 1, 2, 3]) < before


# the evaluation model ------------------------------------------------------------------------------------------------


def test_corrected_logits_are_the_line_of_each_class_and_the_rest_is_as_it_was():
    x = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(0))
    scale, shift = np.array([1.0, 0.5, -2.0], np.float32), np.array([0.0, 3.0, 0.25], np.float32)
    found = Corrected(nn.Identity(), torch.tensor(scale), torch.tensor(shift))(x).numpy()
    np.testing.assert_allclose(found[:, :3], x.numpy()[:, :3] * scale + shift, rtol=1e-6)
    assert np.array_equal(found[:, 3:], x.numpy()[:, 3:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_numbers_beyond_the_head_are_left_out_and_its_dtype_stays(dtype):
    corrected = Corrected(nn.Identity(), torch.tensor([2.0, 1.0, 5.0]), torch.tensor([0.0, 1.0, 5.0]))
    found = corrected(torch.ones(1, 2, dtype=dtype))
    assert found.tolist() == [[2, 2]]
    assert found.dtype == dtype


# the part ----------------------------------------------------------------------------------------------------------


def ending(logits, targets, *experiences):
    """The end of the last of these experiences, in which the model gives these logits for what is stored."""
    zeros = torch.zeros(len(targets), dtype=torch.long)
    rows = Rows(torch.tensor(logits), torch.tensor(targets), zeros, zeros)
    return Ending(nn.Identity(), classes_in(*experiences), stored=lambda: rows)


def test_three_experiences_against_scipy():
    """Only the newest classes are corrected, beside the student's own logits of the others."""
    part, stream, old = BiasCorrection(), [[1, 4], [0, 6, 1], [2]], []
    for i, current in enumerate(stream):
        new, seen = [c for c in current if c not in old], sorted({*old, *current})
        logits, targets = noisy(80, seen, seed=i)
        part.end(ending(logits, targets, *stream[: i + 1]))
        scale, shift = np.ones(WIDTH), np.zeros(WIDTH)
        if old:
            scale[new], shift[new] = best_line(logits, targets, new, seen)
        np.testing.assert_allclose(part.scale, scale[: len(part.scale)], atol=1e-4)
        np.testing.assert_allclose(part.shift, shift[: len(part.shift)], atol=1e-4)
        old = seen
    assert part.scale[2] != 1
    assert part.scale[[0, 1, 3, 4, 5, 6]].tolist() == [1] * 6
    assert part.shift[[0, 1, 3, 4, 5, 6]].tolist() == [0] * 6


def test_the_line_is_fitted_on_what_is_held_out_and_on_all_that_is_stored_where_nothing_is():
    seen, (known, known_labels), (fresh, fresh_labels) = [0, 1, 2], noisy(60, [0, 1, 2], 1), noisy(60, [0, 1, 2], 2)
    known[:, 2] += 2  # rehearsed samples would tell of another bias
    on_known, on_fresh = best_line(known, known_labels, [2], seen), best_line(fresh, fresh_labels, [2], seen)
    assert abs(on_known - on_fresh).max() > 0.1
    held_out = ending(fresh, fresh_labels, seen).stored()
    for rows, wanted in ((held_out, on_fresh), (None, on_known)):
        part, last = BiasCorrection(), ending(known, known_labels, [0, 1], [2])
        part.end(ending(*noisy(60, [0, 1], 0), [0, 1]))
        last.held_out = lambda rows=rows: rows
        part.end(last)
        assert (part.scale[2].item(), part.shift[2].item()) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("share", [0.25, 0.0])
def test_in_the_recipe_the_line_is_fitted_on_the_slots_of_the_memory_that_are_not_drawn(share):
    """A student whose logits are its inputs, after two experiences."""
    objective, student = recipes.bic(memory_size=80, held_out=share), nn.Identity()
    engine = Engine(objective)
    for experience, new in enumerate([[0, 1], [2, 3]]):
        engine.begin(new)
        engine.loss(student, *(torch.tensor(column) for column in noisy(60, new, experience)))
        engine.after_update()
        engine.end()
    rows = objective.memory.rows
    assert len(rows) == 80
    held_out = slice(3, None, 4) if share else slice(None)
    wanted = best_line(rows.raw[held_out].numpy(), rows.targets[held_out].numpy(), [2, 3], [0, 1, 2, 3])
    (part,) = objective.chain()
    np.testing.assert_allclose(part.scale, [1, 1, *[wanted[0]] * 2], atol=1e-4)
    np.testing.assert_allclose(part.shift, [0, 0, *[wanted[1]] * 2], atol=1e-4)
    drawn = objective.memory.sample(50, draws=20).raw
    met = (drawn[:, None] == rows.raw).all(2).any(0)
    assert not met[3::4].any() if share else met.all()


def test_what_was_fitted_stays_while_no_class_is_new():
    part = BiasCorrection()
    part.end(ending(*noisy(50, [0, 1], 0), [0, 1]))
    part.end(ending(*noisy(50, [0, 1, 2], 1), [0, 1], [2]))
    before = part.scale.tolist(), part.shift.tolist()
    part.end(ending(*noisy(50, [0, 1, 2], 2), [0, 1], [2], [0, 2]))
    assert (part.scale.tolist(), part.shift.tolist()) == before
    part.end(Ending(nn.Identity(), classes_in([0, 1], [2], [3])))  # learnt from a snapshot with corrected logits
    assert (part.scale.tolist(), part.shift.tolist()) == ([1] * 4, [0] * 4)


def test_an_evaluation_model_that_was_given_out_does_not_change_later():
    part = BiasCorrection()
    part.end(ending(*noisy(50, [0, 2], 0), [0, 2]))
    model = part.evaluation_model(nn.Identity())
    part.end(ending(*noisy(50, [0, 1, 2], 1), [0, 2], [1]))  # no wider than before
    assert part.scale[1] != 1
    assert torch.equal(model(torch.ones(1, 3)), torch.ones(1, 3))


def test_it_is_an_evaluation_model_that_needs_task_boundaries_and_counts_two_numbers_a_class():
    part = BiasCorrection()
    assert isinstance(part, EvaluationModel)
    assert part.needs_boundaries
    assert part.nbytes() == {"heads": 0}
    part.end(ending(*noisy(50, [0, 4], 0), [0, 4]))
    assert part.nbytes() == {"heads": 4 * 2 * 5}


def test_restored_it_corrects_the_same_and_goes_on_alike_and_its_state_is_a_plain_copy():
    part, twin = BiasCorrection(), BiasCorrection()
    assert_plain(part.state_dict())
    part.end(ending(*noisy(50, [0, 1], 0), [0, 1]))
    part.end(ending(*noisy(50, [0, 1, 2], 1), [0, 1], [2]))
    state = part.state_dict()
    assert_plain(state)
    twin.load_state_dict(state, nn.Identity())
    assert not storages(state) & storages([number for p in (part, twin) for number in (p.scale, p.shift)])
    x = torch.randn(9, WIDTH)
    for stream in ([[0, 1], [2], [0, 1]], [[0, 1], [2], [5, 6]]):
        one, other = (p.evaluation_model(nn.Identity())(x) for p in (part, twin))
        assert torch.equal(one, other)
        assert not torch.equal(one, x)
        for p in (part, twin):
            p.end(ending(*noisy(50, sorted({c for new in stream for c in new}), 2), *stream))
    assert torch.equal(part.scale, twin.scale)


def test_an_engine_restores_the_snapshot_of_the_corrected_model(network):
    engines = [Engine(recipes.bic(memory_size=20)) for _ in range(2)]
    engine, twin = engines
    student, x, y = network(), torch.randn(8, 6), torch.arange(8) % 2
    for new in ([0, 1], [2, 3]):
        engine.begin(new)
        engine.loss(student, x, y + new[0])
        engine.after_update()
        engine.end()
    twin.load_state_dict(engine.state_dict(), network(seed=5))
    one, other = (e.objective.teachers["snapshot"].outputs(x)[logits_output] for e in engines)
    assert torch.equal(one, other)


# in Avalanche ------------------------------------------------------------------------------------------------------


class Watch:
    """Mini-batches and their logits, in training and at evaluation; in training also the student's own logits."""

    def __init__(self, student):
        self.student, self.train, self.eval = student, [], []

    @torch.no_grad()
    def after_forward(self, strategy, **kwargs):
        self.train.append((strategy.mb_output.detach(), self.student(strategy.mb_x)))

    def after_eval_forward(self, strategy, **kwargs):
        assert not self.student.training
        self.eval.append((strategy.mb_x.clone(), strategy.mb_output.clone()))


@pytest.mark.parametrize("grows", [False, True])
def test_evaluation_is_corrected_training_and_student_are_not(grows, blobs, benchmark_of, network, naive, growing):
    plugin = SelfDistillation(recipes.bic(memory_size=40))
    model = growing if grows else network()
    watch = Watch(model)
    strategy = naive(model, [plugin, watch], epochs=3)
    torch.manual_seed(0)
    stream = benchmark_of(blobs())
    for i, experience in enumerate(stream.train_stream):
        strategy.train(experience)
        assert all(torch.allclose(output, own, atol=1e-5) for output, own in watch.train)
        model.features[0].eval() if grows else model[0].eval()  # some modes of the user's own
        modes = [m.training for m in model.modules()]
        learnt = {name: value.clone() for name, value in model.state_dict().items()}
        watch.eval.clear()
        strategy.eval(stream.test_stream[: i + 1])
        assert strategy.model is model
        assert [m.training for m in model.modules()] == modes
        assert all(torch.equal(value, learnt[name]) for name, value in model.state_dict().items())

        (part,), snapshot = plugin.objective.chain(), plugin.objective.teachers["snapshot"].model
        scale, shift, n = part.scale.numpy(), part.shift.numpy(), 2 * i + 2
        assert (scale[:2].tolist(), shift[:2].tolist()) == ([1, 1], [0, 0])
        assert len(scale) == n
        assert i == 0 or abs(scale[-1] - 1) + abs(shift[-1]) > 0.1
        assert len(watch.eval) == 3 * (i + 1)
        for x, output in watch.eval:
            own = model(x).detach().numpy()
            np.testing.assert_allclose(output.numpy()[:, :n], own[:, :n] * scale + shift, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(output.numpy()[:, n:], own[:, n:], atol=1e-5)
            np.testing.assert_allclose(snapshot(x).numpy()[:, :n], output.numpy()[:, :n], atol=1e-5)
    assert len(watch.train) == 45


def test_units_that_grow_at_evaluation_are_not_corrected(blobs, benchmark_of, naive, growing):
    plugin = SelfDistillation(recipes.bic(memory_size=40))
    watch = Watch(growing)
    strategy = naive(growing, [plugin, watch])
    stream = benchmark_of(blobs())
    strategy.train(stream.train_stream[:2])
    strategy.eval(stream.test_stream)
    assert watch.eval[-1][1].shape[1] == 6
    assert (watch.eval[-1][1][:, 4:] == -1000).all()
    strategy.train(stream.train_stream[2])
    assert len(plugin.objective.chain()[0].scale) == 6
    assert all(p.isfinite().all() for p in growing.parameters())


def test_after_an_evaluation_that_was_interrupted_the_student_is_back_in_its_place(blobs, benchmark_of, network, naive):
    class Interrupts:
        def after_eval_forward(self, strategy, **kwargs):
            raise KeyboardInterrupt

    model, stream = network(), benchmark_of(blobs())
    strategy = naive(model, [SelfDistillation(recipes.bic(memory_size=40)), Interrupts()])
    strategy.train(stream.train_stream[:2])
    with pytest.raises(KeyboardInterrupt):
        strategy.eval(stream.test_stream)
    strategy.train(stream.train_stream[2])
    assert strategy.model is model


def test_the_distilled_logits_are_corrected(blobs, benchmark_of, network, naive):
    """The teacher's logits in the third experience, against the student as it was after the second."""
    plugin, seen = SelfDistillation(recipes.bic(memory_size=40)), []
    snapshot = plugin.objective.teachers["snapshot"]
    outputs = snapshot.outputs

    def spied(inputs, tasks=None, wanted=(logits_output,)):
        found = outputs(inputs, tasks, wanted)
        seen.append((inputs, found[logits_output]))
        return found

    strategy = naive(network(), [plugin])
    stream = benchmark_of(blobs()).train_stream
    strategy.train(stream[:2])
    student, (numbers,) = copy.deepcopy(strategy.model), plugin.objective.chain()
    scale, shift = numbers.scale.numpy().copy(), numbers.shift.numpy().copy()
    snapshot.outputs = spied
    strategy.train(stream[2])
    assert len(seen) == 5
    for x, found in seen:
        wanted = student(x).detach().numpy()[:, :4] * scale + shift
        np.testing.assert_allclose(found[:, :4].numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_a_multi_head_model_is_refused_before_any_update(refused):
    message, updates = refused(recipes.bic(memory_size=20))
    assert "bias correction: expected a model with one head for all classes" in message
    assert updates == 0
