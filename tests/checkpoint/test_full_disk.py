"""A disk that is really full: a file system of 256 kB, which only root may mount."""

import subprocess

import pytest
import torch

from ckd.checkpoint import Checkpoints
from ckd.cli import main


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_the_checkpoint_before_survives_and_training_goes_on(small_disk):
    said = []
    files = Checkpoints(small_disk, say=said.append)
    for steps in (1, 2, 3, 4):
        files.save({"steps": steps, "weights": torch.full((30_000,), float(steps))}, {"recipe": "er"})
    assert said == [f"no checkpoint in {small_disk}: No space left on device; training goes on"]
    found = files.latest({"recipe": "er"}).state()
    assert torch.equal(found["weights"], torch.full((30_000,), float(found["steps"])))
    assert not list(small_disk.glob("*.part"))
    for name in files.names():
        (small_disk / name).unlink()
    files.save({"steps": 5}, {"recipe": "er"})
    assert files.latest({"recipe": "er"}).state() == {"steps": 5}


def test_a_command_whose_disk_is_full_says_so_once_and_keeps_its_result(small_disk, capsys, monkeypatch):
    """There is room for one checkpoint and for the result, and not for two checkpoints."""
    monkeypatch.setattr("ckd.bench.suite.plot_forgetting", lambda *_, **__: None)
    command = ["run", "split-digits", "--recipe", "er", "--experiences", "5", "--samples-per-class", "10"]
    command += ["--epochs", "1", "--memory-size", "20", "--checkpoint-every", "4", "--out", str(small_disk)]
    (small_disk / "of somebody else").write_bytes(b"0" * 150_000)
    assert main(command) == 0
    assert capsys.readouterr().err.count("No space left on device; training goes on") == 1
    assert list(small_disk.rglob("result.json"))
    assert not list(small_disk.rglob("checkpoint*"))
