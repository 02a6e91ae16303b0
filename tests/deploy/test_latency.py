"""Latencies are medians of calls in turn, in eval mode, of batches of the size asked for."""

import time

import pytest
import torch
from torch import nn

from ckd.deploy import latencies
from ckd.errors import ConfigError


class Takes(nn.Module):
    """A module that lets a clock advance by so many seconds, one call after the other."""

    def __init__(self, clock, name, seconds):
        super().__init__()
        self.clock, self.name, self.seconds, self.weight = clock, name, list(seconds), nn.Parameter(torch.ones(1))

    def forward(self, x):
        self.clock.now += self.seconds.pop(0)
        self.clock.seen.append((self.name, len(x), self.training, torch.is_grad_enabled()))
        return x


class Clock:
    now, seen = 0.0, None


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    clock.seen = []
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def test_medians_of_calls_in_turn(clock):
    one = Takes(clock, "one", [9, 9, 1, 2, 90])  # the first two warm up
    other = Takes(clock, "other", [9, 9, 4, 4, 1])
    other.eval()
    found = latencies({"one": one, "other": other}, torch.arange(2.0), batch_size=3, repeats=3)
    assert found == pytest.approx({"one": 2000, "other": 4000})
    assert clock.seen == [("one", 3, False, False), ("other", 3, False, False)] * 5
    assert (one.training, other.training) == (True, False)


def test_the_mode_is_restored_after_an_error(clock):
    model = Takes(clock, "one", [])
    with pytest.raises(IndexError):
        latencies({"one": model}, torch.ones(1))
    assert model.training


def test_files_and_modules_side_by_side(digits, digits_file):
    found = latencies({"torch": digits.network, "file": digits_file}, digits.x_test[:2], batch_size=3, repeats=2)
    assert min(found.values()) > 0


@pytest.mark.parametrize("given", [{"batch_size": 0}, {"repeats": 0}])
def test_no_calls_are_refused(given):
    with pytest.raises(ConfigError, match="1 or more"):
        latencies({}, torch.ones(1), **given)
