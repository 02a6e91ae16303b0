"""What methods are called where teachers tell them apart."""

from dataclasses import replace

from ckd.bench.distil import plan_distillation
from ckd.bench.result import Result
from ckd.bench.spec import NetworkFile
from ckd.evaluation import AccuracyMatrix
from ckd.report.naming import method_names


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
