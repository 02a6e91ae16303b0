"""A network, or the file that it was exported to, as one function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ckd.deploy.session import onnx_session
from ckd.devices import on
from ckd.errors import DataError
from ckd.outputs import eval_mode

Run = Callable[[tuple[Tensor, ...]], Any]


@contextmanager
def running(network: Any) -> Iterator[Run]:
    """A function from inputs (B, ...) to outputs (B, ...), within the context; on a GPU it waits for them.

    Args:
        network: a module, put in eval mode meanwhile and run without gradients where its parameters are; an ONNX file;
            or an `onnxruntime.InferenceSession`.
    """
    if isinstance(network, nn.Module):
        with eval_mode(network), torch.inference_mode():
            yield _module(network)
    else:
        yield session_call(onnx_session(network) if isinstance(network, str | Path) else network)


def session_call(session: Any) -> Run:
    """The first output of a session.

    Raises:
        DataError: when it is called, inputs that do not fit.
    """
    wanted = session.get_inputs()

    def call(inputs: tuple[Tensor, ...]) -> Tensor:
        try:
            arrays = {one.name: value.cpu().numpy() for one, value in zip(wanted, inputs, strict=True)}
            return torch.from_numpy(session.run(None, arrays)[0])
        except Exception as error:  # ONNX Runtime has a dozen kinds, none with a base of its own
            raise DataError(
                "inputs of an ONNX network",
                expected=", ".join(f"{one.name} {one.shape} {one.type}" for one in wanted),
                received=", ".join(f"{tuple(value.shape)} {value.dtype}" for value in inputs),
                fix="Give inputs such as the example that it was exported with.",
            ) from error

    return call


def _module(network: nn.Module) -> Run:
    own = next(network.parameters(), torch.empty(0))

    def call(inputs: tuple[Tensor, ...]) -> Any:
        there = (on(own.device, value) for value in inputs)
        outputs = network(*(value.to(own.dtype) if value.is_floating_point() else value for value in there))
        if own.device.type != "cpu":
            torch.accelerator.synchronize(own.device)
        return outputs

    return call
