"""Means, spreads and tests of the methods of a benchmark."""

from dataclasses import replace

import pytest

import ckd
from ckd.evaluation import AccuracyMatrix, paired_test
from ckd.report.summary import summarise


@pytest.fixture
def methods(made):
    """methods({name: accuracies}) -> runs by method, with these accuracies in place of their own."""
    runs = ckd.load_results(made).found

    def make(wanted, references=()):
        found = {}
        for name, accuracies in wanted.items():
            like = runs[2] if name in references else runs[0]
            found[name] = []
            for seed, a in enumerate(accuracies):
                spec = replace(like.result.spec, seed=seed)
                result = replace(like.result, spec=spec, matrix=AccuracyMatrix([[a]]))
                found[name].append(replace(like, result=result, method=name, values={**like.values, "accuracy": a}))
        return found

    return make


SIX = [0.5, 0.52, 0.51, 0.53, 0.5, 0.54]


def test_the_best_is_bold_only_if_every_test_says_so(methods):
    eight = [*SIX, 0.52, 0.51]
    better = [a + 0.1 for a in eight]
    found = summarise("b", methods({"a": eight, "z": better}))
    assert [row.method for row in found.rows] == ["z", "a"]
    assert found.rows[0].best
    assert not found.rows[1].best
    assert found.row("a").p == pytest.approx(paired_test(better, eight))
    near = [a + 0.1 - 0.01 * (-1) ** i for i, a in enumerate(eight)]
    mixed = summarise("b", methods({"a": eight, "z": better, "near": near}))
    assert not any(row.best for row in mixed.rows)
    assert "no difference shown" in mixed.rows[1].verdict


def test_too_few_seeds_are_said(methods):
    found = summarise("b", methods({"a": SIX[:5], "z": [x + 0.1 for x in SIX[:5]]}))
    assert "too few seeds to say" in found.row("a").verdict
    assert "6 seeds could" in found.test
    assert not found.rows[0].best
    assert "No test" in summarise("b", methods({"a": SIX})).test
    assert "too few seeds in common" in summarise("b", methods({"a": SIX[:1], "z": SIX})).row("a").verdict


def test_references_are_bounds_and_no_rivals(methods):
    found = summarise("b", methods({"a": SIX, "bound": [0.9] * 6}, references=("bound",)))
    assert found.rows[-1].method == "bound"
    assert found.rows[-1].p is None
    assert found.against == "a"


def test_another_method_can_be_the_one_to_test_against(methods):
    worse = [x - 0.1 for x in SIX]
    assert summarise("b", methods({"a": SIX, "worse": worse}), against="worse").against == "worse"


def test_only_seeds_that_both_have_are_paired(methods):
    found = summarise("b", methods({"a": SIX, "z": [x + 0.1 for x in SIX[:4]]}))
    assert "n 4" in found.row("a").verdict
    assert found.row("a").p == pytest.approx(2 / 2**4)


def test_published_numbers_are_beside_ours(made):
    runs = ckd.load_results(made).benchmarks()
    (name, methods), *_ = runs.items()
    found = summarise(name, methods, published={("er", 50): 87.5})
    assert found.row("er").published == 87.5
    assert found.row("naive").published is None


def test_several_memory_sizes_are_tested_against_the_same_size(methods):
    better, best = [a + 0.1 for a in SIX], [a + 0.3 for a in SIX]
    wanted = {"er 50": better, "der 50": better, "er 200": SIX, "der 200": best}  # der 200 is the best of der
    found = methods(wanted)
    for name, runs in found.items():
        recipe, size = name.split()
        for i, run in enumerate(runs):
            spec = replace(run.result.spec, recipe=recipe, memory_size=int(size))
            runs[i] = replace(run, result=replace(run.result, spec=spec))
    summary = summarise("b", found, against="der")
    assert "as large a memory" in summary.test
    assert summary.against == "der"
    assert {row.method for row in summary.rows if row.p is not None} == {"er 50", "er 200"}
    assert "p 1.000" in summary.row("er 50").verdict
    assert "p 0.031, 0.062 after Holm" in summary.row("er 200").verdict
    assert not any(row.best for row in summary.rows)
