"""Nested state as named tensors and plain data, and back: what safetensors and JSON can hold between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ckd.errors import ConfigError


def encode(state: Any) -> tuple[dict[str, Tensor], Any]:
    """The tensors of a state by their paths, on the CPU, and the rest as JSON has it; no tensor shares memory.

    Args:
        state: dictionaries by text or whole numbers, lists and tuples of tensors, numbers, text and None.

    Raises:
        ConfigError: anything else; the path is in the message.

    Example:
        >>> tensors, plain = encode({"model": {"weight": torch.zeros(2)}, "steps": 3})
        >>> list(tensors), plain["of"]["steps"]
        (['model/weight'], 3)
        >>> decode(plain, tensors)
        {'model': {'weight': tensor([0., 0.])}, 'steps': 3}
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _encoded(state, "", tensors)


def decode(plain: Any, tensors: Mapping[str, Tensor], device: torch.device | None = None) -> Any:
    """What `encode` was given, in memory of its own and in the same layout; tuples have become lists.

    A tensor of the CPU stays there. What was on an accelerator goes to `device`, where training goes on; without one,
    or if it was on several, to where it was, or to the CPU if that is not there.
    """
    accelerators = _accelerators(plain)
    if device is None or len(accelerators) > 1:
        return _decoded(plain, tensors, {name: _there(name) for name in accelerators})
    return _decoded(plain, tensors, dict.fromkeys(accelerators, device))


def _accelerators(plain: Any) -> set[str]:
    """The devices other than the CPU that tensors were on."""
    if isinstance(plain, list):
        return set().union(*map(_accelerators, plain))
    if not isinstance(plain, dict):
        return set()
    if "tensor" in plain:
        return {plain["device"]} if "device" in plain else set()
    return _accelerators(list(plain["of"].values()) if "of" in plain else [value for _, value in plain["pairs"]])


def _decoded(plain: Any, tensors: Mapping[str, Tensor], places: Mapping[str, torch.device]) -> Any:
    if isinstance(plain, list):
        return [_decoded(value, tensors, places) for value in plain]
    if not isinstance(plain, dict):
        return plain
    if "of" in plain:
        return {name: _decoded(value, tensors, places) for name, value in plain["of"].items()}
    if "pairs" in plain:
        return {name: _decoded(value, tensors, places) for name, value in plain["pairs"]}
    place = places[plain["device"]] if "device" in plain else torch.device("cpu")
    found = tensors[plain["tensor"]].to(place, copy=True)
    return found.permute(sorted(range(found.dim()), key=plain["order"].__getitem__)) if "order" in plain else found


def _encoded(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = _unused(path or "state", tensors)
        order, known = _order(value), list(range(value.dim()))
        tensors[name] = value.detach().permute(order).cpu().clone(memory_format=torch.contiguous_format)
        device = {} if value.device.type == "cpu" else {"device": str(value.device)}
        return {"tensor": name, **device, **({} if order == known else {"order": order})}
    if isinstance(value, Mapping):
        for key in value:
            if type(key) not in (str, int):
                _refuse(path, f"the key {key!r}")
        found = {key: _encoded(one, f"{path}/{key}".lstrip("/"), tensors) for key, one in value.items()}
        return {"of": found} if all(type(key) is str for key in found) else {"pairs": list(map(list, found.items()))}
    if isinstance(value, list | tuple):
        return [_encoded(one, f"{path}/{i}".lstrip("/"), tensors) for i, one in enumerate(value)]
    if value is not None and type(value) not in (str, int, float, bool):
        _refuse(path, f"a {type(value).__name__}")
    return value


def _order(tensor: Tensor) -> list[int]:
    """The dimensions as they lie in memory, where that is without gaps; a product of matrices is rounded by it."""
    known = list(range(tensor.dim()))
    order = sorted(known, key=tensor.stride, reverse=True)
    return order if not tensor.is_contiguous() and tensor.permute(order).is_contiguous() else known


def _unused(path: str, tensors: Mapping[str, Tensor]) -> str:
    """The path, with a number behind it where a name with a slash led to the same one."""
    name, n = path, 2
    while name in tensors:
        name, n = f"{path}~{n}", n + 1
    return name


def _there(device: str) -> torch.device:
    kind, _, index = device.partition(":")
    there = kind == "cpu" or (kind == "cuda" and int(index or 0) < torch.cuda.device_count())
    return torch.device(device if there else "cpu")


def _refuse(path: str, received: str) -> None:
    fix = "Let state_dict() return what tells the same in these."
    expected = "tensors, numbers, text and None in dictionaries by text or whole numbers and in lists"
    raise ConfigError(f"state to save, {path or 'itself'}", expected=expected, received=received, fix=fix)
