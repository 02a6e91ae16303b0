"""Networks as programs of torch.export."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import nn

from ckd.deploy.files import whole
from ckd.deploy.graph import Graph
from ckd.deploy.inputs import Inputs
from ckd.deploy.quiet import quiet


def export_program(network: nn.Module, example: Inputs, file: str | Path, *, tolerance: float = 1e-4) -> None:
    """Write a network as a program (.pt2) that torch runs without the network's code, for batches of any size.

    The file is loaded again and must compute what the network does. `torch.export.load(file).module()` is the network
    in eval mode; like `torch.load` without `weights_only` it may run code that is in the file, so load your own alone.

    Args:
        network: in float32, on any device and in any mode, which stay as they are; the program is for the CPU.
        example: inputs (B, ...), or a tuple of them where `forward` takes several. All axes but the first are fixed.
        file: where to; nothing is there after an error, or what was there before.
        tolerance: largest difference to the network's outputs, relative to the largest where that is above 1.

    Raises:
        ConfigError: half or double precision; an example without samples.
        DataError: a place that cannot be written.
        ModelError: a network that does not return one tensor (B, ...), that torch.export cannot follow for every batch
            size, or whose program computes something else.
    """
    with whole(file) as part:
        graph = Graph.of(network, example)
        with quiet():
            opened = io.BytesIO()  # torch.export insists on .pt2 at the end of names
            torch.export.save(graph.program, opened)
            part.write_bytes(opened.getvalue())
            program = torch.export.load(io.BytesIO(part.read_bytes())).module()
        graph.check(lambda inputs: program(*inputs), tolerance)
