"""The global random generators: torch's on the CPU and on every GPU, numpy's and Python's."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The state of all global generators, as tensors and plain data.

    Example:
        >>> before = random_state()
        >>> first = torch.rand(3), random.random()
        >>> restore_random(before)
        >>> torch.equal(torch.rand(3), first[0]), random.random() == first[1]
        (True, True)
    """
    _, key, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - others draw from it
    version, words, following = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
        "numpy": {
            "key": torch.from_numpy(np.asarray(key).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(gauss),
        },
        "python": {"version": version, "words": torch.tensor(words), "following": following},
    }


def restore_random(state: Mapping[str, Any]) -> None:
    """Put all global generators back to what `random_state` returned; GPUs that are not here are left out."""
    torch.set_rng_state(state["torch"])
    for device, own in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(own, device)
    numpy, python = state["numpy"], state["python"]
    key = numpy["key"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", key, numpy["position"], numpy["has_gauss"], numpy["gauss"]))  # noqa: NPY002
    random.setstate((python["version"], tuple(python["words"].tolist()), python["following"]))
