"""What several benchmarks say together."""

import pytest

from ckd.bench import plan
from ckd.bench.result import Result, save
from ckd.evaluation import AccuracyMatrix
from ckd.report import load_results
from ckd.report.across import across
from ckd.report.summary import summarise


def test_of_several_settings_of_a_method_the_best_stands_for_it(tmp_path):
    for benchmark in ("split-digits", "permuted-digits"):
        for recipe, lr, accuracy in (("er", 0.1, 0.9), ("er", 0.001, 0.2), ("der++", 0.1, 0.8)):
            for seed in range(2):
                spec = plan(benchmark, recipe, seed=seed, lr=lr)
                matrix = AccuracyMatrix([[accuracy] * spec.n_experiences] * spec.n_experiences)
                save(Result(spec, matrix, matrix, {}, {"training": 1.0, "evaluation": 0.0}, {}, {}), tmp_path)
    found = across([summarise(name, methods) for name, methods in load_results(tmp_path).benchmarks().items()])
    means = {point["method"]: point["mean"] for point in found.figures[0].chart["data"]["values"]}
    assert means == pytest.approx({"er, memory 200": 90, "der++, memory 200": 80})
    assert found.note.endswith("the best is here: er, memory 200.")
