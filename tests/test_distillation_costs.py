"""benchmarks/distillation: a learner of a stream compressed, and the cost of a step, on little."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks" / "distillation"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in ("compressed_learner", "step_cost"):
        sys.modules.pop(name, None)


def test_a_learner_of_a_stream_teaches_a_smaller_network_from_its_memory():
    found = importlib.import_module("compressed_learner").run(0, stream="split-digits", samples_per_class=20, steps=20)
    learner, *students = found.values()
    assert all(0 <= each["accuracy"] <= 100 for each in found.values())
    assert {each["bytes"] for each in students} == {4 * (65 * 16 + 17 * 10)}
    assert learner["bytes"] == 4 * (65 * 100 + 101 * 100 + 101 * 10)


@pytest.mark.parametrize("features", [False, True])
def test_the_step_in_plain_torch_and_the_engines_are_the_same(features):
    costs = importlib.import_module("step_cost")
    after = []
    for make in (costs.plain, costs.with_engine):
        torch.manual_seed(0)
        student, teacher = (costs.network(n, (3, 32, 32), costs.CLASSES) for n in ("tiny-resnet", "small-resnet"))
        step = make(student, teacher, torch.optim.SGD(student.parameters(), lr=0.01), features=features)
        torch.manual_seed(1)
        step(torch.randn(4, 3, 32, 32), torch.randint(costs.CLASSES, (4,)))
        after.append([p.detach().clone() for p in student.parameters()])
    if features:  # the maps between the layers begin elsewhere
        assert [p.shape for p in after[0]] == [p.shape for p in after[1]]
    else:
        torch.testing.assert_close(after[0], after[1])
