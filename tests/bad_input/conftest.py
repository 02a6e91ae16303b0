"""What the tables of bad input share: a command that must be refused before anything is trained, with nothing lost."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from ckd.cli import main


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """refused(arguments, said): the command explains itself in one line, trains nothing and changes no file."""

    def train(*_, **__):
        raise AssertionError("something was trained")

    def act(arguments, said, out=True):
        monkeypatch.setattr("ckd.bench.training._train", train)
        monkeypatch.chdir(tmp_path)
        before = contents(tmp_path)
        arguments = [*map(str, arguments), *(["--out", str(tmp_path / "out")] if out else [])]
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
        err = capsys.readouterr().err
        assert status == 2
        assert "Traceback" not in err
        assert said in err
        assert err.startswith("ckd: ") or err.startswith("usage: ckd")
        assert err.startswith("usage: ckd") or err.count("\n") == 1
        after = contents(tmp_path)
        assert {file: after.get(file) for file in before} == before

    return act


@pytest.fixture
def arrays_in(tmp_path):
    """arrays_in(**changes) -> the path of an npz file with two classes; what is None in `changes` is left out."""

    def make(**changes):
        x, y = np.random.default_rng(0).random((40, 6), dtype="float32"), np.arange(40) % 2
        given = {"x_train": x, "y_train": y, "x_test": x, "y_test": y, **changes}
        np.savez(tmp_path / "mine.npz", **{k: v for k, v in given.items() if v is not None})
        return tmp_path / "mine.npz"

    return make


class Crafted:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.fixture
def crafted(tmp_path):
    """Bytes that make a file when they are unpickled; at the end there is none."""
    mark = tmp_path / "code ran"
    content = pickle.dumps(Crafted(mark))
    pickle.loads(content)
    assert mark.exists()  # the bait works
    mark.unlink()
    yield content
    assert not mark.exists()
