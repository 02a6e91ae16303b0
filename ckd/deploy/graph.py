"""A network as torch.export sees it, and whether what was made of it still computes the same."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ckd.deploy.inputs import Inputs, as_tuple, of_size
from ckd.deploy.quiet import quiet
from ckd.deploy.running import Run
from ckd.errors import ConfigError, ModelError


@dataclass(frozen=True)
class Graph:
    """A network's operations for batches of any size, and what they must compute.

    Attributes:
        program: what torch.export made of a copy of the network, on the CPU and in eval mode.
        network: that copy.
        inputs: an example, two samples or more.
    """

    program: ExportedProgram
    network: nn.Module
    inputs: tuple[Tensor, ...]

    @classmethod
    @torch.no_grad()
    def of(cls, network: nn.Module, example: Inputs) -> Graph:
        """The graph of a network; itself, its mode and its device stay as they are.

        Raises:
            ConfigError: parameters, buffers or inputs in half or double precision; no samples.
            ModelError: a network that does not return one tensor (B, ...), or that torch.export cannot follow for every
                batch size.
        """
        inputs = tuple(tensor.detach().cpu() for tensor in as_tuple(example))
        _check_dtypes([*inputs, *network.parameters(), *network.buffers()])
        inputs = of_size(inputs, max(2, len(inputs[0])))  # of one sample torch.export would take the 1 for a constant
        still = copy.deepcopy(network).cpu().eval().requires_grad_(False)
        with quiet():
            _check_output(still(*inputs), len(inputs[0]))
        shapes = batch_axes(inputs)
        try:
            with quiet():
                program = torch.export.export(still, inputs, dynamic_shapes=shapes, strict=False)
        except Exception as error:  # of many kinds
            raise ModelError(
                type(network).__name__,
                expected="operations that torch.export can follow, for every batch size",
                received=_short(error),
                fix="Avoid branches on values and batch sizes written into the code.",
            ) from error
        return cls(program, still, inputs)

    @torch.no_grad()
    def check(self, exported: Run, tolerance: float) -> None:
        """Compare with what an exported file computes, for the example, one sample of it, and one more than it has.

        Raises:
            ModelError: outputs of another shape, or that differ by more than `tolerance`, relative to the largest where
                that is above 1.
        """
        for n in (len(self.inputs[0]), 1, len(self.inputs[0]) + 1):
            inputs = of_size(self.inputs, n)
            with quiet():
                wanted, found = self.network(*inputs), exported(inputs)
            same = found.shape == wanted.shape
            apart = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1)) if same else float("inf")
            if not apart <= tolerance:  # NaN too
                raise ModelError(
                    f"exported {type(self.network).__name__}, {n} samples",
                    expected=f"outputs {tuple(wanted.shape)} of the network, within {tolerance:g}",
                    received=f"outputs {tuple(found.shape)}, {apart:.3g} apart",
                    fix="Look for random numbers that eval mode leaves in, or give a larger tolerance.",
                )


def batch_axes(inputs: tuple[Tensor, ...]) -> list[dict[int, Dim]]:
    """That the first axis of all inputs may have any length, the same for all."""
    return [{0: Dim("batch")} for _ in inputs]


def _check_dtypes(tensors: list[Tensor]) -> None:
    other = {tensor.dtype for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()} - {torch.float32}
    if other:
        received = ", ".join(sorted(map(str, other)))
        fix = "Export a copy: copy.deepcopy(network).float(), and example.float()."
        raise ConfigError("network to export", expected="parameters and inputs in float32", received=received, fix=fix)


def _check_output(output: object, n: int) -> None:
    if not isinstance(output, Tensor) or not output.dim() or len(output) != n:
        raise ModelError(
            "network to export",
            expected="one tensor (B, ...) as output",
            received=f"shape {tuple(output.shape)} for {n} samples" if isinstance(output, Tensor) else type(output),
            fix="Wrap it in a module whose forward returns the logits alone.",
        )


def _short(error: Exception) -> str:
    """The first lines of a message that goes on for pages."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
