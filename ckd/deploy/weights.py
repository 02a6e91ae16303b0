"""A network's weights in a file that holds no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ckd.deploy.files import whole
from ckd.errors import ConfigError, DataError, ModelError

VERSION = 1


def save_network(file: str | Path, network: nn.Module, /, **facts: Any) -> None:
    """Write parameters and buffers as safetensors, with facts that `network_facts` gives back.

    The file is there whole or not at all. Facts are what is needed to build the network again, say.

    Raises:
        ConfigError: facts that JSON cannot hold; state that is no tensor.
        DataError: a folder that cannot be written.

    Example:
        >>> import tempfile
        >>> from ckd.networks import network
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     student = network("mlp", (4,), 3)
        ...     save_network(f"{folder}/student.safetensors", student, name="mlp", input_shape=(4,), n_classes=3)
        ...     load_network(f"{folder}/student.safetensors", into=network("mlp", (4,), 3))
        {'name': 'mlp', 'input_shape': [4], 'n_classes': 3}
    """
    content = pack_network(network, **facts)
    with whole(file) as part:
        part.write_bytes(content)


def pack_network(network: nn.Module, /, **facts: Any) -> bytes:
    """What `save_network` writes; the same network and facts give the same bytes.

    Raises:
        ConfigError: facts that JSON cannot hold; state that is no tensor.
    """
    state = network.state_dict()
    other = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if other:
        fix = "Keep in parameters and buffers what the network needs."
        raise ConfigError("network to save", expected="tensors alone", received=", ".join(other), fix=fix)
    try:
        header = {"ckd": json.dumps({"version": VERSION, "facts": facts}, allow_nan=False)}
    except (TypeError, ValueError) as error:
        fix = "Give numbers, text, lists and dictionaries."
        raise ConfigError("facts of a network", expected="what JSON can hold", received=error, fix=fix) from error
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    return save(tensors, header)


def network_facts(file: str | Path) -> dict[str, Any]:
    """The facts that `save_network` was given, without loading the weights. Tuples have become lists.

    Raises:
        DataError: not a file of `save_network`: a pickle, one that is cut off, or one of a newer version.
    """
    try:
        with safe_open(file, "pt") as opened:
            written = json.loads((opened.metadata() or {})["ckd"])
        if written["version"] > VERSION:
            raise ValueError(f"version {written['version']}, newer than {VERSION}")
        facts: dict[str, Any] = written["facts"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"file {file}",
            expected="a whole file that ckd.deploy.save_network wrote",
            received="a pickle, which could run code" if _is_pickle(Path(file)) else repr(error),
            fix="Write it again; a pickle you trust: torch.load it, then save_network.",
        ) from error
    return facts


def load_network(file: str | Path, into: nn.Module) -> dict[str, Any]:
    """Fill `into` with the weights in a file; returns the facts. Nothing of it changes unless everything fits.

    Raises:
        DataError: not a file of `save_network`: a pickle, one that is cut off, or one of a newer version.
        ModelError: names, shapes or dtypes of other tensors than those of `into`.
    """
    facts = network_facts(file)
    tensors, own = load_file(file), into.state_dict()
    found, wanted = ({name: _kind(value) for name, value in state.items()} for state in (tensors, own))
    differ = sorted(name for name in found.keys() | wanted if found.get(name) != wanted.get(name))
    if differ:
        raise ModelError(
            f"network for {file}",
            expected=_first(differ, found),
            received=f"a {type(into).__name__} with {_first(differ, wanted)}",
            fix=f"Build it as the file says: {facts}.",
        )
    into.load_state_dict(tensors)
    return facts


def _kind(value: Any) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def _first(names: list[str], kinds: dict[str, str]) -> str:
    """The first few names with what is there."""
    text = ", ".join(f"{name} {kinds.get(name, 'missing')}" for name in names[:3])
    return f"{text} and {len(names) - 3} more" if len(names) > 3 else text


def _is_pickle(file: Path) -> bool:
    """Whether it begins as a pickle, or as the zip file around one that torch.save writes."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(2) in {b"PK", *(bytes([0x80, protocol]) for protocol in range(6))}
