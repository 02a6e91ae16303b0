"""The README: its examples run as a reader would run them, and its table is the registry's."""

import ast
import contextlib
import io
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ckd import Engine, SelfDistillation, catalogue
from ckd.bench import plan, save
from ckd.bench import run as ckd_run
from ckd.recipes import RECIPES

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
OWN_LOOP = next(example for example in EXAMPLES if "Engine(recipes." in example)


@pytest.fixture(autouse=True, scope="module")
def demo(tmp_path_factory):
    """The examples run where results are, as after `make demo`."""
    folder = tmp_path_factory.mktemp("readme")
    for seed in range(2):
        save(ckd_run(plan("split-digits", "er", seed=seed, memory_size=50, epochs=1)), folder / "runs" / "demo")
    with contextlib.chdir(folder):
        yield


@pytest.fixture(scope="module")
def ran(demo):
    """The names that the examples define, one after the other, and what they print."""
    names, printed = {"__name__": "__main__"}, io.StringIO()
    with torch.random.fork_rng(), contextlib.redirect_stdout(printed):
        torch.manual_seed(0)
        for example in EXAMPLES:
            exec(compile(example, "README.md", "exec"), names)
            if example is OWN_LOOP:
                names["test"] = list(names["digits"].tensors("test"))
    return names, printed.getvalue()


def test_the_examples_run(ran):
    names, printed = ran
    plugin, own_loop, *frames = printed.splitlines()
    accuracy, forgetting = map(float, plugin.split())
    assert accuracy > 0.75
    assert forgetting < 0.3
    assert sum(ast.literal_eval(own_loop)) / 5 > 0.75
    assert isinstance(names["plugin"], SelfDistillation)
    assert len(names["results"].runs) == 2
    assert any("recency_bias" in line for line in frames)
    agreement = [(names["small"](x).argmax(1) == names["large"](x).argmax(1)).float() for x, _ in names["test"]]
    assert torch.cat(agreement).mean() > 0.75


def test_the_own_loop_never_imports_avalanche():
    loop = OWN_LOOP.replace("range(5)", "range(1)")  # epochs
    code = f"import sys, torch\ntorch.set_num_threads(1)\n{loop}\nassert 'avalanche' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_composed_objectives_train(ran, blobs, benchmark_of, network, naive):
    names, _ = ran
    naive(network(), [names["plugin"]]).train(benchmark_of(blobs()).train_stream)
    assert len(names["objective"].memory) == 120
    assert names["held"].anchor.teacher is names["past"]
    engine, model = Engine(names["hinted"]), nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 6))
    for x, y in blobs():
        engine.begin(y.unique())
        losses = engine.loss(model, x, y)
        losses.backward()
        engine.after_update()
        engine.end()
    assert set(losses.parts) == {"criterion", "logits", "labels", "hint"}


@pytest.mark.parametrize("name", sorted(name for name, recipe in RECIPES.items() if not recipe.teacher))
def test_every_recipe_can_be_pickled(name):
    pickle.dumps(SelfDistillation(RECIPES[name].build()))


def test_the_tables_of_recipes_are_those_of_the_registry():
    assert all(table in README for table in catalogue.markdown().split("\n\n"))
