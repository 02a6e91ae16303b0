"""The trained networks that teach a run: how they are kept, and how they become its teacher."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from ckd.bench.planning import digest
from ckd.bench.result import NETWORK, UNREADABLE
from ckd.bench.spec import NetworkFile, RunSpec
from ckd.data import TensorStream
from ckd.deploy import pack_network
from ckd.errors import ConfigError, DataError, ModelError
from ckd.modules import is_path
from ckd.networks import check_network, network
from ckd.teachers import Ensemble, Fixed, Teacher


def packed(model: nn.Module, spec: RunSpec, stream: TensorStream) -> bytes:
    """The network as safetensors, with its name, input shape and number of classes in the header.

    Raises:
        ModelError: what predicts is not the network alone, as with nearest class means.
    """
    with torch.random.fork_rng(devices=[]):
        plain = network_for(spec.network, stream)
    shapes = [{name: value.shape for name, value in m.state_dict().items()} for m in (model, plain)]
    if shapes[0] != shapes[1]:
        expected, received = f"the tensors of {spec.network}", f"those of {type(model).__name__}"
        fix = "Keep networks of recipes that evaluate with the student or an average."
        raise ModelError(f"network of {spec.recipe} to keep", expected=expected, received=received, fix=fix)
    return pack_network(model, name=spec.network, input_shape=stream.input_shape, n_classes=stream.n_classes)


def teacher_of(networks: Sequence[nn.Module], *, temperature: float = 1.0) -> Teacher:
    """What teaches: a trained network, or several as the mean of their probabilities at this temperature."""
    teachers = [Fixed(network) for network in networks]
    return teachers[0] if len(teachers) == 1 else Ensemble(teachers, temperature=temperature)


def network_for(name: str, stream: TensorStream) -> nn.Module:
    """The network called `name`, untrained, for the data of a stream.

    Raises:
        CkdError: what `ckd.networks.network` raises.
    """
    return network(name, stream.input_shape, stream.n_classes, stream.vocabulary)


def loaded(name: str, content: bytes, stream: TensorStream) -> nn.Module:
    """The network called `name` with the tensors of a file, for the data of a stream.

    Raises:
        DataError: bytes that are no safetensors.
        ModelError: tensors that are not those of the network.
    """
    with torch.random.fork_rng(devices=[]):  # its first weights do not matter, and must not change what comes after
        model = network_for(name, stream)
    try:
        model.load_state_dict(safetensors.torch.load(content))
    except SafetensorError as error:
        received, fix = f"{error}", "Name a file that `ckd distil` wrote, or one of safetensors."
        raise DataError(f"weights of {name}", expected="safetensors", received=received, fix=fix) from error
    except RuntimeError as error:
        received = " ".join(str(error).split("\n\t")[1].split())  # the first of what does not fit
        fix = "Name the network that the file is of (--teacher-network), and data with the same classes."
        raise ModelError(f"weights of {name}", expected="the network's tensors", received=received, fix=fix) from error
    return model


def file_of(trained: RunSpec | NetworkFile, out: Path) -> Path:
    """Where a trained network is, that of a run under `out`."""
    return Path(trained.file) if isinstance(trained, NetworkFile) else out / trained.folder / NETWORK


def read_network(file: Path) -> bytes:
    """The bytes of a file with a network.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"network {file}", expected="a file", received=error, fix="Check the path.") from error


def network_file(file: str | Path, name: str | None = None) -> NetworkFile:
    """A trained network in a file; its name is read from the header unless given.

    Raises:
        DataError: no such file, or no safetensors.
        ConfigError: a file that does not say which network it is of, or that names code of somebody's own.
        UnknownNameError: no such network.
    """
    found = digest(Path(file))
    try:
        with safetensors.safe_open(str(file), "pt") as opened:
            facts = json.loads((opened.metadata() or {}).get("ckd", "{}")).get("facts", {})
        named = facts.get("name")
        if not isinstance(named, str | None):
            raise TypeError(f"the name {named!r}")
    except (SafetensorError, *UNREADABLE) as error:
        fix = "Save a network with safetensors.torch.save_file(model.state_dict(), file)."
        raise DataError(f"file {file}", expected="safetensors", received=error, fix=fix) from error
    if name is None and named is not None and is_path(named):
        fix = f"If you trust that code: --teacher-network {named}."
        expected, received = "a network of ckd, as no code that a file names is run", repr(named)
        raise ConfigError(f"weights in {file}", expected=expected, received=received, fix=fix)
    name = name or named
    if name is None:
        expected, fix = "the network's name", "Add --teacher-network NAME, or FILE.py:function."
        raise ConfigError(f"weights in {file}", expected=expected, received="none in the header", fix=fix)
    check_network(name)
    return NetworkFile(name, str(file), found)
