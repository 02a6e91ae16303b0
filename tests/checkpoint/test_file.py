"""A checkpoint is whole or refused, with the reason, and never runs code."""

import errno
import json
import os
import pickle
import platform
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest
import safetensors.torch
import torch
from shared import equal_bits

from ckd.checkpoint import CheckpointError, Checkpoints, CheckpointWarning, locked
from ckd.checkpoint.encoding import _there, decode, encode
from ckd.checkpoint.file import Unusable, pack, read, unpack, write
from ckd.errors import ConfigError

ABOUT = {"recipe": "er", "sizes": [1, 2]}
STATE = {
    "weights": {"a/b": torch.randn(3, 2), "a": {"b": torch.arange(3)}},
    "whole": {0: torch.ones(2, dtype=torch.bfloat16), 7: None},
    "list": [1, 2.5, float("inf"), -0.0, True, "text", [torch.zeros((), dtype=torch.bool)], torch.empty(0, 4)],
}


def test_what_is_read_is_what_was_written():
    found = unpack(pack(STATE, ABOUT))
    assert equal_bits(found.state(), STATE)
    assert found.about == ABOUT
    assert str(found.state()["list"][3]) == "-0.0"


@pytest.mark.parametrize("low", [0x0180, 0x0280, 0x0480, 0x0580, 0x4B50])
def test_a_header_whose_length_begins_as_a_pickle_does_is_no_pickle(low):
    length = int.from_bytes(pack(["", torch.ones(1)], ABOUT)[:8], "little")
    content = pack(["x" * ((low - length) % 2**16), torch.ones(1)], ABOUT)
    assert int.from_bytes(content[:2], "little") == low
    assert equal_bits(unpack(content).state()[1], torch.ones(1))


def test_each_reading_has_memory_of_its_own():
    found = unpack(pack(STATE, ABOUT))
    found.state()["weights"]["a"]["b"].zero_()
    assert equal_bits(found.state(), STATE)


def test_tensors_that_share_memory_come_apart_and_views_are_cut_out():
    whole = torch.arange(6.0)
    found = unpack(pack([whole, whole, whole[::2]], {})).state()
    assert equal_bits(found, [whole, whole, whole[::2].clone()])


@pytest.mark.parametrize("dims", [(1, 0), (0, 2, 1), (2, 0, 1), (0, 2, 3, 1), (3, 1, 0, 2)])
def test_the_layout_in_memory_is_kept_by_which_products_of_matrices_are_rounded(dims):
    tensor = torch.randn([2, 3, 4, 5][: len(dims)]).permute(dims)
    found = unpack(pack(tensor, {})).state()
    assert found.stride() == tensor.stride()
    assert torch.equal(found, tensor)


@pytest.mark.parametrize(
    ("state", "match"),
    [({"a": {"b": object()}}, "a/b"), ([{(1, 2): 3}], r"0.*key \(1, 2\)"), ({"a": {1, 2}}, "set"), (1j, "itself")],
)
def test_what_is_neither_tensors_nor_plain_is_refused(state, match):
    with pytest.raises(ConfigError, match=match):
        encode(state)


def test_a_device_that_is_not_here_is_the_cpu():
    tensors, plain = encode(torch.ones(1))
    assert decode({**plain, "device": "cuda:99"}, tensors).device.type == "cpu"


def saved_on(**devices):
    """A state of one tensor by name, as if it had been saved on these devices."""
    tensors, plain = encode({name: [torch.ones(1)] for name in devices})
    for name, device in devices.items():
        if device != "cpu":
            plain["of"][name][0]["device"] = device
    return plain, tensors


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_was_on_the_accelerator_goes_where_training_goes_on(device):
    found = decode(*saved_on(model="cuda:0", memory="cpu", teacher="cuda:0"), torch.device(device))
    assert {name: tensor.device.type for name, (tensor,) in found.items()} == {
        "model": device,
        "memory": "cpu",
        "teacher": device,
    }


def test_what_was_on_several_accelerators_goes_where_it_was():
    found = decode(*saved_on(model="cuda:99", teacher="cuda:98"), torch.device("meta"))
    assert {tensor.device.type for (tensor,) in found.values()} == {"cpu"}  # as neither is here


CONTENT = pack(STATE, ABOUT)


@pytest.mark.parametrize("at", [*range(0, len(CONTENT), 31), len(CONTENT) - 1])
@pytest.mark.parametrize("bit", [1, 128])
def test_a_bit_that_flips_is_seen(at, bit):
    content = bytearray(CONTENT)
    content[at] ^= bit
    with pytest.raises(Unusable):
        unpack(bytes(content))


@pytest.mark.parametrize("size", [0, 1, 8, 9, 100, len(CONTENT) - 1, len(CONTENT) + 1])
def test_what_is_cut_off_or_longer_is_seen(size):
    with pytest.raises(Unusable):
        unpack((CONTENT + b"0")[:size])


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/ckd-was-here",)


def with_header(**metadata):
    return safetensors.torch.save({"a": torch.ones(1)}, metadata)


def torch_saved(value, tmp_path):
    torch.save(value, tmp_path / "evil.pt")
    return (tmp_path / "evil.pt").read_bytes()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (pickle.dumps(Evil()), "a pickle, which could run code"),
        (pickle.dumps(Evil(), protocol=0), "cut off or no checkpoint"),
        (struct.pack("<Q", 2**63) + b"{}", "cut off or no checkpoint"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "damaged or no checkpoint"),
        (with_header(), "damaged or no checkpoint"),
        (with_header(format="1"), "checksum"),
        (with_header(format="7"), "its format is 7, and 1 the newest known"),
        (with_header(format="one"), "damaged or no checkpoint"),
        (b"\x02\0\0\0\0\0\0\0{}", "damaged or no checkpoint"),
    ],
)
def test_other_files_are_refused_with_the_reason(content, match):
    with pytest.raises(Unusable, match=match):
        unpack(content)


@pytest.mark.parametrize("make", [lambda value, path: pickle.dumps(value), torch_saved])
def test_a_crafted_pickle_runs_no_code(tmp_path, monkeypatch, make):
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    files = Checkpoints(tmp_path / "run")
    (files.folder / "checkpoint-00000001.safetensors").write_bytes(make(Evil(), tmp_path))
    with pytest.raises(CheckpointError, match="a pickle, which could run code"):
        files.latest({})
    assert ran == []


# files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    return Checkpoints(tmp_path / "run")


def test_the_last_few_are_kept(files):
    for steps in range(5):
        files.save({"steps": steps}, ABOUT)
    assert files.names() == ["checkpoint-00000004.safetensors", "checkpoint-00000005.safetensors"]
    assert files.latest(ABOUT).state() == {"steps": 4}
    assert Checkpoints(files.folder, keep=1).latest(ABOUT).state() == {"steps": 4}


@pytest.mark.parametrize("keep", [0, -1, 1.0, "2"])
def test_a_number_to_keep_that_cannot_work_is_refused(tmp_path, keep):
    with pytest.raises(ConfigError, match="checkpoints to keep"):
        Checkpoints(tmp_path, keep=keep)


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_as_asked_for_are_kept_from_the_first_on(tmp_path, keep):
    files = Checkpoints(tmp_path, keep=keep)
    for steps in range(5):
        files.save({"steps": steps}, ABOUT)
        assert len(files.names()) == min(steps + 1, keep)


def test_the_number_of_the_next_is_one_more_with_all_its_digits(files):
    (files.folder / "checkpoint-12345678.safetensors").touch()
    files.save({}, ABOUT)
    assert files.names()[-1] == "checkpoint-12345679.safetensors"


def test_none_is_none(files):
    assert files.latest(ABOUT) is None


def test_of_a_damaged_one_the_one_before_is_used_and_both_are_left(files):
    for steps in (1, 2):
        files.save({"steps": steps}, ABOUT)
    newest = files.folder / files.names()[-1]
    newest.write_bytes(b"nothing")
    with pytest.warns(CheckpointWarning, match=f"{newest.name}: it is cut off .* checkpoint-00000001.* is used"):
        assert files.latest(ABOUT).state() == {"steps": 1}
    assert newest.read_bytes() == b"nothing"
    files.save({"steps": 3}, ABOUT)
    assert files.latest(ABOUT).state() == {"steps": 3}


def test_of_another_run_they_are_refused_with_what_differs(files):
    files.save({}, ABOUT)
    with pytest.raises(CheckpointError, match='whose recipe is "er" and not "der"'):
        files.latest({"recipe": "der"})
    with pytest.raises(CheckpointError, match="whose seed is null and not 3"):
        files.latest({"seed": 3})
    assert files.latest({"recipe": "er", "sizes": (1, 2)}).state() == {}  # tuples are lists in a file
    with pytest.raises(CheckpointError, match=f'and not "{"x" * 76}...;? *'):
        files.latest({"recipe": "x" * 78})


def test_a_link_is_not_followed(files, tmp_path):
    files.save({}, ABOUT)
    (only,) = files.names()
    (files.folder / only).rename(tmp_path / "elsewhere")
    (files.folder / only).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="a symbolic link"):
        files.latest(ABOUT)
    assert (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["../checkpoint-00000001.safetensors", "/etc/passwd", "checkpoint-1.safetensors", ""])
def test_a_name_leads_nowhere_else(files, name):
    files.save({}, ABOUT)
    (files.folder.parent / "checkpoint-00000001.safetensors").write_bytes(CONTENT)
    with pytest.raises(CheckpointError, match="no name of a checkpoint"):
        files.read(name)


def test_a_file_that_cannot_be_read_is_refused(files):
    (files.folder / "checkpoint-00000001.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="cannot be read"):
        files.latest({})


def test_a_full_disk_keeps_the_old_one_and_is_said(files, monkeypatch):
    files.save({"steps": 1}, ABOUT)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(CheckpointWarning, match="No space left on device; training goes on"):
        files.save({"steps": 2}, ABOUT)
    assert files.latest(ABOUT).state() == {"steps": 1}
    assert [path.name for path in files.folder.iterdir()] == files.names()


def test_a_link_in_the_place_of_the_half_written_file_is_not_followed(tmp_path):
    file, victim = tmp_path / "checkpoint", tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f"checkpoint.{os.getpid()}.part").symlink_to(victim)
    write(file, CONTENT)
    assert victim.read_text() == "mine"
    assert equal_bits(read(file).state(), STATE)


def test_remove_leaves_what_is_not_its_own(files):
    files.save({}, ABOUT)
    (files.folder / "checkpoint-00000002.safetensors.77.part").touch()
    mine = {"mine.txt", "checkpoint-notes.txt", "mine.part"}
    for name in mine:
        (files.folder / name).touch()
    files.remove()
    assert {path.name for path in files.folder.iterdir()} == mine
    for name in mine:
        (files.folder / name).unlink()
    files.remove()
    assert not files.folder.exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"checkpoints in .*: expected a folder to write to"):
        Checkpoints(tmp_path / "file" / "run")


def test_what_it_is_about_is_plain():
    assert json.loads(json.dumps(unpack(CONTENT).about)) == ABOUT


def test_a_lock_lets_one_in_and_names_it(tmp_path):
    named = pytest.raises(CheckpointError, match=f"received process {os.getpid()} on")
    with locked(tmp_path / "run"), named, locked(tmp_path / "run"):
        pass
    with locked(tmp_path / "run"):  # the file is still there
        assert (tmp_path / "run" / "lock").read_text() == f"process {os.getpid()} on {platform.node()}"
    Checkpoints(tmp_path / "run").remove()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("removed", [False, True], ids=["kept", "removed by the first"])
def test_the_second_may_wait_for_the_first(tmp_path, removed):
    order, asks = [], threading.Event()

    def second():
        asks.set()
        with locked(tmp_path / "run", wait=True):
            order.append("second")
            with pytest.raises(CheckpointError, match="no other process"), locked(tmp_path / "run"):
                pass

    with ThreadPoolExecutor() as pool:
        with locked(tmp_path / "run"):
            done = pool.submit(second)
            asks.wait()
            with pytest.raises(TimeoutError):
                done.result(0.2)
            order.append("first")
            if removed:
                shutil.rmtree(tmp_path / "run")
        done.result(20)
    assert order == ["first", "second"]


@pytest.mark.parametrize("answer", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks_is_worked_on_without_one(tmp_path, monkeypatch, answer):
    fcntl = pytest.importorskip("fcntl", reason="Windows has none")
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(answer, os.strerror(answer))))
    done = []
    with locked(tmp_path / "run"), locked(tmp_path / "run"):
        done.append("work")
    assert done == ["work"]


def test_a_lock_in_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="a place to write"), locked(tmp_path / "file"):
        pass


@pytest.mark.parametrize(
    ("device", "wanted"),
    [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1"), ("cuda:2", "cpu"), ("mps:0", "cpu")],
)
def test_a_tensor_goes_back_to_its_device_if_that_is_there(device, wanted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _there(device) == torch.device(wanted)


def test_without_a_gpu_every_tensor_goes_to_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert _there("cuda") == _there("cuda:0") == torch.device("cpu")
