"""Files that are not what they should be: each is refused in words, and nothing in one is executed."""

import hashlib
import json
import pickle
import struct

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file
from torch import nn

from ckd.errors import DataError
from ckd.teachers import Fixed, SoftLabels, fingerprint, write_soft_labels

ENTRY = "ckd soft labels"


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(4, 5)


def inputs():
    return torch.randn(20, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[None, 2], ids=["all logits", "top 2"])
def file(request, tmp_path):
    path = tmp_path / "labels.safetensors"
    write_soft_labels(path, network(), torch.split(inputs(), 6), top_k=request.param)
    return path


def refused(file, message, **given):
    with pytest.raises(DataError, match=f"soft labels .*labels.safetensors: expected .*{message}") as caught:
        SoftLabels.read(file, **given)
    return str(caught.value)


def parts(file):
    """Tensors and header."""
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    return {name: tensor.clone() for name, tensor in load_file(file).items()}, metadata


def rewritten(file, tensors=None, *, digest=True, **changes):
    """The file with other tensors or another header, whose digest fits unless that is said."""
    own, metadata = parts(file)
    content = {**json.loads(metadata[ENTRY]), **changes}
    text = json.dumps({name: value for name, value in content.items() if value != "missing"})
    sha = hashlib.sha256(text.encode()).hexdigest() if digest else metadata["sha256"]
    save_file({**own, **(tensors or {})}, file, {ENTRY: text, "sha256": sha})


# whose they are ----------------------------------------------------------------------------------------------------


def test_the_right_teacher_in_any_form_is_let_pass(file):
    for right in (network(), network().train(), Fixed(network()), SoftLabels.read(file)):
        assert SoftLabels.read(str(file), teacher=right, inputs=inputs()[:3]).about.rows == 20


def test_reading_leaves_the_teacher_as_it_was(file):
    teacher = network()
    SoftLabels.read(file, teacher=teacher)
    assert teacher.training
    assert teacher.weight.requires_grad


def test_another_teacher(file):
    told = refused(file, "those of the teacher .* received those of the teacher .* write", teacher=network(1))
    assert fingerprint(network(1))[:12] in told.split("received")[0]
    assert fingerprint(network())[:12] in told.split("received")[1]


def test_other_data(file):
    refused(file, "inputs that they were written for.*20 of 20.*other data", inputs=inputs() + 1)


# damage ------------------------------------------------------------------------------------------------------------


def test_cut_short_anywhere(file):
    whole = file.read_bytes()
    for length in (0, 5, 8, 100, 900, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        refused(file, "a whole file")


def test_bytes_too_many(file):
    file.write_bytes(file.read_bytes() + b"\0")
    refused(file, "a whole file")


def test_every_flipped_bit_is_found_when_its_row_is_read_at_the_latest(file):
    whole, right = bytearray(file.read_bytes()), SoftLabels.read(file).outputs(inputs())
    start = 8 + struct.unpack("<Q", whole[:8])[0]
    generator = torch.Generator().manual_seed(0)
    places = [*range(start, len(whole), 7), *torch.randint(8, start, (60,), generator=generator).tolist()]
    for place in places:
        bit = int(torch.randint(8, (), generator=generator))
        whole[place] ^= 1 << bit
        file.write_bytes(whole)
        try:  # within the header's white space, or names of JSON, it may be read as before
            found = SoftLabels.read(file).outputs(inputs())
            assert place < start
            assert all(torch.equal(found[name], right[name]) for name in right)
        except DataError:
            pass
        whole[place] ^= 1 << bit


def test_a_damaged_row_is_told_when_it_is_read_and_the_others_are_read(file):
    tensors, _ = parts(file)
    tensors["values"][7, 1] += 0.5
    rewritten(file, tensors)
    labels = SoftLabels.read(file)
    labels.outputs(inputs()[:7])
    with pytest.raises(DataError, match=r"1 of 10 rows that were changed since, row 7\. The file is damaged"):
        labels.outputs(inputs()[5:15])


def test_rows_of_two_inputs_that_changed_places(file):
    tensors, _ = parts(file)
    rewritten(file, {name: tensor[[1, 0, *range(2, 20)]] for name, tensor in tensors.items() if name != "keys"})
    with pytest.raises(DataError, match="2 of 20 rows that were changed since, row 0"):
        SoftLabels.read(file).outputs(inputs())


def test_changed_keys_and_headers(file):
    tensors, _ = parts(file)
    tensors["keys"][3] ^= 4
    whole = file.read_bytes()
    rewritten(file, tensors)
    refused(file, "keys that were changed")
    file.write_bytes(whole)
    rewritten(file, teacher="0" * 64, digest=False)
    refused(file, "a header that was changed")


# other files -------------------------------------------------------------------------------------------------------


class Trap:
    """What runs code where it is unpickled."""

    opened = False

    def __reduce__(self):
        return exec, (f"import {__name__} as t; t.Trap.opened = True",)


OTHERS = {
    "a pickle": lambda file: file.write_bytes(pickle.dumps(Trap())),
    "a checkpoint of torch": lambda file: torch.save({"keys": Trap()}, file),
    "text": lambda file: file.write_text("logits: 1, 2, 3"),
    "a header as long as the world": lambda file: file.write_bytes(struct.pack("<Q", 2**62) + b"{}" * 50),
    "a header of brackets": lambda file: file.write_bytes(struct.pack("<Q", 10**5) + b"[" * 10**5),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "nothing": lambda file: file.unlink(),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_kinds_of_files(file, other):
    other(file)
    refused(file, "a whole file that write_soft_labels has written")
    assert not Trap.opened


def test_the_trap_works():
    assert not Trap.opened
    pickle.loads(pickle.dumps(Trap()))
    assert Trap.opened
    Trap.opened = False


def test_weights_of_a_network(file):
    save_file(network().state_dict(), file, {"format": "pt"})
    refused(file, "a safetensors file of something else")


def test_a_newer_format(file):
    rewritten(file, format=2)
    refused(file, "format 2, newer than 1: a later version of ckd wrote it")


HEADERS = {
    "none of the fields": {"teacher": "missing"},
    "a field more": {"colour": "red"},
    "no format": {"format": "missing"},
    "a format that is no number": {"format": "new"},
    "other rows": {"rows": 19},
    "no rows": {"rows": 0},
    "rows as text": {"rows": "20"},
    "another dtype": {"dtype": "float32"},
    "a dtype that is none": {"dtype": "float7"},
    "another k": {"top_k": 3},
    "known classes that are none": {"known": ["a"]},
    "a known class that is a list": {"known": [[1]]},
    "known classes that are a number": {"known": 3},
}


@pytest.mark.parametrize("changes", HEADERS.values(), ids=HEADERS)
def test_headers_that_do_not_fit_their_tensors(file, changes):
    rewritten(file, **changes)
    refused(file, "a whole file that write_soft_labels has written")


def test_a_header_of_nested_lists(file):
    own, _ = parts(file)
    text = "[" * 100_000
    save_file(own, file, {ENTRY: text, "sha256": hashlib.sha256(text.encode()).hexdigest()})
    refused(file, "a whole file")


TENSORS = {
    "keys of another dtype": lambda t: {"keys": t["keys"].int()},
    "keys in a table": lambda t: {"keys": t["keys"][:, None]},
    "fewer keys": lambda t: {"keys": t["keys"][:19]},
    "fewer checks": lambda t: {"checks": t["checks"][:19]},
    "checks of another dtype": lambda t: {"checks": t["checks"].long()},
    "checks in a table": lambda t: {"checks": t["checks"][:, None]},
    "values of another dtype": lambda t: {"values": t["values"].float()},
    "values in a row": lambda t: {"values": t["values"][:, 0].contiguous()},
    "fewer values": lambda t: {"values": t["values"][:, :-1].contiguous()},
    "one more": lambda t: {"more": torch.zeros(3)},
    "a scalar": lambda t: {"values": torch.zeros(())},
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_tensors_that_are_not_those_of_the_header(file, change):
    rewritten(file, change(parts(file)[0]))
    refused(file, "a whole file that write_soft_labels has written")


def test_a_missing_tensor(file):
    tensors, metadata = parts(file)
    for name in tensors:
        save_file({other: value for other, value in tensors.items() if other != name}, file, metadata)
        refused(file, "a whole file that write_soft_labels has written")


def test_classes_beyond_the_head(tmp_path):
    """Made on purpose, with checks that fit."""
    from ckd.teachers.stored_labels import row_checks

    file = tmp_path / "labels.safetensors"
    write_soft_labels(file, network(), [inputs()], top_k=2)
    tensors, _ = parts(file)
    tensors["classes"][4, 0] = 5
    tensors["checks"] = row_checks(tensors["keys"], tensors["values"], tensors["classes"])
    rewritten(file, tensors)
    with pytest.raises(DataError, match="1 of 20 rows that were changed since, row 4"):
        SoftLabels.read(file).outputs(inputs())
