"""The largest of many probabilities, and the rest spread evenly."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def compress(logits: Tensor, k: int, *, temperature: float = 1.0, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k largest log-probabilities at a temperature T, and that of each other class if these shared the rest.

    Args:
        logits: (..., C), classes last.
        k: how many are kept, fewer than there are known classes.
        temperature: T; values are T · log softmax(z / T), so that a softmax at T has the kept probabilities.
        known: the classes among which the softmax is, bool (C,); None for all.

    Returns:
        Values (..., k + 1), the last that of every other class, and the k classes (..., k), int64.
    """
    scaled, n = logits.float() / temperature, logits.shape[-1]
    if known is not None:
        scaled, n = scaled.masked_fill(~known, -math.inf), int(known.sum())
    log_p = scaled.log_softmax(-1)
    kept, classes = log_p.topk(k, -1)
    rest = log_p.scatter(-1, classes, -math.inf).logsumexp(-1, keepdim=True) - math.log(n - k)
    return temperature * torch.cat([kept, rest], -1), classes


def expand(values: Tensor, classes: Tensor, width: int) -> Tensor:
    """Logits (..., width) from what `compress` returned."""
    wide = values[..., -1:].repeat(*[1] * (values.dim() - 1), width)
    return wide.scatter_(-1, classes.long(), values[..., :-1])
