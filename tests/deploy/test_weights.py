"""Weights come back bit for bit with their facts; what does not fit is refused and changes nothing."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from ckd.deploy import load_network, network_facts, save_network
from ckd.errors import ConfigError, DataError, ModelError
from ckd.networks import network


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "net.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_weights_and_buffers_come_back(dtype, file):
    saved, other = (network("convnet", (1, 8, 8), 10).to(dtype) for _ in range(2))  # in channels-last memory
    nn.init.normal_(saved[1].running_mean)
    save_network(file, saved, name="convnet", input_shape=(1, 8, 8), classes=["zero", "one"])
    assert load_network(file, into=other) == {"name": "convnet", "input_shape": [1, 8, 8], "classes": ["zero", "one"]}
    assert same(state(saved), state(other))
    assert other[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_facts_may_have_any_name(file):
    facts = {"network": "mlp", "file": "student"}
    save_network(file, nn.Linear(3, 2), **facts)
    assert network_facts(file) == facts


def test_any_reader_of_safetensors_reads_it(file):
    model = nn.Linear(3, 2)
    save_network(file, model, name="line")
    with safe_open(file, "np") as opened:
        assert json.loads(opened.metadata()["ckd"]) == {"version": 1, "facts": {"name": "line"}}
        assert (opened.get_tensor("weight") == model.weight.detach().numpy()).all()


def test_shared_weights_come_back_shared(file):
    def tied():
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        model[1].weight = model[0].weight
        return model

    saved, other = tied(), tied()
    save_network(file, saved)
    assert load_network(file, into=other) == {}
    assert same(state(saved), state(other))
    assert other[1].weight is other[0].weight


@pytest.mark.parametrize(
    ("into", "said"),
    [
        (nn.Linear(4, 2), r"weight \(2, 3\).*weight \(2, 4\)"),
        (nn.Linear(3, 2, bias=False), r"bias \(2,\).*bias missing"),
        (nn.Linear(3, 2).double(), r"torch\.float32.*torch\.float64"),
        (nn.Sequential(nn.Linear(3, 2), nn.Linear(3, 2)), "and 3 more"),
    ],
)
def test_another_network_is_refused_and_stays(into, said, file):
    save_network(file, nn.Linear(3, 2), name="line")
    before = state(into)
    with pytest.raises(ModelError, match=said) as error:
        load_network(file, into=into)
    assert "'name': 'line'" in error.value.fix
    assert same(state(into), before)


def test_a_file_that_is_cut_off_is_refused(file):
    save_network(file, nn.Linear(3, 2))
    written = file.read_bytes()
    for length in range(0, len(written), 7):
        file.write_bytes(written[:length])
        for read in (network_facts, lambda file: load_network(file, into=nn.Linear(3, 2))):
            with pytest.raises(DataError, match="whole file"):
                read(file)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused(zipped, tmp_path):
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match="a pickle"):
        load_network(tmp_path / "net.pt", into=nn.Linear(3, 2))


@pytest.mark.parametrize("header", [None, {"format": "pt"}, {"ckd": "{"}, {"ckd": "{}"}, {"ckd": '{"version": 2}'}])
def test_what_others_wrote_is_refused(header, tmp_path):
    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "net.safetensors", metadata=header)
    with pytest.raises(DataError, match="save_network"):
        load_network(tmp_path / "net.safetensors", into=nn.Linear(3, 2))


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        network_facts(tmp_path / "none.safetensors")


@pytest.mark.parametrize("fact", [{1, 2}, float("nan"), torch.ones(2)])
def test_facts_that_json_cannot_hold_are_refused(fact, file):
    with pytest.raises(ConfigError, match="JSON"):
        save_network(file, nn.Linear(3, 2), fact=fact)
    assert not file.exists()


class Counting(nn.Linear):
    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        pass


def test_state_that_is_no_tensor_is_refused(file):
    with pytest.raises(ConfigError, match="_extra_state"):
        save_network(file, Counting(3, 2))


def test_the_old_file_stays_when_writing_fails(file, monkeypatch):
    save_network(file, nn.Linear(3, 2), version="old")

    def fails(part, content):
        with part.open("wb") as opened:
            opened.write(content[: len(content) // 2])
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.write_bytes", fails)
    with pytest.raises(OSError, match="no space"):
        save_network(file, nn.Linear(3, 2), version="new")
    assert network_facts(file) == {"version": "old"}
    assert [one.name for one in file.parent.iterdir()] == [file.name]
