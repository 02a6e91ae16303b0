"""Distillation from the command and its parts: what is planned, run, kept, compared and refused."""

import json
import pickle
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import safetensors.torch
import torch
from rich.console import Console
from torch import nn

from ckd.bench import load, plan, run
from ckd.bench.distil import check_networks, plan_distillation, with_layers
from ckd.bench.spec import NetworkFile, RunSpec
from ckd.bench.students import methods
from ckd.bench.suite import run_all
from ckd.bench.teachers import loaded, network_file
from ckd.cli import main
from ckd.data import tensor_stream
from ckd.errors import CkdError, ConfigError, DataError, ModelError, UnknownNameError
from ckd.networks import network
from ckd.recipes import registry

TINY = {"epochs": 1, "samples_per_class": 20}
QUIET = Console(quiet=True)


def planned(**given):
    return plan_distillation("digits", teacher="mlp", student="small-mlp", **{**TINY, **given})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(comparison, results, folder): kd and born-again from two generations, two seeds, an ensemble of two."""
    out = tmp_path_factory.mktemp("distil")
    found = planned(recipes=("kd", "born-again"), seeds=(0, 1), teacher_seeds=(0, 1), generations=2)
    results, failed = run_all(found.runs, out, keep_networks=True, console=QUIET)
    assert not failed
    return found, results, out


# what is planned ---------------------------------------------------------------------------------------------------


def test_the_usual_networks_of_a_data_set():
    found = plan_distillation("cifar100", recipes=("kd", "dkd"), seeds=(0, 1, 2))
    assert [t.network for t in found.teachers] == ["wide-resnet"]
    assert {s.network for s in (*found.alone, *found.taught)} == {"tiny-resnet"}
    assert [(s.recipe, s.seed) for s in found.taught] == [(r, s) for r in ("kd", "dkd") for s in range(3)]
    assert all((s.momentum, s.weight_decay, s.lr_end, s.n_experiences) == (0.9, 5e-4, 0, 1) for s in found.runs)
    assert all(s.teachers == found.teachers for s in found.taught)


def test_each_generation_is_taught_by_the_one_before():
    last = planned(recipes=("born-again",), generations=3, seeds=(5,)).taught[0]
    assert [last.recipe, last.teachers[0].recipe, last.teachers[0].teachers[0].recipe] == ["born-again"] * 3
    first = last.teachers[0].teachers[0].teachers[0]
    assert (first.recipe, first.network, first.seed, first.teachers) == ("naive", "small-mlp", 5, ())


def test_the_full_protocol_is_the_published_one():
    found = plan_distillation("cifar100", variant="full")
    assert [spec.network for spec in found.runs] == ["resnet32x4", "resnet8x4", "resnet8x4"]
    for spec in found.runs:
        assert (spec.epochs, spec.batch_size, spec.samples_per_class) == (240, 64, None)
        assert (spec.lr, spec.lr_end, spec.lr_steps) == (0.05, 0.1, (150, 180, 210))
        assert (spec.momentum, spec.weight_decay) == (0.9, 5e-4)


def test_recipes_that_take_no_teacher_have_none_unless_it_is_named():
    given = {"data": "digits", "recipes": ("born-again", "mutual")}
    assert {spec.network for spec in plan_distillation(**given).runs} == {"small-mlp"}
    assert plan_distillation(**given).teachers == ()
    assert plan_distillation(**given, teacher="mlp").teachers[0].network == "mlp"
    assert plan_distillation("digits", recipes=("mutual", "kd")).teachers[0].network == "small-resnet"
    assert plan_distillation("split-digits", recipes=("mutual",), student="mlp").teachers == ()


def test_layers_are_those_of_the_networks_unless_named():
    given = {"data": "cifar10", "recipes": ("hint",)}
    assert plan_distillation(**given).taught[0].settings["layers"] == "2=2, 6=6, 10=10"
    relations = plan_distillation(**{**given, "recipes": ("similarity", "relational")})
    assert {one.settings["layers"] for one in relations.taught} == {"10=10"}
    named = plan_distillation(**given, settings={"hint": {"layers": "6=6"}})
    assert named.taught[0].settings["layers"] == "6=6"


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"recipes": ("er",)}, ConfigError, "er, which takes none"),
        ({"data": "nothere.npz"}, DataError, "nothere"),
        ({"generations": 2}, ConfigError, "born-again"),
        ({"recipes": ("kdd",)}, UnknownNameError, "'kd'"),
        ({"generations": 0}, ConfigError, "generations"),
        ({"recipes": ("hint",), "teacher_seeds": (0, 1)}, ConfigError, "ensemble of 2"),
        ({"sparsity": 1.0}, ConfigError, "sparsity"),
        ({"teacher": "nowhere.safetensors"}, DataError, "nowhere"),
        ({"settings": {"kd": {"temperature": 0.0}}}, ConfigError, "temperature"),
        ({"momentum": 1.0}, ConfigError, "momentum"),
        ({"weight_decay": -1.0}, ConfigError, "weight decay"),
    ],
)
def test_what_cannot_be_planned_is_refused(given, error, match):
    with pytest.raises(error, match=match):
        plan_distillation(**{"data": "digits", "teacher": "mlp", "student": "small-mlp", **given})


def test_data_without_usual_networks_want_them_named(tmp_path):
    with pytest.raises(ConfigError, match="teacher and student for split-digits"):
        plan_distillation("split-digits")
    with pytest.raises(ConfigError, match="student for split-digits"):
        plan_distillation("split-digits", teacher="mlp")


def test_a_recipe_with_a_teacher_needs_one_and_the_others_take_none():
    with pytest.raises(ConfigError, match="ckd distil"):
        plan("digits", "kd", seed=0)
    with pytest.raises(ConfigError, match="expected no teacher"):
        plan("digits", "naive", seed=0, teachers=(NetworkFile("mlp", "a", "b"),))


def test_a_spec_with_teachers_survives_json():
    spec = replace(planned().taught[0], teachers=(planned().teachers[0], NetworkFile("mlp", "a.safetensors", "01")))
    assert RunSpec.of(json.loads(json.dumps(asdict(spec)))) == spec


def test_another_teacher_is_another_folder():
    folders = {planned(teacher_epochs=epochs).taught[0].folder for epochs in (1, 2)}
    folders |= {planned(teacher_seeds=seeds).taught[0].folder for seeds in ((1,), (0, 1))}
    assert len(folders) == 4


# what is run -------------------------------------------------------------------------------------------------------


def test_a_teacher_without_weight_leaves_the_student_as_it_is_alone(tmp_path):
    found = planned(settings={"kd": {"weight": 0.0, "label_weight": 1.0}})
    run_all(found.runs, tmp_path, keep_networks=True, console=QUIET)
    files = [tmp_path / s.folder / "network.safetensors" for s in (found.taught[0], found.alone[0])]
    ours, alone = map(safetensors.torch.load_file, files)
    assert all(torch.equal(ours[name], alone[name]) for name in alone)


def test_the_student_is_trained_as_in_a_plain_loop(tmp_path):
    found = planned(settings={"kd": {"temperature": 2.0}}, lr_end=1.0, batch_size=200, epochs=3)
    run_all(found.runs, tmp_path, keep_networks=True, console=QUIET)
    spec, stream = found.taught[0], tensor_stream("digits", n_experiences=1, samples_per_class=20)
    teacher = network("mlp", (1, 8, 8), 10).eval()
    teacher.load_state_dict(safetensors.torch.load_file(tmp_path / found.teachers[0].folder / "network.safetensors"))
    inputs, labels = next(stream.tensors("train"))
    torch.manual_seed(spec.seed)
    student = network("small-mlp", (1, 8, 8), 10)
    optimizer = torch.optim.SGD(student.parameters(), lr=spec.lr, momentum=0.9, weight_decay=5e-4)
    for _ in range(3):
        optimizer.zero_grad()
        s, t = student(inputs), teacher(inputs).detach()
        soft = nn.functional.kl_div(
            (s / 2).log_softmax(1), (t / 2).log_softmax(1), log_target=True, reduction="batchmean"
        )
        (0.1 * nn.functional.cross_entropy(s, labels) + 0.9 * 4 * soft).backward()
        optimizer.step()
    kept = safetensors.torch.load_file(tmp_path / spec.folder / "network.safetensors")
    for name, value in student.state_dict().items():
        torch.testing.assert_close(kept[name], value)


def test_two_students_that_learn_together_need_no_trained_teacher(tmp_path):
    found = planned(recipes=("mutual",), settings={"mutual": {"weight": 5.0}})
    assert found.taught[0].teachers == ()
    run_all([*found.alone, *found.taught], tmp_path, keep_networks=True, console=QUIET)
    files = [tmp_path / s.folder / "network.safetensors" for s in (found.alone[0], found.taught[0])]
    alone, ours = map(safetensors.torch.load_file, files)
    assert not torch.allclose(alone["1.weight"], ours["1.weight"])
    assert load(tmp_path / found.taught[0].folder / "result.json").memory_bytes["teachers"] == 4 * (65 * 16 + 17 * 10)


def test_what_is_finished_is_kept(made):
    found, results, out = made
    files = {file: file.stat().st_mtime_ns for file in out.rglob("*.*")}
    again, _ = run_all(found.runs, out, keep_networks=True, console=QUIET)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.*")} == files
    assert [r.matrix.values.tolist() for r in again] == [r.matrix.values.tolist() for r in results]


def test_what_is_finished_needs_no_teacher_any_more(made, tmp_path):
    found, _, out = made
    file = tmp_path / "large.safetensors"
    file.write_bytes((out / found.teachers[0].folder / "network.safetensors").read_bytes())
    given = plan_distillation("digits", teacher=str(file), student="small-mlp", **TINY)
    first, _ = run_all(given.taught, tmp_path / "out", keep_networks=True, console=QUIET)
    file.unlink()
    again, _ = run_all(given.taught, tmp_path / "out", keep_networks=True, console=QUIET)
    assert [r.matrix.values.tolist() for r in again] == [r.matrix.values.tolist() for r in first]


def test_a_student_that_diverged_is_named_and_the_next_one_is_kept(tmp_path, capsys):
    options = [
        "--teacher",
        "mlp",
        "--student",
        "small-mlp",
        "--epochs",
        "2",
        "--samples-per-class",
        "20",
        "--seeds",
        "1",
    ]
    out = ["--out", str(tmp_path / "out")]
    assert main(["distil", *options, "--recipe", "hinge", "--recipe", "kd", "--set", "margin=1e38", *out]) == 2
    shown = capsys.readouterr()
    assert "hinge" in shown.err
    assert "student.safetensors (kd, seed 0)" in shown.out


def test_force_runs_everything_once(tmp_path, monkeypatch):
    found, made = planned(), []
    run_all(found.runs, tmp_path, keep_networks=True, console=QUIET)
    monkeypatch.setattr("ckd.bench.suite.save", lambda result, out: made.append(result.spec))
    run_all(found.runs, tmp_path, keep_networks=True, force=True, console=QUIET)
    assert sorted(s.recipe + s.network for s in made) == ["kdsmall-mlp", "naivemlp", "naivesmall-mlp"]


def test_a_result_without_its_network_is_made_again_where_that_is_wanted(tmp_path):
    found = planned()
    run_all(found.alone, tmp_path, console=QUIET)
    assert not list(tmp_path.rglob("network.safetensors"))
    run_all(found.alone, tmp_path, keep_networks=True, console=QUIET)
    assert len(list(tmp_path.rglob("network.safetensors"))) == 1


def test_a_run_that_is_sent_to_another_process_makes_the_same_network(made):
    found, _, out = made
    spec, folder = found.taught[0], out / found.taught[0].folder
    teachers = [(out / teacher.folder / "network.safetensors").read_bytes() for teacher in spec.teachers]
    act = pickle.loads(pickle.dumps(partial(run, spec, teachers=teachers, keep_network=True)))
    assert act().network == (folder / "network.safetensors").read_bytes()


def test_the_comparison_is_what_the_networks_say(made):
    found, results, out = made
    stream = tensor_stream("digits", n_experiences=1, samples_per_class=20)
    rows = {row.name: row for row in methods(found, results, out, stream)}
    assert list(rows) == ["teacher", "student alone", "kd", "born-again"]
    inputs, labels = next(stream.tensors("test"))

    def logits(spec):
        model = network(spec.network, (1, 8, 8), 10).eval()
        model.load_state_dict(safetensors.torch.load_file(out / spec.folder / "network.safetensors"))
        return model(inputs).detach()

    p = torch.stack([logits(spec).softmax(1) for spec in found.teachers]).mean(0)
    assert rows["teacher"].network == "2 x mlp"
    assert rows["teacher"].accuracy == [pytest.approx((p.argmax(1) == labels).float().mean().item())]
    assert rows["teacher"].agreement == [1.0]
    for name, specs in (("student alone", found.alone), ("kd", found.taught[:2]), ("born-again", found.taught[2:])):
        said = [logits(spec).argmax(1) for spec in specs]
        np.testing.assert_allclose(rows[name].accuracy, [(s == labels).float().mean() for s in said])
        np.testing.assert_allclose(rows[name].agreement, [(s == p.argmax(1)).float().mean() for s in said])
    sizes = {name: row.size for name, row in rows.items()}
    assert sizes["kd"].parameters == 64 * 16 + 16 + 160 + 10
    assert sizes["teacher"].parameters == 2 * (65 * 100 + 101 * 100 + 101 * 10)
    assert sizes["kd"].multiply_adds == 64 * 16 + 160
    assert sizes["kd"].nbytes == 4 * sizes["kd"].parameters


def test_pruned_students_stand_below_the_dense_one(tmp_path):
    found = planned(sparsity=0.5)
    assert found.dense == planned().alone
    results, _ = run_all(found.runs, tmp_path, keep_networks=True, console=QUIET)
    rows = methods(found, results, tmp_path, tensor_stream("digits", n_experiences=1, samples_per_class=20))
    names = ["teacher", "student alone", "student alone + sparsity 0.5", "kd + sparsity 0.5"]
    assert [row.name for row in rows] == names
    accuracies = {r.spec.folder: r.matrix.average_accuracy() for r in results}
    runs = [found.dense[0], found.alone[0], found.taught[0]]
    assert [row.accuracy[0] for row in rows[1:]] == pytest.approx([accuracies[spec.folder] for spec in runs])


OWN = """
from ckd.recipes import recipe
from ckd.recipes.registry import get


@recipe("own-{name}", teacher="given")
def build(teacher):
    return get("kd").build(teacher, temperature={temperature})
"""


def test_functions_of_the_same_name_have_rows_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "RECIPES", dict(registry.RECIPES))
    recipes = {"one.py:build": 1.0, "two.py:build": 8.0}
    for name, temperature in recipes.items():
        file = tmp_path / name.partition(":")[0]
        file.write_text(OWN.format(name=file.stem, temperature=temperature))
    found = planned(recipes=("kd", *recipes), seeds=(0, 1))
    results, _ = run_all(found.runs, tmp_path, keep_networks=True, console=QUIET)
    rows = methods(found, results, tmp_path, tensor_stream("digits", n_experiences=1, samples_per_class=20))
    names = ["student alone", "kd", "build (one.py:build)", "build (two.py:build)"]
    assert [(row.name, len(row.accuracy)) for row in rows[1:]] == [(name, 2) for name in names]
    assert [found.name(spec) for spec in found.taught] == [name for name in names[1:] for _ in range(2)]
    for name in recipes:
        (alone,) = planned(recipes=(name,)).taught
        assert found.student_name(alone) == f"build ({name})"
        assert planned(recipes=(name,)).name(alone) == "build"


def test_a_run_that_is_loaded_knows_its_teachers(made):
    found, _, out = made
    assert load(out / found.taught[-1].folder / "result.json").spec == found.taught[-1]


# networks in files -------------------------------------------------------------------------------------------------


def test_a_trained_network_in_a_file_teaches(made, tmp_path):
    found, _, out = made
    file = out / found.teachers[0].folder / "network.safetensors"
    given = plan_distillation("digits", teacher=str(file), student="small-mlp", **TINY)
    assert given.teachers[0].network == "mlp"
    run_all(given.runs, tmp_path, keep_networks=True, console=QUIET)
    own = planned()
    run_all(own.runs, tmp_path, keep_networks=True, console=QUIET)
    files = [tmp_path / d.taught[0].folder / "network.safetensors" for d in (given, own)]
    ours, theirs = map(safetensors.torch.load_file, files)
    assert files[0] != files[1]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_file_of_another_program_names_its_network(tmp_path):
    file = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(network("mlp", (1, 8, 8), 10).state_dict(), file)
    with pytest.raises(ConfigError, match="--teacher-network"):
        network_file(file)
    assert network_file(file, "mlp").network == "mlp"
    with pytest.raises(UnknownNameError, match="'mlp'"):
        network_file(file, "mpl")


@pytest.mark.parametrize("content", [b"", b"\x80\x04no", b"{}", b"\xff" * 100])
def test_a_file_that_is_no_safetensors_is_refused(content, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="bad"):
        network_file(tmp_path / "bad.safetensors")
    with pytest.raises(DataError, match="mlp"):
        loaded("mlp", content, tensor_stream("digits"))


def test_the_weights_of_another_network_are_refused():
    content = safetensors.torch.save(network("small-mlp", (1, 8, 8), 10).state_dict())
    with pytest.raises(ModelError, match="Missing key"):
        loaded("mlp", content, tensor_stream("digits"))


def test_a_network_that_evaluation_replaces_cannot_be_kept():
    spec = plan("split-digits", "icarl", seed=0, memory_size=20, n_experiences=2, **TINY)
    with pytest.raises(ModelError, match="icarl"):
        run(spec, keep_network=True)


def test_layers_go_to_the_recipes_that_match_any():
    assert with_layers({"kd": {}, "hint": {"weight": 1.0}}, "2=4") == {
        "kd": {},
        "hint": {"weight": 1.0, "layers": "2=4"},
    }
    with pytest.raises(ConfigError, match="--recipe hint"):
        with_layers({"kd": {}}, "2=4")


@pytest.mark.parametrize(("layers", "of"), [("nope=4", "student"), ("2=nope", "teacher")])
def test_a_layer_that_is_not_there_is_refused_before_anything_is_trained(layers, of):
    found = planned(recipes=("hint",), settings={"hint": {"layers": layers}})
    with pytest.raises(UnknownNameError, match=f"path of the {of}"):
        check_networks(found, tensor_stream("digits"))


@pytest.mark.parametrize(
    ("recipe", "layers", "told"),
    [("hint", "0=3", "differ in width only"), ("attention", "12=12", "expected two of shape")],
)
def test_layers_that_cannot_be_compared_are_refused_before_anything_is_trained(recipe, layers, told):
    settings = with_layers({recipe: {}}, layers)
    found = plan_distillation(
        "digits", recipes=(recipe,), teacher="tiny-resnet", student="tiny-resnet", settings=settings, **TINY
    )
    stream = tensor_stream("digits", n_experiences=1, samples_per_class=2)
    with pytest.raises(CkdError, match=rf"^{recipe} of layers {layers}: .*{told}"):
        check_networks(found, stream)


def test_a_teacher_of_other_classes_is_refused_before_anything_is_trained(tmp_path):
    file = tmp_path / "three.safetensors"
    safetensors.torch.save_file(network("mlp", (1, 8, 8), 3).state_dict(), file)
    found = plan_distillation("digits", teacher=str(file), teacher_network="mlp", student="small-mlp", **TINY)
    with pytest.raises(ModelError, match=r"5.weight: .*\[3, 100\].*\[10, 100\]"):
        check_networks(found, tensor_stream("digits"))


# the command -------------------------------------------------------------------------------------------------------


def test_the_command(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\ndef build(shape, n):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, n))\n"
    )
    options = ["--epochs", "1", "--samples-per-class", "20", "--seeds", "2", "--set", "temperature=2"]
    options += ["--export", "int8", "--export", "program"]
    networks = ["--teacher", "mlp", "--student", f"{tmp_path}/mine.py:build"]
    assert main(["distil", *networks, *options, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    for word in ("mine.py:build", "agreement", "multiply-adds", "student.int8.onnx"):
        assert word in shown
    for line in ("teacher, seed 0: ", "student alone, seed 1: ", "kd, seed 1: "):
        assert line in shown
    assert "naive" not in shown
    rows = json.loads((tmp_path / "out" / "students.json").read_text())
    assert [row["name"] for row in rows] == ["teacher", "student alone", "kd"]
    assert [len(row["accuracy"]) for row in rows] == [1, 2, 2]
    student = safetensors.torch.load_file(tmp_path / "out" / "student.safetensors")
    assert student["1.weight"].shape == (10, 64)
    files = [tmp_path / "out" / f"student.{end}" for end in ("onnx", "int8.onnx", "pt2")]
    assert "exported: kd, seed 0" in shown
    options = options[:6]
    assert main(["distil", *networks, *options, "--set", "temperature=2", "--out", str(tmp_path / "out")]) == 0
    assert all(file.exists() for file in files)
    assert main(["distil", *networks, *options, "--out", str(tmp_path / "out")]) == 0
    assert not any(file.exists() for file in files)  # they were of another student


def test_the_command_takes_a_recipe_that_is_written_twice_once(tmp_path, capsys):
    options = ["--teacher", "mlp", "--student", "small-mlp", "--epochs", "1", "--samples-per-class", "20"]
    options += ["--recipe", "kd", "--recipe", "KD", "--set", "temperature=2", "--seeds", "1", "--out", str(tmp_path)]
    assert main(["distil", *options]) == 0
    rows = json.loads((tmp_path / "students.json").read_text())
    assert [(row["name"], len(row["accuracy"])) for row in rows] == [
        (name, 1) for name in ("teacher", "student alone", "kd")
    ]


def test_the_command_without_a_teacher(tmp_path, capsys):
    options = ["--epochs", "2", "--samples-per-class", "20", "--seeds", "1", "--lr-steps", "1"]
    assert main(["distil", "--recipe", "mutual", *options, "--out", str(tmp_path)]) == 0
    assert "teacher," not in capsys.readouterr().out
    rows = json.loads((tmp_path / "students.json").read_text())
    assert [row["name"] for row in rows] == [f"{name} + lr to 0.1" for name in ("student alone", "mutual")]
    assert [row["agreement"] for row in rows] == [[], []]
    assert all(load(file).spec.lr_steps == (1,) for file in tmp_path.rglob("result.json"))
