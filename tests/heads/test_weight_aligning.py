"""Weight aligning against numpy, and in Avalanche."""

import numpy as np
import pytest
import torch
from shared import classes_in
from torch import nn

from ckd import SelfDistillation, recipes
from ckd.errors import ModelError
from ckd.heads import WeightAligning
from ckd.part import Ending


def model_of(width=7, bias=True):
    """Two linear layers in float64; rows of the head differ much in length."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, width, bias=bias)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
        model[2].weight *= torch.arange(1.0, width + 1)[:, None]
    return model


def after(model, *experiences):
    """The model's tensors, as numpy, once experiences with these classes have ended."""
    part = WeightAligning()
    for i in range(len(experiences)):
        part.end(Ending(model, classes_in(*experiences[: i + 1]), head="2"))
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("new", [[2, 3, 5], [4], [2, 3, 4, 5, 6]])
def test_new_rows_get_the_mean_length_of_the_old_ones(new):
    """γ = mean ‖w_old‖ / mean ‖w_new‖ (eq. 7)."""
    before, old = after(model_of()), [0, 1]
    wanted = before["2.weight"].copy()
    lengths = np.linalg.norm(wanted, axis=1)
    wanted[new] *= lengths[old].mean() / lengths[new].mean()

    found = after(model_of(), old, new)

    np.testing.assert_allclose(found["2.weight"], wanted, rtol=1e-12)
    lengths = np.linalg.norm(found["2.weight"], axis=1)
    assert lengths[new].mean() == pytest.approx(lengths[old].mean(), rel=1e-12)
    untouched = [c for c in range(7) if c not in new]
    assert np.array_equal(found["2.weight"][untouched], before["2.weight"][untouched])
    assert all(np.array_equal(found[name], before[name]) for name in found if name != "2.weight")


def test_what_was_new_is_old_the_next_time():
    once, twice = after(model_of(), [0, 1], [2, 3]), after(model_of(), [0, 1], [2, 3], [4, 5, 1])
    lengths = np.linalg.norm(twice["2.weight"], axis=1)
    assert lengths[4:6].mean() == pytest.approx(lengths[:4].mean(), rel=1e-12)
    assert np.array_equal(twice["2.weight"][:4], once["2.weight"][:4])


@pytest.mark.parametrize("stream", [[[0, 1, 2]], [[0, 1], [1, 0]], [[]]], ids=["first", "no new class", "no class"])
def test_nothing_happens_without_old_or_without_new_classes(stream):
    before, found = after(model_of()), after(model_of(), *stream)
    assert all(np.array_equal(found[name], before[name]) for name in before)


def test_a_head_without_bias_can_still_be_trained():
    model = model_of(bias=False)
    after(model, [0, 1], range(2, 7))
    model(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    assert model[2].weight.is_leaf
    assert model[2].weight.requires_grad
    assert model[2].weight.grad.any()


def test_the_head_is_the_layer_that_is_named_and_another_kind_of_layer_is_refused():
    part, model = WeightAligning(), model_of()
    model.append(nn.Linear(7, 7, dtype=torch.float64))  # an auxiliary layer, registered last
    before = {name: value.clone() for name, value in model.state_dict().items()}
    part.end(Ending(model, classes_in([0, 1], [2, 3]), head="2"))
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["2.weight"]
    for head in ("1", None):
        with pytest.raises(ModelError, match="head of the model: expected a linear layer"):
            part.end(Ending(model, classes_in([0, 1], [2, 3]), head=head))


def test_it_needs_the_head_and_task_boundaries_and_keeps_no_state():
    part = WeightAligning()
    assert part.needs_head
    assert part.needs_boundaries
    assert part.state_dict() == part.nbytes() == {}


class BeforeTheEnd:
    """The head's weights when the last step was done: the part ends the experience only after that."""

    def after_training_epoch(self, strategy, **kwargs):
        self.head = list(strategy.model.parameters())[-2].detach().clone()


@pytest.mark.parametrize("grows", [False, True])
def test_in_avalanche_the_snapshot_copies_the_aligned_head(grows, blobs, benchmark_of, network, naive, growing):
    plugin, spy = SelfDistillation(recipes.wa(memory_size=20)), BeforeTheEnd()
    strategy = naive(growing if grows else network(), [plugin, spy])
    for i, experience in enumerate(benchmark_of(blobs()).train_stream):
        strategy.train(experience)
        head, learnt = list(strategy.model.parameters())[-2].detach(), spy.head
        lengths, old, new = head.norm(dim=1).numpy(), slice(0, 2 * i), slice(2 * i, 2 * i + 2)
        if i:
            assert lengths[new].mean() == pytest.approx(lengths[old].mean(), rel=1e-5)
            assert not torch.equal(head[new], learnt[new])
        else:
            assert torch.equal(head, learnt)
        assert torch.equal(head[old], learnt[old])
        snapshot = plugin.objective.teachers["snapshot"].model.module.state_dict()
        student = strategy.model.state_dict()
        assert snapshot.keys() == student.keys()
        assert all(torch.equal(snapshot[name], student[name]) for name in student)


def test_a_multi_head_model_is_refused_before_any_update(refused):
    message, updates = refused(recipes.wa(memory_size=20))
    assert "weight aligning: expected a model with one head for all classes" in message
    assert updates == 0
