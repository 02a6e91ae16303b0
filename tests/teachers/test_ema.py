import copy

import numpy as np
import pytest
import torch
from shared import classes_in
from torch import nn

from ckd.errors import ConfigError
from ckd.outputs import logits
from ckd.part import Ending, Update
from ckd.teachers import Ema

CLASSES = classes_in([0, 1])


def follow(ema, model, steps, seed=0):
    """Random walks of the model with the EMA after it; the model's weights at every step, as numpy."""
    g = torch.Generator().manual_seed(seed)
    path = []
    for _ in range(steps):
        with torch.no_grad():
            for value in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
                value += torch.randn(value.shape, generator=g, dtype=value.dtype)
        ema.after_update(Update(model, *[torch.zeros(1)] * 2, None, torch.zeros(1, 2), 0))
        path.append({name: value.double().numpy().copy() for name, value in model.state_dict().items()})
    return path


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_it_is_the_closed_form(decay):
    model, ema = nn.Linear(3, 2).double(), Ema(decay)
    ema.begin(model, CLASSES)
    start = model.weight.detach().numpy().copy()
    path = follow(ema, model, 30)
    alphas = np.minimum(decay, 1 - 1 / (np.arange(1, 31) + 1))
    after = np.append(np.cumprod(alphas[::-1])[::-1][1:], 1.0)  # what later steps leave of each step's share
    wanted = np.prod(alphas) * start + sum(
        (1 - a) * left * step["weight"] for a, left, step in zip(alphas, after, path, strict=True)
    )
    assert np.allclose(ema.model.module.weight.numpy(), wanted, rtol=1e-12)


def test_batchnorm_statistics_are_averaged_and_counters_copied():
    model, ema = nn.BatchNorm1d(3), Ema(0.5)
    ema.begin(model, CLASSES)
    before = model.running_var.clone()
    (path,) = follow(ema, model, 1)
    model.num_batches_tracked += 7
    assert torch.allclose(ema.model.module.running_var.double(), (before + torch.tensor(path["running_var"])) / 2)
    follow(ema, model, 1)
    assert ema.model.module.num_batches_tracked == 7


def test_it_is_updated_at_its_rate_and_draws_from_its_own_generator():
    model, ema = nn.Linear(1, 1), Ema(0.0, rate=0.3, seed=1)
    ema.begin(model, CLASSES)
    state, moved, last = torch.random.get_rng_state(), 0, None
    for i in range(2000):
        follow(ema, model, 1, seed=i)
        moved += last is not None and not torch.equal(last, ema.model.module.weight)
        last = ema.model.module.weight.clone()
    assert 0.27 < moved / 2000 < 0.33
    assert torch.equal(state, torch.random.get_rng_state())


def test_what_it_knows_is_carried_into_a_grown_head():
    model, ema = nn.Linear(3, 2), Ema(0.9)
    ema.begin(model, CLASSES)
    follow(ema, model, 3)
    known = copy.deepcopy(ema.model.module)
    grown = nn.Linear(3, 5)
    ema.begin(grown, classes_in([0, 1], [4]))
    assert torch.equal(ema.model.module.weight[:2], known.weight)
    assert torch.equal(ema.model.module.weight[2:], grown.weight[2:])
    assert ema.classes.indices == [0, 1, 4]
    follow(ema, grown, 1)


def test_the_student_is_neither_changed_nor_shared():
    model, ema = nn.Linear(3, 2), Ema(0.9)
    ema.begin(model, CLASSES)
    before = copy.deepcopy(model.state_dict())
    ema.after_update(Update(model, *[torch.zeros(1)] * 2, None, torch.zeros(1, 2), 0))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert ema.model.module.weight.data_ptr() != model.weight.data_ptr()
    assert not ema.model.training
    assert model.training


@pytest.mark.parametrize("given", [{"decay": 1.0}, {"decay": -0.1}, {"rate": 0.0}, {"rate": 1.1}])
def test_settings_outside_their_range_are_refused(given):
    with pytest.raises(ConfigError, match="EMA"):
        Ema(**given)


def test_it_is_ready_once_an_experience_has_begun_and_its_outputs_are_the_averages():
    model, ema = nn.Linear(3, 2), Ema(0.5)
    assert not ema.ready
    assert ema.evaluation_model(model) is model
    ema.begin(model, CLASSES)
    assert ema.ready
    follow(ema, model, 3)
    x = torch.randn(4, 3)
    wanted = x @ ema.model.module.weight.T + ema.model.module.bias
    torch.testing.assert_close(ema.outputs(x)[logits], wanted)
    assert ema.nbytes() == {"teachers": 4 * (3 * 2 + 2)}


def test_its_evaluation_model_is_a_copy():
    model, ema = nn.Linear(3, 2), Ema(0.5)
    ema.begin(model, CLASSES)
    follow(ema, model, 3)
    found = ema.evaluation_model(model)
    assert torch.equal(found.weight, ema.model.module.weight)
    with torch.no_grad():
        found.weight += 1
    assert not torch.equal(found.weight, ema.model.module.weight)


def test_statistics_that_are_no_buffers_are_averaged_too():
    class Norm(nn.Module):  # as Avalanche's BatchRenorm2D keeps them
        def __init__(self, value):
            super().__init__()
            self.running_avg_mean, self.last_batch = torch.full((2,), value), torch.zeros(3)

    average, student = Ema(0.5), Norm(1.0)
    average.begin(student, classes_in([0]))
    student.running_avg_mean, student.last_batch = torch.full((2,), 3.0), torch.zeros(4)
    average.after_update(Update(student, *[torch.zeros(1)] * 2, None, torch.zeros(1, 3), 0))
    assert average.model.module.running_avg_mean.tolist() == [2.0, 2.0]


def test_its_window_is_at_most_half_the_longest_experience():
    average, student = Ema(0.999), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(student.weight)
    average.begin(student, classes_in([0]))
    wanted, t, longest = 0.0, 0, 0
    for steps in (6, 10, 2):
        for _ in range(steps):
            with torch.no_grad():
                student.weight.add_(1.0)
            average.after_update(Update(student, *[torch.zeros(1)] * 2, None, torch.zeros(1, 3), 0))
            t += 1
            a = min(0.999, 1 - 1 / (t + 1), *([1 - 2 / longest] if longest else []))
            wanted = a * wanted + (1 - a) * student.weight.item()
        average.end(Ending(student, classes_in([0])))
        longest = max(longest, steps)
        assert average.model.module.weight.item() == pytest.approx(wanted, rel=1e-5)
