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
    for steps in (1, 2, 3):
        files.save({"steps": steps, "weights": torch.full((20_000,), float(steps))}, {"recipe": "er"})
    assert said == [f"no checkpoint in {small_disk}: No space left on device; training goes on"] * len(said)
    assert said
    found = files.latest({"recipe": "er"}).state()
    assert found["steps"] < 3
    assert torch.equal(found["weights"], torch.full((20_000,), float(found["steps"])))
    assert not list(small_disk.glob("*.part"))


def test_a_command_whose_disk_is_full_says_so_and_loses_nothing(small_disk, capsys, monkeypatch):
    monkeypatch.setattr("ckd.bench.suite.plot_forgetting", lambda *_, **__: None)
    command = ["run", "split-digits", "--recipe", "er", "--experiences", "5", "--samples-per-class", "10"]
    command += ["--epochs", "1", "--memory-size", "20", "--checkpoint-every", "1", "--out", str(small_disk)]
    other = small_disk / "of somebody else"
    other.write_bytes(b"0" * 130_000)
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "No space left on device; training goes on" in said
    assert [file.name for file in small_disk.rglob("*") if file.is_file()] != []
    assert not list(small_disk.rglob("checkpoint*"))
