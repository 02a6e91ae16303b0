"""Which network it is: a digest of its tensors."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn


def fingerprint(network: nn.Module) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of the network's parameters and saved buffers, 64 hex digits.

    Device and memory format play no part, and a compiled network has the fingerprint of what was compiled. Code is not
    looked at: two networks that compute differently with equal tensors have one fingerprint.

    Example:
        >>> one, other = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> fingerprint(one) == fingerprint(other)
        False
        >>> _ = other.load_state_dict(one.state_dict())
        >>> fingerprint(one) == fingerprint(other)
        True
    """
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"{name.replace('_orig_mod.', '')} {value.dtype} {list(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
