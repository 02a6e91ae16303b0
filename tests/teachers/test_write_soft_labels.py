"""Writing soft labels: what is in the file, whole or not at all, and what is refused before or while a teacher runs."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, safe_open
from shared import classes_in
from torch import nn

from ckd import Ema, Ensemble, Fixed, Snapshot
from ckd.errors import ConfigError, DataError, ModelError
from ckd.part import Ending
from ckd.teachers import SoftLabels, fingerprint, input_keys, write_soft_labels


def network(width=5):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(4, width)


def batches(*sizes):
    return [torch.randn(n, 4) for n in sizes or (8, 8, 3)]


def header(file):
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["ckd soft labels"])


# what is written ---------------------------------------------------------------------------------------------------


def test_the_file_is_plain_safetensors_with_the_rows_in_the_order_of_the_batches(tmp_path):
    x, file = batches(), tmp_path / "labels.safetensors"
    write_soft_labels(file, network(), x, note="seed 3")
    tensors, about = load_file(file), header(file)
    assert set(tensors) == {"keys", "values", "checks"}
    assert torch.equal(tensors["keys"], input_keys(torch.cat(x)))
    wanted = torch.cat([network()(batch) for batch in x]).detach()
    np.testing.assert_array_equal(tensors["values"], wanted.numpy().astype(np.float16))
    assert about.pop("made").startswith("ckd ")
    assert len(about.pop("data")) == 64
    assert about == {
        "format": 1,
        "rows": 19,
        "classes": 5,
        "known": None,
        "dtype": "float16",
        "top_k": None,
        "temperature": None,
        "inputs": "(4,) float32",
        "teacher": fingerprint(network()),
        "note": "seed 3",
    }


def test_the_datas_digest_is_the_same_in_any_order(tmp_path):
    x = torch.randn(20, 4)
    one, other, third = (
        write_soft_labels(tmp_path / "labels", network(), torch.split(shown, n)).about.data
        for shown, n in ((x, 6), (x.flip(0), 7), (x[:19], 6))
    )
    assert one == other != third


@pytest.mark.parametrize(("classes", "dtype"), [(256, "uint8"), (257, "int16"), (2**15 + 1, "int32")])
def test_bytes(tmp_path, classes, dtype):
    x, model = torch.randn(50, 4), network(classes)
    for top_k, row in ((None, 2 * classes), (3, 2 * 4 + 3 * getattr(torch, dtype).itemsize)):
        file = tmp_path / "labels"
        write_soft_labels(file, model, [x], top_k=top_k)
        assert 50 * (row + 12) < file.stat().st_size < 50 * (row + 12) + 1200
        if top_k:
            assert load_file(file)["classes"].dtype == getattr(torch, dtype)


def test_a_teacher_that_averages_others(tmp_path):
    x, ensemble = batches(), Ensemble([Fixed(network()), Fixed(network(6))])
    labels = write_soft_labels(tmp_path / "labels", ensemble, x, dtype="float32")
    for batch in x:
        assert torch.equal(*(next(iter(one.outputs(batch).values())) for one in (labels, ensemble)))
    assert SoftLabels.read(tmp_path / "labels", teacher=ensemble).about.classes == 5


def test_batches_may_come_one_at_a_time(tmp_path):
    x = batches()
    assert write_soft_labels(tmp_path / "labels", network(), iter(x)).holds(torch.cat(x)).all()


def test_what_was_there_is_replaced_and_nothing_else_is_left(tmp_path):
    file = tmp_path / "labels.safetensors"
    for x in (batches(), batches(4)):
        write_soft_labels(str(file), network(), x)
        assert SoftLabels.read(file).holds(torch.cat(x)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["labels.safetensors"]


class StopError(Exception):
    pass


def stopping(error):
    yield torch.zeros(3, 4)
    raise error


@pytest.mark.parametrize("error", [StopError("stop"), KeyboardInterrupt(), OSError("a lost disk")], ids=repr)
def test_what_stops_midway_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    file = tmp_path / "labels.safetensors"
    write_soft_labels(file, network(), [torch.ones(2, 4)])
    before = file.read_bytes()
    with pytest.raises(type(error), match=str(error) or None):
        write_soft_labels(file, network(), stopping(error))
    assert file.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_it_is_read_while_it_is_written_again(tmp_path):
    """Soft labels of soft labels, into the same file."""
    x, file = batches(), tmp_path / "labels"
    labels = write_soft_labels(file, network(), x, dtype="float32")
    again = write_soft_labels(file, labels, x, dtype="float16", top_k=2)
    assert (labels.about.top_k, again.about.top_k) == (None, 2)
    assert labels.about.teacher == again.about.teacher


# what is refused ---------------------------------------------------------------------------------------------------


def refuses(tmp_path, error, message, teacher=None, shown=None, **settings):
    with pytest.raises(error, match=message):
        write_soft_labels(tmp_path / "labels", teacher or network(), batches() if shown is None else shown, **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "bfloat16"}, "dtype of soft labels: expected float16 or float32; received 'bfloat16'"),
        ({"dtype": torch.float16}, "dtype of soft labels"),
        ({"top_k": 0}, "top_k: expected a whole number from 1"),
        ({"top_k": 2.0}, "top_k: expected a whole number from 1"),
        ({"top_k": 5}, "top_k: expected fewer than the 5 classes of the teacher; received 5. Leave it out"),
        ({"top_k": 2, "temperature": 0.0}, "temperature of soft labels: expected above 0"),
        ({"top_k": 2, "temperature": float("nan")}, "temperature of soft labels: expected above 0"),
    ],
)
def test_settings_that_cannot_work(tmp_path, settings, message):
    refuses(tmp_path, ConfigError, message, **settings)


def test_more_to_be_kept_than_the_teacher_knows(tmp_path):
    refuses(tmp_path, ConfigError, "fewer than the 2 classes", Fixed(network(), classes=[0, 3]), top_k=2)


@pytest.mark.parametrize("teacher", ["resnet18", 3, lambda x: x], ids=["text", "a number", "a function"])
def test_what_is_no_teacher(tmp_path, teacher):
    refuses(tmp_path, ConfigError, "teacher: expected a network or a teacher", teacher)


def test_teachers_without_logits_for_inputs_alone(tmp_path):
    message = "teacher: expected one that has logits for inputs alone; received "
    for unready in (Ema(), Snapshot(), Ensemble([Snapshot(), Fixed(network())])):
        refuses(tmp_path, ConfigError, f"{message}an? {type(unready).__name__} without a network yet", unready)
    by_task = Snapshot()
    by_task.end(Ending(network(), classes_in({0: [0, 1]}, {1: [0]}, per_task=True)))
    for teacher in (by_task, Ensemble([Fixed(network()), by_task])):
        refuses(tmp_path, ConfigError, f"{message}one with a head for each task", teacher)


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ([], "batches for soft labels: expected at least one; received none. An iterator gives its batches once"),
        ([(torch.zeros(2, 4), torch.zeros(2))], r"expected inputs .*received tuple.*x for x, _ in loader"),
        ([np.zeros((2, 4))], "received ndarray"),
        ([torch.zeros(0, 4)], "expected inputs"),
        ([torch.zeros(2, 4), torch.zeros(2, 3, 4)], r"expected inputs \(4,\) float32 with.*received inputs \(3, 4\)"),
    ],
    ids=["none", "pairs", "numpy", "empty", "shapes"],
)
def test_what_are_no_batches_of_inputs(tmp_path, shown, message):
    refuses(tmp_path, DataError, message, shown=shown)


def test_one_tensor_is_not_taken_for_batches(tmp_path):
    refuses(tmp_path, ConfigError, "expected batches; received one tensor", shown=torch.zeros(6, 4))


class Returns(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("returned", [lambda x: x[:, 0], lambda x: x[:1]], ids=["no classes", "one row"])
def test_what_are_no_logits(tmp_path, returned):
    refuses(tmp_path, ModelError, r"teacher: expected logits \(8, C\)", Returns(returned))


@pytest.mark.parametrize(
    ("factor", "dtype", "fix"),
    [(1e5, "float16", "float32"), (float("nan"), "float16", "float32"), (float("inf"), "float32", "Check the teacher")],
)
def test_logits_that_the_dtype_does_not_hold(tmp_path, factor, dtype, fix):
    refuses(tmp_path, DataError, f"logits for soft labels.*{fix}", Returns(lambda x: x.sign() * factor), dtype=dtype)


def test_units_that_the_teacher_does_not_know_may_be_anything(tmp_path):
    teacher = Fixed(Returns(lambda x: torch.cat([x, torch.full_like(x, torch.nan)], 1)), classes=range(4))
    x = batches()
    for settings in ({}, {"top_k": 2}):
        labels = write_soft_labels(tmp_path / "labels", teacher, x, **settings)
        assert next(iter(labels.outputs(x[0]).values()))[:, :4].isfinite().all()


def test_a_folder_that_is_not_there_or_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for where in (tmp_path / "none" / "labels", tmp_path / "file" / "labels", tmp_path / "folder"):
        with pytest.raises(DataError, match=r"soft labels .*expected to write them.*folder that can be written"):
            write_soft_labels(where, network(), batches())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
