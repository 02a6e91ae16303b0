"""What holds for every recipe; that each works with every kind of labels, head and stream is in test_battery.py."""

import pickle

import pytest
import torch

from ckd import AccuracyRecorder, Engine, SelfDistillation, recipes
from ckd.errors import ConfigError, UnknownNameError
from ckd.recipes import RECIPES, get

TAUGHT = [
    "attention",
    "born-again",
    "dist",
    "dkd",
    "hinge",
    "hint",
    "kd",
    "logit-mse",
    "mutual",
    "relational",
    "review",
    "similarity",
    "standardised-kd",
    "symmetric-kl",
]
NAMES = [
    "ballast",
    "bfp",
    "bic",
    "cls-er",
    "cumulative",
    "der",
    "der++",
    "er",
    "er-ace",
    "er-las",
    "ewc",
    "fdr",
    "icarl",
    "joint",
    "lode",
    "lwf",
    "lwf-mc",
    "mean-er",
    "mkd",
    "naive",
    "self-distillation",
    "ser",
    "ss-il",
    "tether",
    "wa",
    "x-der",
]


def test_the_registry():
    assert sorted(RECIPES) == sorted(NAMES + TAUGHT)
    assert all(r.summary.endswith(".") and r.paper and r.use for r in RECIPES.values())
    assert all(bool(r.stores) != bool(r.teacher) for r in RECIPES.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("task_labels", "same_classes"), [("index", False), ("zero", True)])
def test_every_recipe_runs_on_every_stream(name, task_labels, same_classes, blobs, benchmark_of, network, naive, train):
    recorder = AccuracyRecorder()
    plugin = SelfDistillation(RECIPES[name].build())
    strategy = naive(network(batchnorm=True), [plugin], evaluator=recorder)
    stream = benchmark_of(blobs(same_classes=same_classes, n_per_class=5 if same_classes else 15), task_labels)
    train(strategy, stream, evaluate=True)
    assert all(p.isfinite().all() for p in strategy.model.parameters())
    assert recorder.matrix().values.shape == (3, 3)
    held = plugin.engine.nbytes()
    further = {"heads", "curvature", "adaptors", "norms", "class counts"}
    assert set(held) - further == {"inputs", "labels", "logits", "teachers"}
    assert (held["teachers"] > 0) == bool(plugin.objective.teachers)
    assert (held["inputs"] > 0) == (plugin.objective.memory is not None)
    anchor = plugin.objective.anchor
    holds = anchor is not None and (same_classes or not anchor.while_classes_stay)
    assert (held.get("curvature", 0) > 0) == holds


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_can_be_pickled(name):
    pickle.loads(pickle.dumps(RECIPES[name].build()))


def test_an_unknown_recipe_or_setting_is_answered_with_near_names():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'der\+\+'"):
        recipes.get("der+")
    with pytest.raises(UnknownNameError, match="Did you mean 'alpha'"):
        recipes.get("der++").settings(alhpa=1)


@pytest.mark.parametrize("same_classes", [False, True])
def test_the_default_is_ballast_where_classes_come_and_has_tethers_parts_where_they_stay(
    same_classes, blobs, benchmark_of, network, naive
):
    recorder = AccuracyRecorder()
    strategy = naive(network(), [SelfDistillation(memory_size=20)], evaluator=recorder)
    torch.manual_seed(0)
    strategy.train(benchmark_of(blobs(same_classes=same_classes)).train_stream)
    names = {name.rsplit("/", 1)[1] for name in recorder.losses}
    assert names == {"criterion", "collages" if same_classes else "distillation"}


def test_the_default_is_ballast_bit_for_bit_where_classes_come(blobs, benchmark_of, network, naive):
    ends = []
    for objective in (
        recipes.ballast(decay=0.99),
        recipes.self_distillation(),
    ):
        torch.manual_seed(0)
        model = network()
        strategy = naive(model, [SelfDistillation(objective)])
        torch.manual_seed(0)
        strategy.train(benchmark_of(blobs()).train_stream)
        ends.append([p.detach().clone() for p in model.parameters()])
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize("make", [recipes.tether, recipes.ballast, recipes.self_distillation])
@pytest.mark.parametrize("limited", [True, False])
def test_our_recipes_take_no_leap_where_inputs_grow(make, limited, network):
    """Step lengths of plain SGD: with inputs 100 times as large, at most twice the largest before it."""
    model, generator = network(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    engine = Engine(make(memory_size=20) if limited else make(memory_size=20, limit_factor=0))
    engine.begin([0, 1])
    lengths = []
    for i in range(21):
        inputs = torch.randn(10, 6, generator=generator) * (100 if i == 20 else 1)
        before = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
        optimizer.zero_grad()
        engine.loss(model, inputs, torch.arange(10) % 2).backward()
        optimizer.step()
        engine.after_update(optimizer)
        lengths.append((torch.nn.utils.parameters_to_vector(model.parameters()) - before).norm().item())
    assert (lengths[-1] <= 2.001 * max(lengths[:-1])) is limited


# a file of one's own -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "function", "told"),
    [
        (
            "def build():\n    pass",
            ":other",
            r"expected a function of .*mine.py: build; received 'other'. Name one of them",
        ),
        ("BUILD = 3", ":BUILD", r"expected a function of .*mine.py: there is none; received 'BUILD'"),
        (
            "def build(size):\n    pass",
            ":build",
            r"a default for every argument; received none for size. Write size=...",
        ),
        (
            "def build():\n    pass",
            "",
            r"expected a function under @recipe.*Decorate one, or name a function: .*mine.py:",
        ),
        (None, ":build", "expected a file; received no such file"),
        (
            "from ckd import tap, feature",
            ":build",
            r"can be loaded; received ImportError in line 1: cannot import name",
        ),
        (
            "import nowhere_at_all",
            ":build",
            r"received ModuleNotFoundError in line 1: No module named 'nowhere_at_all'",
        ),
        ("open('nowhere')", ":build", "received FileNotFoundError in line 1: "),
        ("\nbuild = undefined", ":build", r"received NameError in line 2: name 'undefined' is not defined"),
        ("def build(:", ":build", r"received SyntaxError in line 1: "),
    ],
)
def test_a_file_without_the_recipe_is_refused_with_what_is_there(content, function, told, tmp_path):
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=told):
        get(f"{file}{function}")


def test_a_hyper_parameter_that_is_text_stays_so(tmp_path):
    (tmp_path / "mine.py").write_text("def build(layer='3'):\n    pass")
    assert get(f"{tmp_path / 'mine.py'}:build").settings(layer=1) == {"layer": "1"}
