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
    assert names(taught, file) == ["kd", "kd (teachers large.safetensors)"]


def test_classes_in_another_order_are_another_benchmark():
    matrix = AccuracyMatrix([[0.5, 0.0], [0.4, 0.5]])
    specs = [plan("split-digits", "naive", seed=0, n_experiences=2, stream=stream) for stream in ("split", "shuffled")]
    found = [benchmark_name(Result(spec, matrix, matrix, {}, {}, {}, {})) for spec in specs]
    assert found == ["split-digits, 2 experiences", "split-digits, 2 experiences, shuffled"]
