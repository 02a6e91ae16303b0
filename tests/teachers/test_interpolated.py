import copy

import pytest
import torch
from shared import classes_in
from torch import nn

from ckd import Engine, Objective
from ckd.errors import ConfigError
from ckd.part import Update
from ckd.teachers import Ema, Interpolated

CLASSES = classes_in([0, 1])


def moved(decay=0.9):
    """An average, and its student with a BatchNorm after a step away from it."""
    student, ema = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), Ema(decay)
    ema.begin(student, CLASSES)
    with torch.no_grad():
        for value in student.state_dict().values():
            value += 1 if value.dtype == torch.int64 else torch.randn(value.shape).abs()
    ema.after_update(Update(student, torch.zeros(1), torch.zeros(1), None, torch.zeros(1, 2), 0))
    return student, ema


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_every_weight_and_statistic_is_between_the_two(share):
    student, ema = moved()
    before = copy.deepcopy([student.state_dict(), ema.model.module.state_dict()])
    between = Interpolated(ema, share).evaluation_model(student).state_dict()
    for name, value in between.items():
        own, average = (state[name].double().numpy() for state in before)
        wanted = average if own.dtype == int else share * average + (1 - share) * own
        assert value.double().numpy() == pytest.approx(wanted, abs=1e-6)
    for state, model in zip(before, (student, ema.model.module), strict=True):
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_before_there_is_an_average_it_is_the_student():
    student = nn.Linear(3, 2)
    assert Interpolated(Ema()).evaluation_model(student) is student


@pytest.mark.parametrize("grown", [2, 5])
def test_where_one_head_is_wider_the_rest_is_the_averages(grown):
    student, ema = nn.Linear(3, 3), Ema(0.9)
    ema.begin(student, CLASSES)
    other = nn.Linear(3, grown)
    between, shared = Interpolated(ema).evaluation_model(other), min(grown, 3)
    wanted = (student.weight[:shared] + other.weight[:shared]) / 2
    assert torch.allclose(between.weight[:shared], wanted)
    assert torch.equal(between.weight[shared:], student.weight[shared:])


def test_it_keeps_an_average_that_no_term_names():
    engine, student = Engine(Objective("naive", evaluation=Interpolated(Ema(0.5)))), nn.Linear(3, 2)
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0)
    engine.begin([0, 1])
    start = student.weight.detach().clone()
    engine.loss(student, torch.randn(8, 3), torch.arange(8) % 2).backward()
    optimizer.step()
    engine.after_update(optimizer)
    end = student.weight.detach().clone()
    assert torch.allclose(engine.evaluation_model(student).weight, end + (start - end) / 4)
    assert engine.nbytes()["teachers"] == 32


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(ConfigError, match="share of the average"):
        Interpolated(Ema(), share)


def test_a_second_average_is_refused():
    with pytest.raises(ConfigError, match="no average yet"):
        Objective("own", evaluation=Interpolated(Ema())).with_average(0.9)
