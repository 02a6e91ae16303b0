"""The examples of the README, run as a reader would."""

import pickle
import re
from pathlib import Path

import pytest
import torch

from ckd import SelfDistillation
from ckd.recipes import RECIPES

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_examples_run(capsys):
    names = {"__name__": "__main__"}
    torch.manual_seed(0)
    for example in EXAMPLES:
        exec(compile(example, "README.md", "exec"), names)
    accuracy, forgetting = map(float, capsys.readouterr().out.split())
    assert accuracy > 0.75
    assert forgetting < 0.3
    assert isinstance(names["plugin"], SelfDistillation)


def test_the_composed_objective_trains(blobs, benchmark_of, network, naive):
    names = {"__name__": "__main__"}
    for example in EXAMPLES[-2:]:
        exec(compile(example, "README.md", "exec"), names)
    naive(network(), [names["plugin"]]).train(benchmark_of(blobs()).train_stream)
    assert len(names["objective"].memory) == 120
    assert names["held"].anchor.teacher is names["past"]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_is_in_the_table_and_can_be_pickled(name):
    assert f"`{name}`" in README
    pickle.dumps(SelfDistillation(RECIPES[name].build()))
