"""What a part sees at the end of an experience, and that looking leaves no trace."""

import numpy as np
import pytest
import torch
from shared import classes_in
from torch import nn

from ckd.errors import ModelError
from ckd.memory import Rows
from ckd.outputs import eval_mode
from ckd.part import Ending, EvaluationModel, Part, refuse_heads_per_task
from ckd.teachers.teacher import Frozen

HEAD = "3"


def rows(n, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    i = torch.arange(n)
    return Rows(torch.randn(n, 4, generator=g, dtype=torch.float64).to(dtype), i % 2, i % 3, 0 * i)


def noisy():
    """A network whose outputs differ between train and eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), block, nn.Linear(6, 3)).double()
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2)
    return model


def by_hand(model, x):
    """Features and logits of `noisy` in eval mode, in numpy."""
    s = {name: value.numpy() for name, value in model.state_dict().items()}
    h = x.numpy() @ s["0.weight"].T + s["0.bias"]
    h = (h - s["1.running_mean"]) / np.sqrt(s["1.running_var"] + 1e-5) * s["1.weight"] + s["1.bias"]
    h = np.maximum(h, 0)
    return h, h @ s["3.weight"].T + s["3.bias"]


def modes(model):
    return [m.training for m in model.modules()]


LOOKS = pytest.mark.parametrize("look", [Ending.logits, Ending.features], ids=["logits", "features"])


# what is computed --------------------------------------------------------------------------------------------------


def ending(model, **given):
    return Ending(model, classes_in([0, 1]), **{"head": HEAD, **given})


@pytest.mark.parametrize("n", [1, 500, 501, 1203])
def test_logits_and_features_are_those_of_eval_mode_in_any_number_of_batches(n):
    model, stored = noisy().train(), rows(n)
    features, logits = by_hand(model, stored.raw)
    end, sizes = ending(model), []
    model.register_forward_pre_hook(lambda m, inputs: sizes.append(len(inputs[0])))
    np.testing.assert_allclose(end.logits(model, stored).numpy(), logits, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(end.features(model, stored).numpy(), features, rtol=1e-10, atol=1e-12)
    assert max(sizes) <= 500
    assert sum(sizes) == 2 * n


class Called(nn.Module):
    """A network that notes what it is called with."""

    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network, []

    def forward(self, inputs, tasks=None):
        self.calls.append((inputs, tasks))
        return self.network(inputs)


@LOOKS
@pytest.mark.parametrize("per_task", [False, True])
def test_rows_are_prepared_and_go_in_with_task_labels_where_there_is_a_head_for_each_task(look, per_task):
    model, stored = Called(noisy()), rows(700, torch.uint8)
    classes = classes_in({0: [0], 1: [1]}, per_task=per_task)
    end = Ending(model, classes, prepare=lambda raw: raw.double() / 255, head="network.3")
    features, logits = by_hand(model.network, stored.raw.double() / 255)
    wanted = logits if look is Ending.logits else features
    np.testing.assert_allclose(look(end, model, stored).numpy(), wanted, rtol=1e-10, atol=1e-12)
    assert torch.equal(torch.cat([x for x, _ in model.calls]), stored.raw.double() / 255)
    tasks = [t for _, t in model.calls]
    assert torch.equal(torch.cat(tasks), stored.tasks) if per_task else tasks == [None, None]


@LOOKS
def test_no_rows_give_no_outputs(look):
    assert look(ending(noisy()), noisy(), rows(0)).shape == (0, 3 if look is Ending.logits else 6)


def test_a_model_without_parameters_computes_where_the_rows_are():
    stored = rows(3)
    assert torch.equal(ending(nn.Identity()).logits(nn.Identity(), stored), stored.raw)


# what is left behind -----------------------------------------------------------------------------------------------


def mixed_modes(model):
    """The model in train mode, in eval mode, with BatchNorm alone in eval mode, and with all but a block in it."""
    yield model.train()
    yield model.eval()
    model.train()[1].eval()
    yield model
    model.eval()[2].train()
    yield model


@LOOKS
def test_there_is_no_graph_and_nothing_of_the_model_changes(look):
    for model in mixed_modes(noisy()):
        before = modes(model)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        drawn = torch.random.get_rng_state()
        found = look(ending(model), model, rows(600))
        assert not found.requires_grad
        assert modes(model) == before
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert all(p.requires_grad for p in model.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert torch.equal(torch.random.get_rng_state(), drawn)
        assert torch.is_grad_enabled()


@LOOKS
def test_modes_are_as_they_were_after_an_error_too(look):
    for model in mixed_modes(noisy()):
        before = modes(model)
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            look(ending(model, prepare=lambda raw: raw[:, :2]), model, rows(5))
        assert modes(model) == before
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert torch.is_grad_enabled()


def test_eval_mode_is_for_all_modules_and_then_what_was():
    for model in mixed_modes(noisy()):
        before = modes(model)
        with eval_mode(model):
            assert not any(modes(model))
        assert modes(model) == before
        with pytest.raises(ZeroDivisionError), eval_mode(model), eval_mode(model):
            raise ZeroDivisionError
        assert modes(model) == before


def test_eval_mode_leaves_a_frozen_network_in_eval_mode():
    model = Frozen(noisy())
    with eval_mode(model):
        assert not any(modes(model))
    assert not any(modes(model))


# parts -------------------------------------------------------------------------------------------------------------


def test_a_part_that_overrides_nothing_has_no_needs_no_state_and_no_bytes():
    part = Part()
    assert not any((part.needs_boundaries, part.needs_data, part.needs_head))
    assert part.state_dict() == part.nbytes() == {}
    assert part.load_state_dict({}, nn.Identity()) is None
    assert not isinstance(part, EvaluationModel)


def test_models_with_a_head_for_each_task_are_refused_by_name():
    refuse_heads_per_task("who", classes_in([0, 1]).seen)
    with pytest.raises(ModelError, match="who: expected a model with one head for all classes; received a multi-head"):
        refuse_heads_per_task("who", classes_in({0: [0]}, per_task=True).seen)
