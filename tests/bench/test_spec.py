"""What a run is: the protocol table, what overrides it, and where its result belongs."""

import json
from dataclasses import asdict, fields, replace

import pytest

import ckd.data
from ckd.bench import RunSpec, plan
from ckd.bench.spec import NetworkFile
from ckd.errors import ConfigError, UnknownNameError
from ckd.networks import NETWORKS
from ckd.recipes import RECIPES, registry
from ckd.recipes.protocols import BENCHMARKS, DER, ROWS, protocol

SPEC = plan("split-digits", "der++", seed=0)


# the protocol table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("benchmark", "recipe", "memory_size", "lr", "settings"),
    [
        ("permuted-mnist", "naive", 200, 0.2, {}),
        ("permuted-mnist", "er", 500, 0.2, {}),
        ("permuted-mnist", "der", 200, 0.2, {"alpha": 1.0}),
        ("permuted-mnist", "der", 5120, 0.2, {"alpha": 0.5}),
        ("permuted-mnist", "der++", 200, 0.1, {"alpha": 1.0, "beta": 1.0}),
        ("permuted-mnist", "der++", 500, 0.2, {"alpha": 1.0, "beta": 0.5}),
        ("permuted-mnist", "der++", 5120, 0.2, {"alpha": 0.5, "beta": 1.0}),
        ("split-mnist", "der++", 200, 0.03, {"alpha": 0.2, "beta": 1.0}),
        ("split-mnist", "der++", 500, 0.03, {"alpha": 1.0, "beta": 0.5}),
        ("split-mnist", "der++", 5120, 0.1, {"alpha": 0.2, "beta": 0.5}),
        ("split-cifar10, full", "er", 200, 0.1, {}),
        ("split-cifar10, full", "der++", 200, 0.03, {"alpha": 0.1, "beta": 0.5}),
        ("split-cifar10, full", "der++", 500, 0.03, {"alpha": 0.2, "beta": 0.5}),
        ("split-cifar10, full", "der++", 5120, 0.03, {"alpha": 0.1, "beta": 1.0}),
    ],
)
def test_a_plan_follows_the_published_protocol(benchmark, recipe, memory_size, lr, settings):
    benchmark, _, variant = benchmark.partition(", ")
    spec = plan(benchmark, recipe, seed=0, memory_size=memory_size, variant=variant or None)
    assert spec.lr == lr
    assert {name: spec.settings[name] for name in settings} == settings
    assert spec.source == DER


@pytest.mark.parametrize(
    ("benchmark", "epochs", "batch_size", "network"),
    [("permuted-mnist", 1, 128, "mlp"), ("split-mnist", 1, 10, "xavier-mlp"), ("split-cifar10", 5, 32, "small-resnet")],
)
def test_a_plan_trains_as_the_benchmark_says(benchmark, epochs, batch_size, network):
    spec = plan(benchmark, "er", seed=0)
    assert (spec.epochs, spec.batch_size, spec.network) == (epochs, batch_size, network)


@pytest.mark.parametrize(("memory_size", "beta"), [(1, 1.0), (349, 1.0), (351, 0.5), (2000, 0.5), (99_999, 1.0)])
def test_a_size_without_a_row_takes_the_nearest(memory_size, beta):
    assert plan("permuted-mnist", "der++", seed=0, memory_size=memory_size).settings["beta"] == beta


def test_what_the_table_does_not_say_is_the_recipes_default():
    defaults = RECIPES["lwf"].defaults
    assert plan("permuted-mnist", "lwf", seed=0).settings == defaults
    assert plan("permuted-mnist", "lwf", seed=0).source == "not tuned"


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_row_is_about_something_that_exists(row):
    benchmark, recipe, memory_size = row
    lr, settings, source = ROWS[row]
    assert benchmark.split(", ")[0] in ckd.data.BENCHMARKS
    assert recipe in RECIPES
    assert set(settings) <= set(RECIPES[recipe].defaults) - {"memory_size", "seed"}
    assert (memory_size > 0) == ("memory_size" in RECIPES[recipe].defaults)
    assert lr > 0
    assert source


@pytest.mark.parametrize("recipe", [n for n, r in RECIPES.items() if not r.teacher])
@pytest.mark.parametrize("benchmark", ckd.data.BENCHMARKS)
def test_every_recipe_has_a_plan_for_every_benchmark_that_builds(benchmark, recipe):
    spec = plan(benchmark, recipe, seed=3, memory_size=100)
    assert spec.network in NETWORKS
    assert RECIPES[recipe].build(**spec.settings).name == recipe
    assert spec.memory_size == (100 if "memory_size" in RECIPES[recipe].defaults else 0)


def test_every_benchmark_has_a_protocol_and_the_other_way_round():
    assert {name.split(", ")[0] for name in BENCHMARKS} == set(ckd.data.BENCHMARKS)


def test_a_variant_is_another_protocol_of_the_same_benchmark():
    full, online = (plan("split-cifar10", "der++", seed=0, variant=name) for name in ("full", "online"))
    assert (full.epochs, full.network, full.samples_per_class) == (50, "resnet18", None)
    assert (online.epochs, online.network, online.batch_size) == (1, "slim-resnet18", 10)
    assert full.benchmark == online.benchmark == "split-cifar10"
    with pytest.raises(UnknownNameError, match="Did you mean 'online'"):
        plan("split-cifar10", "er", seed=0, variant="onlin")


def test_arrays_of_ones_own_are_trained_like_the_digits():
    assert protocol("mine.npz", "er", 200) == BENCHMARKS["split-digits"]


# overrides and errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 5),
        ("memory_size", 7),
        ("n_experiences", 2),
        ("epochs", 9),
        ("batch_size", 3),
        ("lr", 0.5),
        ("network", "convnet"),
        ("validate", True),
    ],
)
def test_an_argument_overrides_the_protocol(name, value):
    assert getattr(plan("permuted-mnist", "der++", **{"seed": 0, name: value}), name) == value


def test_given_settings_override_the_row_and_leave_the_others():
    spec = plan("permuted-mnist", "der++", seed=0, memory_size=500, settings={"alpha": 0.3})
    assert (spec.settings["alpha"], spec.settings["beta"]) == (0.3, 0.5)


@pytest.mark.parametrize(
    ("benchmark", "recipe", "settings", "near"),
    [
        ("split-digit", "er", {}, "split-digits"),
        ("split-digits", "der+", {}, "der++"),
        ("split-digits", "der++", {"alhpa": 1.0}, "alpha"),
        ("split-digits", "lwf", {"temprature": 1.0}, "temperature"),
    ],
)
def test_an_unknown_name_comes_with_the_nearest(benchmark, recipe, settings, near):
    with pytest.raises(UnknownNameError) as error:
        plan(benchmark, recipe, seed=0, settings=settings)
    assert repr(near) in error.value.fix


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"memory_size": -1}, "memory size"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch size"),
        ({"lr": 0.0}, "learning rate"),
        ({"lr": -0.1}, "learning rate"),
        ({"lr": float("nan")}, "learning rate"),
    ],
)
def test_a_number_that_cannot_work_is_refused(given, what):
    with pytest.raises(ConfigError) as error:
        plan("split-digits", "er", seed=0, **given)
    assert error.value.what == what


@pytest.mark.parametrize("value", ["much", True, 2.5, float("inf"), float("nan")])
def test_a_number_that_must_be_whole_is_refused_otherwise(value):
    with pytest.raises(ConfigError, match="a whole number"):
        plan("split-digits", "er", seed=0, settings={"memory_batch_size": value})


@pytest.mark.parametrize("name", ["memory_size", "seed"])
def test_a_setting_that_has_an_argument_of_its_own_is_refused(name):
    with pytest.raises(ConfigError):
        plan("split-digits", "er", seed=0, settings={name: 7})


# the folder --------------------------------------------------------------------------------------------------------

OTHER = {
    "benchmark": "permuted-digits",
    "recipe": "der",
    "memory_size": 100,
    "n_experiences": 2,
    "epochs": 6,
    "batch_size": 17,
    "lr": 0.11,
    "network": "convnet",
    "samples_per_class": 7,
    "settings": {**SPEC.settings, "alpha": 0.51},
    "validate": True,
    "precision": "bfloat16",
    "compiled": True,
    "average": 0.9,
    "lr_end": 0.5,
    "passes": 3,
    "online": True,
    "evaluate_every": 10,
    "stream": "permuted",
    "momentum": 0.9,
    "weight_decay": 0.001,
    "sparsity": 0.5,
    "lr_steps": (3,),
    "teachers": (NetworkFile("mlp", "mlp.safetensors", "0123abcd"),),
    "data": "0123abcd",
    "code": "0123abcd",
    "network_code": "0123abcd",
}


def test_every_field_is_in_this_battery():
    assert {f.name for f in fields(RunSpec)} == OTHER.keys() | {"seed", "source"}


@pytest.mark.parametrize("name", OTHER)
def test_another_setting_is_another_folder(name):
    assert replace(SPEC, **{name: OTHER[name]}).folder.parent != SPEC.folder.parent


@pytest.mark.parametrize(("name", "value"), [("seed", 1), ("source", "elsewhere")])
def test_seeds_share_the_folder_of_the_method_and_the_source_does_not_matter(name, value):
    assert replace(SPEC, **{name: value}).folder.parent == SPEC.folder.parent


def test_the_online_protocol_of_cifar100_updates_three_times_with_each_mini_batch():
    spec = plan("split-cifar100", "er", seed=0, memory_size=2000, variant="online")
    assert (spec.passes, spec.n_experiences, spec.batch_size, spec.epochs) == (3, 20, 10, 1)
    assert plan("split-cifar100", "er", seed=0, variant="online", passes=1, n_experiences=10).n_experiences == 10
    with pytest.raises(ConfigError, match="passes"):
        plan("split-digits", "er", seed=0, passes=0)


def test_the_order_of_classes_is_that_of_the_protocol_or_asked_for():
    def stream(benchmark, **asked):
        return plan(benchmark, "er", seed=0, **asked).stream

    assert stream("split-cifar100", variant="online") == "shuffled"
    assert stream("split-cifar100", variant="online", stream="split") == ""
    assert (stream("split-cifar100"), stream("split-cifar100", stream="shuffled")) == ("", "shuffled")
    with pytest.raises(ConfigError, match=r"stream of split-digits: expected split or shuffled; received 'permuted'"):
        stream("split-digits", stream="permuted")
    with pytest.raises(
        ConfigError, match="stream of permuted-mnist: expected the benchmark's own; received 'shuffled'"
    ):
        stream("permuted-mnist", stream="shuffled")
    with pytest.raises(ConfigError, match="stream of digits: expected the benchmark's own; received 'shuffled'"):
        stream("digits", stream="shuffled")
    with pytest.raises(ConfigError, match="stream: expected the benchmark's own; received shuffled, one experience"):
        stream("split-digits", stream="shuffled", n_experiences=1)


def test_classes_in_another_order_for_each_seed_are_not_what_a_teacher_knows():
    teacher = plan("split-digits", "naive", seed=0)
    with pytest.raises(ConfigError, match="stream of kd: expected the teacher's labels"):
        plan("split-digits", "kd", seed=1, stream="shuffled", teachers=[teacher])


def test_an_online_stream_is_that_of_the_protocol_or_asked_for():
    assert plan("split-cifar10", "er", seed=0, variant="online").online
    assert not plan("split-cifar10", "er", seed=0, variant="online", online=False).online
    assert not plan("split-cifar10", "er", seed=0).online
    asked = plan("split-digits", "er", seed=0, online=True)
    assert asked.online
    assert asked.epochs == 1
    assert (asked.label, plan("split-digits", "er", seed=0).label) == ("er + online, memory 200", "er, memory 200")
    assert plan("split-cifar10", "er", seed=0, variant="online").label == "er, memory 200"


@pytest.mark.parametrize(
    ("recipe", "epochs", "message"),
    [
        ("er", 2, "epochs: expected 1 in an online stream, which shows each mini-batch once; received 2"),
        ("icarl", 1, "objective 'icarl', memory: expected experiences whose data is at hand as a whole; received"),
    ],
)
def test_what_an_online_stream_cannot_give_is_refused(recipe, epochs, message):
    with pytest.raises(ConfigError, match=message):
        plan("split-digits", recipe, seed=0, online=True, epochs=epochs)


def test_each_seed_has_a_folder_of_its_own():
    assert SPEC.folder.name == "seed0"
    assert replace(SPEC, seed=1).folder.name == "seed1"


def test_the_folder_can_be_read():
    benchmark, method, _ = SPEC.folder.parts
    assert benchmark == "split-digits"
    assert method.startswith("der++-200-")


def test_the_folder_of_a_file_goes_by_its_content_not_its_path(tmp_path):
    folders = []
    for place, content in (("here", b"1"), ("there", b"2"), ("elsewhere", b"1")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "mine.npz").write_bytes(content)
        folders.append(plan(str(tmp_path / place / "mine.npz"), "er", seed=0).folder)
    assert {folder.parts[0] for folder in folders} == {"mine"}
    assert folders[0] == folders[2] != folders[1]


def test_the_folder_of_a_recipe_goes_by_its_code_not_its_path(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "RECIPES", dict(registry.RECIPES))
    code = "from ckd.recipes import er, registry\n\n\n@registry.recipe('mine')\ndef mine():\n    return er()\n"
    folders = []
    for place, content in (("here", code), ("there", code + "\n"), ("elsewhere", code)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "mine.py").write_text(content)
        folders.append(plan("split-digits", str(tmp_path / place / "mine.py"), seed=0).folder)
    assert {folder.parts[1].rpartition("-")[0] for folder in folders} == {"mine.py"}
    assert folders[0] == folders[2] != folders[1]


def test_the_folder_of_a_benchmark_goes_by_its_function_and_code_not_its_path(tmp_path):
    code = "from ckd.data import split\n\n\ndef one(n_experiences=4): ...\n\n\ndef two(): ...\n"
    specs = []
    for place, content, function in (
        ("here", code, "one"),
        ("there", code + "\n", "one"),
        ("elsewhere", code, "one"),
        ("here", code, "two"),
    ):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "mine.py").write_text(content)
        specs.append(plan(f"{tmp_path / place / 'mine.py'}:{function}", "er", seed=0))
    folders = [spec.folder for spec in specs]
    assert [folder.parts[0] for folder in folders] == ["mine.py-one"] * 3 + ["mine.py-two"]
    assert folders[0] == folders[2]
    assert len(set(folders)) == 3
    assert [spec.n_experiences for spec in specs] == [4, 4, 4, None]
    assert specs[0].name == "mine.py-one/er-200/seed0"


def test_what_was_changed_is_noted_beside_the_source():
    assert plan("permuted-mnist", "er", seed=0).source == DER
    changed = plan("permuted-mnist", "der", seed=0, lr=0.3, settings={"alpha": 0.1})
    assert changed.source == f"{DER}; changed: lr, alpha"


def test_the_default_number_of_experiences_is_the_same_run_as_that_number_given():
    assert plan("split-digits", "er", seed=0) == plan("split-digits", "er", seed=0, n_experiences=5)


@pytest.mark.parametrize("given", [{"network": "resnet"}, {"settings": {"temperature": 0}}])
def test_what_would_fail_late_is_refused_early(given):
    with pytest.raises(ConfigError):
        plan("split-digits", "lwf", seed=0, **given)


def test_the_order_of_the_settings_does_not_matter():
    backwards = dict(reversed(SPEC.settings.items()))
    assert replace(SPEC, settings=backwards).folder == SPEC.folder


@pytest.mark.parametrize("given", [{"lr": 1}, {"settings": {"alpha": 1}}], ids=str)
def test_equal_specs_share_the_folder(given):
    one, same = plan("split-digits", "der++", seed=0, **given), plan("split-digits", "der++", seed=0, **floats(given))
    assert one == same
    assert one.folder == same.folder


def floats(given):
    return {k: floats(v) if isinstance(v, dict) else float(v) for k, v in given.items()}


@pytest.mark.parametrize(("function", "label"), [("keepsake", "keepsake"), ("er", "mine.py:er")])
def test_a_function_of_ones_own_gives_the_label_unless_a_recipe_has_that_name(function, label, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"from ckd import Objective\n\n\ndef {function}():\n    return Objective('mine')\n")
    assert plan("split-digits", f"{file}:{function}", seed=0).label == label


@pytest.mark.parametrize(("recipe", "label"), [("naive", "naive"), ("er", "er, memory 200")])
def test_the_label_names_the_memory_where_there_is_one(recipe, label):
    assert plan("split-digits", recipe, seed=0).label == label


def test_split_cifar_takes_a_part_of_the_data_unless_all_is_given():
    assert plan("split-cifar10", "er", seed=0).samples_per_class == 2000
    assert plan("split-cifar10", "er", seed=0, samples_per_class=50).samples_per_class == 50
    assert plan("split-cifar10", "er", seed=0, samples_per_class="all").samples_per_class is None
    assert plan("split-mnist", "er", seed=0).samples_per_class is None


@pytest.mark.parametrize(("recipe", "wrong"), [("er-las", {"strength": -1}), ("lode", {"between": -1})])
def test_a_weight_that_cannot_work_is_refused_before_anything_is_trained(recipe, wrong):
    with pytest.raises(ConfigError):
        plan("split-digits", recipe, seed=0, settings=wrong)


# an average that predicts, a learning rate that falls --------------------------------------------------------------


def test_what_was_added_since_does_not_move_the_results_of_before():
    usual = plan("split-digits", "er", seed=0)
    assert usual.folder == plan("split-digits", "er", seed=0, average=0.0, lr_end=1.0).folder
    folders = {plan("split-digits", "er", seed=0, **more).folder for more in ({}, {"average": 0.9}, {"lr_end": 0.1})}
    assert len(folders) == 3
    assert str(usual.folder) == "split-digits/er-200-d4187a4c/seed0"


@pytest.mark.parametrize("steps", [-1, 0.5, "10"])
def test_evaluations_within_experiences_that_cannot_be_are_refused(steps):
    with pytest.raises(ConfigError, match="evaluate every"):
        plan("split-digits", "er", seed=0, evaluate_every=steps)


def test_the_label_says_so():
    assert plan("split-digits", "er", seed=0, average=0.99, lr_end=0.1).label == (
        "er + average 0.99 + lr to 0.1, memory 200"
    )


@pytest.mark.parametrize(
    ("recipe", "more", "said"),
    [
        ("mean-er", {"average": 0.9}, "one of its own"),
        ("tether", {"average": 0.9}, "one of its own"),
        ("er", {"average": 1.5}, "average: expected from 0 to below 1"),
        ("er", {"lr_end": -1.0}, "end of the learning rate"),
        ("er", {"lr_end": 2.0}, "end of the learning rate"),
    ],
)
def test_an_average_or_end_that_cannot_work_is_refused(recipe, more, said):
    with pytest.raises(ConfigError, match=said):
        plan("split-digits", recipe, seed=0, **more)


def test_a_recipe_that_returns_nothing_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text("def build():\n    pass")
    with pytest.raises(ConfigError, match=r"expected an Objective; received None. End it with `return objective`"):
        plan("split-digits", f"{tmp_path / 'mine.py'}:build", seed=0)


@pytest.mark.parametrize(
    ("epochs", "steps"), [(None, (150, 180, 210)), (24, (15, 18, 21)), (4, (2, 3)), (1, ()), (480, (300, 360, 420))]
)
def test_the_steps_of_a_protocol_keep_their_place(epochs, steps):
    assert plan("cifar100", "naive", seed=0, variant="full", epochs=epochs).lr_steps == steps


def test_steps_of_ones_own_leave_a_tenth_each_unless_it_is_said():
    found = [plan("digits", "naive", seed=0, lr_steps=[5, 9], lr_end=end) for end in (None, 0.5)]
    assert [(spec.lr_end, spec.lr_steps) for spec in found] == [(0.1, (5, 9)), (0.5, (5, 9))]
    assert found[0].label == "naive + lr to 0.1"
    assert RunSpec.of(json.loads(json.dumps(asdict(found[0])))) == found[0]
    assert plan("cifar100", "naive", seed=0, variant="full").label == "naive"


@pytest.mark.parametrize("steps", [(0,), (5,), (2, 7), (1.5,)])
def test_steps_that_never_come_are_refused(steps):
    with pytest.raises(ConfigError, match="step of the learning rate"):
        plan("digits", "naive", seed=0, epochs=5, lr_steps=steps)


def test_steps_in_a_file_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match="lr_steps is no int"):
        RunSpec.of({**asdict(SPEC), "lr_steps": ["five"]})


@pytest.mark.parametrize(
    ("benchmark", "lr_end", "label"),
    [
        ("digits", None, "naive"),
        ("digits", 1.0, "naive + lr to 1"),
        ("split-digits", None, "naive"),
        ("split-digits", 0.0, "naive + lr to 0"),
    ],
)
def test_a_learning_rate_that_falls_is_named_where_it_is_not_the_protocols(benchmark, lr_end, label):
    assert plan(benchmark, "naive", seed=0, lr_end=lr_end).label == label
