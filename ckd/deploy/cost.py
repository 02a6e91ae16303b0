"""What a network costs where it is used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ckd.deploy.inputs import Inputs, as_tuple, of_size
from ckd.deploy.latency import latencies
from ckd.deploy.running import running
from ckd.part import tensor_bytes


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: numbers that are learnt; those that layers share count once.
        multiply_adds: for one sample, of convolutions, matrix products and attention. Normalisation, activations,
            pooling, sums, look-ups of embeddings and operators of one's own count nothing.
        nbytes: bytes of parameters and buffers.
        latency: milliseconds for one sample on this machine, a median.
        batch_latency: milliseconds for `batch_size` samples.
        batch_size: samples of the larger batch.
    """

    parameters: int
    multiply_adds: int
    nbytes: int
    latency: float
    batch_latency: float
    batch_size: int


def cost(network: nn.Module, example: Inputs, *, batch_size: int = 64, repeats: int = 20) -> Cost:
    """What a network costs for inputs such as `example`; its mode and parameters stay as they are.

    Two costs that were measured one after the other differ by what the machine did meanwhile: to compare the latencies
    of several networks, call `latencies`.

    Args:
        network: a module on any device; multiply-adds are those of `torch.utils.flop_counter`, halved.
        example: inputs (B, ...), or a tuple of them where `forward` takes several.
        batch_size: of the larger batch.
        repeats: timed calls.

    Raises:
        ConfigError: an example without samples; a batch size or a number of calls below 1.

    Example:
        >>> found = cost(nn.Linear(10, 3), torch.zeros(1, 10))
        >>> found.parameters, found.multiply_adds, found.nbytes
        (33, 30, 132)
    """
    tensors = {id(tensor): tensor for tensor in [*network.parameters(), *network.buffers()]}
    times = [latencies({"": network}, example, batch_size=n, repeats=repeats)[""] for n in (1, batch_size)]
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=_multiply_adds(network, example),
        nbytes=sum(map(tensor_bytes, tensors.values())),
        latency=times[0],
        batch_latency=times[1],
        batch_size=batch_size,
    )


def _multiply_adds(network: nn.Module, example: Inputs) -> int:
    with running(network) as run, _separate_operators(), FlopCounterMode(display=False) as counter:
        run(of_size(as_tuple(example), 1))
    return int(counter.get_total_flops()) // 2


@contextmanager
def _separate_operators() -> Iterator[None]:
    """Attention and recurrent layers as the products that they consist of: the counter knows no fused ones."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")  # oneDNN's settings warn of GPUs when they are read
            with torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
