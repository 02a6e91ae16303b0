"""What a part sees at the end of an experience, and that looking leaves no trace."""

import numpy as np
import pytest
import torch
from torch import nn

from ckd.classes import ClassSet
from ckd.memory import Rows
from ckd.part import Ending, asleep
from ckd.taps import head_of
from ckd.teachers import Frozen

TAUGHT = ClassSet({0: frozenset({0, 1})})


def rows(n, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    i = torch.arange(n)
    return Rows(torch.randn(n, 4, generator=g, dtype=torch.float64).to(dtype), i % 2, i % 3, 0 * i)


def noisy():
    """A network whose answers differ between train and eval mode."""
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


# what is answered --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 500, 501, 1203])
def test_logits_and_features_are_those_of_eval_mode_in_any_number_of_batches(n):
    model, remembered = noisy().train(), rows(n)
    features, logits = by_hand(model, remembered.raw)
    ending, sizes = Ending(model, TAUGHT), []
    model.register_forward_pre_hook(lambda m, inputs: sizes.append(len(inputs[0])))
    np.testing.assert_allclose(ending.logits(model, remembered).numpy(), logits, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ending.features(model, remembered).numpy(), features, rtol=1e-10, atol=1e-12)
    assert max(sizes) <= 500
    assert sum(sizes) == 2 * n


@LOOKS
def test_rows_are_prepared_and_asked_with_their_task_labels(look):
    asked = []

    def ask(model, inputs, tasks):
        asked.append((inputs, tasks))
        return model(inputs)

    model, remembered = noisy(), rows(700, torch.uint8)
    ending = Ending(model, TAUGHT, ask=ask, prepare=lambda raw: raw.double() / 255)
    features, logits = by_hand(model, remembered.raw.double() / 255)
    wanted = logits if look is Ending.logits else features
    np.testing.assert_allclose(look(ending, model, remembered).numpy(), wanted, rtol=1e-10, atol=1e-12)
    assert torch.equal(torch.cat([x for x, _ in asked]), remembered.raw.double() / 255)
    assert torch.equal(torch.cat([t for _, t in asked]), remembered.tasks)


@LOOKS
def test_no_rows_give_no_answers(look):
    assert look(Ending(noisy(), TAUGHT), noisy(), rows(0)).shape == (0, 3 if look is Ending.logits else 6)


def test_a_model_without_parameters_is_asked_where_the_rows_are():
    remembered = rows(3)
    assert torch.equal(Ending(nn.Identity(), TAUGHT).logits(nn.Identity(), remembered), remembered.raw)


# what is left behind -----------------------------------------------------------------------------------------------


def half_asleep(model):
    """The model in train mode, in eval mode, with BatchNorm alone in eval mode, and with all but a block in it."""
    yield model.train()
    yield model.eval()
    model.train()[1].eval()
    yield model
    model.eval()[2].train()
    yield model


@LOOKS
def test_there_is_no_graph_and_nothing_of_the_model_changes(look):
    for model in half_asleep(noisy()):
        before = modes(model)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        drawn = torch.random.get_rng_state()
        found = look(Ending(model, TAUGHT), model, rows(600))
        assert not found.requires_grad
        assert modes(model) == before
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert all(p.requires_grad for p in model.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert torch.equal(torch.random.get_rng_state(), drawn)
        assert torch.is_grad_enabled()


@LOOKS
def test_modes_are_as_they_were_after_an_error_too(look):
    for model in half_asleep(noisy()):
        before = modes(model)
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            look(Ending(model, TAUGHT, prepare=lambda raw: raw[:, :2]), model, rows(5))
        assert modes(model) == before
        assert not head_of(model)._forward_pre_hooks
        assert torch.is_grad_enabled()


def test_asleep_is_eval_mode_for_all_and_then_what_was():
    for model in half_asleep(noisy()):
        before = modes(model)
        with asleep(model):
            assert not any(modes(model))
        assert modes(model) == before
        with pytest.raises(ZeroDivisionError), asleep(model), asleep(model):
            raise ZeroDivisionError
        assert modes(model) == before


def test_asleep_does_not_wake_a_frozen_network():
    model = Frozen(noisy())
    with asleep(model):
        assert not any(modes(model))
    assert not any(modes(model))
