"""What is asked of devices."""

from unittest.mock import Mock

import pytest
import torch

from ckd import devices


def test_a_tensor_that_is_there_is_itself():
    tensor = torch.zeros(2)
    assert devices.on(torch.device("cpu"), tensor) is tensor
    assert devices.on(torch.device("meta"), tensor).device.type == "meta"


@pytest.mark.parametrize(("device", "waits"), [("cpu", True), ("cuda", False)])
def test_only_a_copy_to_the_cpu_is_waited_for(device, waits):
    """Its values are read there at once, maybe before they have come."""
    tensor = Mock(device=torch.device("meta"))
    devices.on(torch.device(device), tensor)
    tensor.to.assert_called_once_with(torch.device(device), non_blocking=not waits)


def test_a_state_is_moved_as_a_whole_and_shares_nothing():
    state = {"a": [torch.ones(2), 3], "b": {"c": torch.zeros(1)}, "none": None}
    found = devices.moved(state, torch.device("meta"))
    assert (found["a"][0].device.type, found["b"]["c"].device.type) == ("meta", "meta")
    assert (found["a"][1], found["none"]) == (3, None)
    devices.moved(state, torch.device("cpu"))["a"][0].zero_()
    assert state["a"][0].tolist() == [1, 1]


def test_a_network_is_where_its_first_parameter_is():
    assert devices.device_of(torch.nn.Linear(1, 1, device="meta")).type == "meta"
    assert devices.device_of(torch.nn.ReLU()).type == "cpu"


@pytest.mark.parametrize("units", [[], ["_is_avx512_bf16_supported"], ["_is_amx_tile_supported"]])
def test_a_processor_multiplies_bfloat16_where_it_has_units_for_it(units, monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in units)
    assert devices.multiplies_bfloat16.__wrapped__("cpu") == bool(units)


def test_an_older_or_newer_torch_that_cannot_tell_counts_as_without(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert not devices.multiplies_bfloat16.__wrapped__("cpu")
