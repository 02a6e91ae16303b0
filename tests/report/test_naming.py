"""What methods are called where teachers tell them apart."""

from dataclasses import replace

from ckd.bench import plan
from ckd.bench.distil import plan_distillation
from ckd.bench.result import Result
from ckd.bench.spec import NetworkFile
from ckd.evaluation import AccuracyMatrix
from ckd.report.naming import benchmark_name, method_names


def names(*specs):
    matrix = AccuracyMatrix([[0.5]])
    return list(method_names([Result(spec, matrix, matrix, {}, {}, {}, {}) for spec in specs]).values())


def test_generations_are_told_apart_by_who_taught_them():
    given = {"teacher": "mlp", "student": "small-mlp", "recipes": ("born-again",)}
    second = plan_distillation("digits", **given, generations=2).taught[0]
    first = second.teachers[0]
    usual, other = names(second, first)
    assert usual == "born-again"
    assert other == f"born-again (teachers {first.teachers[0].folder.parent.name})"


def test_a_teacher_in_a_file_is_called_by_it():
    taught = plan_distillation("digits", teacher="mlp", student="small-mlp").taught[0]
    file = replace(taught, teachers=(NetworkFile("mlp", "some/where/large.safetensors", "0123abcd"),))
    assert names(taught, file) == ["kd", "kd (teachers large.safetensors 0123abcd)"]


def test_teachers_in_files_of_one_name_are_told_apart():
    taught = plan_distillation("digits", teacher="mlp", student="small-mlp").taught[0]
    files = [NetworkFile("mlp", f"{d}/student.safetensors", 8 * d) for d in "ab"]
    assert names(*(replace(taught, teachers=(file,)) for file in files)) == [
        "kd",
        "kd (teachers student.safetensors bbbbbbbb)",
    ]


def test_generations_of_several_seeds_are_one_method():
    given = {"teacher": "mlp", "student": "small-mlp", "recipes": ("born-again",)}
    taught = plan_distillation("digits", **given, generations=2, seeds=range(3)).taught
    assert len({spec.folder.parent for spec in taught}) == 3
    assert names(*taught) == ["born-again"] * 3


def test_functions_of_one_name_are_told_apart():
    spec = plan("digits", "naive", seed=0)
    found = names(*(replace(spec, recipe=recipe) for recipe in ("pkg.a:build", "pkg.b:build")))
    assert found == ["build", "build (recipe pkg.b:build)"]


def test_a_setting_that_is_called_like_a_field_hides_none():
    spec = replace(plan("digits", "naive", seed=0), recipe="pkg.a:build", settings={"lr": 1.0})
    assert names(spec, replace(spec, lr=0.7)) == ["build", "build (lr 0.7)"]


def test_no_memory_is_told_from_some():
    found = names(*(plan("split-digits", "er", seed=0, memory_size=size) for size in (200, 0)))
    assert found == ["er", "er (memory_size 0)"]


def test_a_setting_that_an_older_result_lacks_has_its_default():
    new = plan("split-digits", "der++", seed=1)
    old = replace(new, seed=0, settings={name: value for name, value in new.settings.items() if name != "beta"})
    other = replace(new, seed=2, settings={**new.settings, "beta": 7.0})
    assert names(new, old) == ["der++", "der++"]
    assert names(new, old, other) == ["der++", "der++", "der++ (beta 7.0)"]


def test_a_seed_that_is_there_twice_names_the_folders():
    new = plan("split-digits", "er", seed=0)
    old = replace(new, settings={name: v for name, v in new.settings.items() if name != "memory_batch_size"})
    digests = [spec.folder.parent.name.removeprefix("er-200-") for spec in (new, old)]
    assert names(new, old) == [f"er, folder {digest}" for digest in digests]


def test_classes_in_another_order_are_another_benchmark():
    matrix = AccuracyMatrix([[0.5, 0.0], [0.4, 0.5]])
    specs = [plan("split-digits", "naive", seed=0, n_experiences=2, stream=stream) for stream in ("split", "shuffled")]
    found = [benchmark_name(Result(spec, matrix, matrix, {}, {}, {}, {})) for spec in specs]
    assert found == ["split-digits, 2 experiences", "split-digits, 2 experiences, shuffled"]
