"""Steps are counted, and how far an experience is is said now and then."""

import itertools
import time

import pytest

from ckd.plugins import StepCounter


@pytest.fixture
def ticking(monkeypatch):
    """ticking(seconds) makes the clock advance so far at every look."""

    def act(seconds):
        ticks = itertools.count(1.0, seconds)
        monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))

    return act


@pytest.mark.parametrize("epochs", [1, 2])
def test_steps_are_counted_over_all_experiences(blobs, benchmark_of, network, naive, epochs):
    counter = StepCounter()
    naive(network(), [counter], batch=8, epochs=epochs).train(benchmark_of(blobs()).train_stream)
    assert counter.steps == 3 * 5 * epochs  # 40 samples an experience


def test_each_experience_is_reported_from_its_beginning_to_its_end(blobs, benchmark_of, network, naive, ticking):
    parts = []
    strategy = naive(network(), [StepCounter(parts.append)], batch=8, epochs=2)
    benchmark = benchmark_of(blobs())
    ticking(1.0)
    strategy.train(benchmark.train_stream)
    assert parts == pytest.approx([i / 10 for i in range(1, 11)] * 3)


def test_it_is_reported_at_most_five_times_a_second(blobs, benchmark_of, network, naive, ticking):
    parts = []
    strategy = naive(network(), [StepCounter(parts.append)], batch=8)
    benchmark = benchmark_of(blobs(n_per_class=100))
    ticking(1 / 16)
    strategy.train(benchmark.train_stream[0])
    assert parts == pytest.approx([i / 25 for i in range(1, 26, 4)])
