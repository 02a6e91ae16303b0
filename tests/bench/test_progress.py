"""What is shown of a suite under way: lines, bars, and the time that is left."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from ckd.bench import Result, plan
from ckd.bench.progress import SuiteProgress
from ckd.evaluation import AccuracyMatrix

SPECS = [plan("split-digits", r, seed=s, memory_size=20) for r in ("naive", "er") for s in range(2)]


def result(i, seconds):
    matrix = AccuracyMatrix([[0.9, 0.0], [0.5, 0.8]])
    return Result(SPECS[i], matrix, matrix, {}, {"training": seconds - 1.0, "evaluation": 1.0}, {}, {})


def lines(act, kept=(), jobs=1, specs=SPECS, terminal=False):
    """What is printed while `act(progress)` runs."""
    printed = io.StringIO()
    with SuiteProgress(specs, dict(kept), jobs, Console(file=printed, width=200, force_terminal=terminal)) as progress:
        act(progress)
    return printed.getvalue().rstrip("\n").splitlines()  # rich 13.0 ends with an empty line


def test_a_finished_run_is_a_line_with_its_accuracy_its_seconds_and_what_is_left():
    def act(progress):
        progress.report(0, 0, 1, 0.0)
        progress.finish(0, result(0, 41.0))
        progress.finish(1, result(1, 39.0))
        progress.finish(2, result(2, 400.0))
        progress.finish(3, result(3, 8.25))

    assert lines(act) == [
        "[1/4] naive, seed 0: 65.00 in 41 s, about 2 min left",
        "[2/4] naive, seed 1: 65.00 in 39 s, about 80 s left",
        "[3/4] er, memory 20, seed 0: 65.00 in 400 s, about 7 min left",
        "[4/4] er, memory 20, seed 1: 65.00 in 8.2 s",
    ]


def test_what_was_finished_before_is_one_line_and_tells_the_time():
    kept = {0: result(0, 10.0), 1: result(1, 20.0)}
    assert lines(lambda progress: progress.finish(2, result(2, 7200.0)), kept) == [
        "2 of 4 runs are finished already",
        "[3/4] er, memory 20, seed 0: 65.00 in 7200 s, about 2.0 h left",
    ]


def test_a_run_that_fails_is_a_line():
    assert lines(lambda progress: progress.fail(3, "why [not]")) == ["[1/4] er, memory 20, seed 1: why [not]"]


def test_the_benchmark_is_named_where_there_are_several():
    specs = [SPECS[0], replace(SPECS[0], benchmark="permuted-digits")]
    (line,) = lines(lambda progress: progress.finish(0, result(0, 41.0)), specs=specs)
    assert line.startswith("[1/2] split-digits, naive, seed 0: 65.00 in 41 s")


def left(act, jobs=1):
    found = []
    lines(lambda progress: (act(progress), found.append(progress.left())), jobs=jobs)
    return found[0]


def test_the_time_left_is_unknown_before_anything_is_done():
    assert left(lambda progress: progress.report(0, 0, 5, 0.0)) is None


def test_the_time_left_is_shared_by_as_many_runs_as_were_seen_at_once():
    def one(progress):
        progress.report(0, 1, 5, 10.0)

    def two(progress):
        one(progress)
        progress.report(1, 0, 5, 0.0)

    assert left(two) == pytest.approx(left(one) / 2)


@pytest.mark.parametrize("jobs", [2, 4])
def test_the_time_left_counts_what_runs_have_done_and_is_shared_by_the_jobs(jobs):
    def act(progress):
        progress.finish(0, result(0, 40.0))  # so naive takes 40 s
        progress.report(1, 1, 4, 3.0)  # 30 s more
        progress.report(2, 2.5, 5, 100.0)  # so er takes 200 s; 100 s more, and 200 s of the other

    assert left(act, jobs) == pytest.approx((30 + 100 + 200) / jobs)


def test_a_report_that_comes_after_the_result_is_left_out():
    def act(progress):
        progress.finish(0, result(0, 40.0))
        progress.report(0, 1, 2, 20.0)

    assert "experiences" not in "".join(lines(act, terminal=True))


def test_bars_are_on_terminals_only():
    def act(progress):
        progress.report(0, 0.5, 2, 3.0)
        progress.finish(1, result(1, 40.0))

    assert len(lines(act)) == 1
    shown = "\n".join(lines(act, terminal=True))
    assert "0.5/2 experiences, 3.0 s" in shown
    assert "1/4 runs, about 2 min left" in shown
