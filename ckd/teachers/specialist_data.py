"""What a specialist is trained on: its own classes, all others as one, and half of each.

Hinton, Vinyals & Dean 2015, arXiv:1503.02531, section 5.2.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable

import torch
from torch import Tensor

from ckd.errors import ConfigError, DataError


def specialist_labels(labels: Tensor, classes: Iterable[int]) -> Tensor:
    """A specialist's labels: the position in `classes`, and len(classes), the dustbin, for every other class.

    Args:
        labels: int64, of any shape.
        classes: of the specialist, in the order of its outputs.

    Returns:
        int64, of the shape of `labels`.

    Raises:
        ConfigError: classes that are not different indices from 0.

    Example:
        >>> specialist_labels(torch.tensor([7, 0, 2, 5]), classes=(2, 7))
        tensor([1, 2, 0, 2])
    """
    own = checked_classes(classes)
    if not labels.numel():
        return torch.full_like(labels, len(own))
    table = torch.full((max(int(labels.max()), *own) + 1,), len(own), dtype=torch.int64)
    table[list(own)] = torch.arange(len(own))
    return table.to(labels.device)[labels]


def specialist_weights(labels: Tensor, classes: Iterable[int], *, share: float = 0.5) -> Tensor:
    """The probability with which to draw each sample, so that `share` of the draws are of the specialist's classes.

    Args:
        labels: of the training set (N,), int64.
        classes: of the specialist.
        share: within (0, 1); half in the paper.

    Returns:
        (N,), float64, with the sum 1, as `torch.utils.data.WeightedRandomSampler` takes them.

    Raises:
        ConfigError: a share outside (0, 1), or classes that are not different indices from 0.
        DataError: labels without any sample of these classes, or of others.

    Example:
        >>> specialist_weights(torch.tensor([0, 1, 2, 2, 2]), classes=(0, 1))
        tensor([0.2500, 0.2500, 0.1667, 0.1667, 0.1667], dtype=torch.float64)
    """
    special = _special(labels, classes, share)
    n = special.sum().double()
    return torch.where(special, share / n, (1 - share) / (len(labels) - n))


def dustbin_shift(labels: Tensor, classes: Iterable[int], *, share: float = 0.5) -> float:
    """What to add to the dustbin's logit: the log of the factor by which the specialist's classes were over-sampled.

    That is log(share / (1 - share) · N_others / N_classes): a specialist that saw its classes that much more often,
    beside the others, than they are in `labels` then has the probabilities of `labels`.

    Args:
        labels: of the training set as it is (N,), int64.
        classes: of the specialist.
        share: of its draws that were of these classes.

    Raises:
        ConfigError: a share outside (0, 1), or classes that are not different indices from 0.
        DataError: labels without any sample of these classes, or of others.

    Example:
        >>> labels = torch.arange(100)
        >>> round(dustbin_shift(labels, classes=range(10)), 4)  # 10 % of the labels, half of the draws
        2.1972
    """
    n = int(_special(labels, classes, share).sum())
    return math.log(share / (1 - share) * (len(labels) - n) / n)


def checked_classes(classes: Iterable[int]) -> tuple[int, ...]:
    """The classes of a specialist.

    Raises:
        ConfigError: they are not different indices from 0.
    """
    given = tuple(classes) if isinstance(classes, Iterable) else (classes,)
    try:
        found = tuple(map(operator.index, given))
    except TypeError:
        found = ()
    if not found or min(found) < 0 or len(set(found)) < len(found):
        fix = "For example (3, 5, 8); confusable_classes finds such sets."
        raise ConfigError("classes of a specialist", expected="different indices from 0", received=given, fix=fix)
    return found


def _special(labels: Tensor, classes: Iterable[int], share: float) -> Tensor:
    """Which samples are of the specialist's classes, bool (N,)."""
    if not 0 < share < 1:
        raise ConfigError("share of a specialist's classes", expected="within (0, 1)", received=share, fix="Try 0.5.")
    special = torch.isin(labels, torch.tensor(checked_classes(classes), device=labels.device))
    if special.all() or not special.any():
        received = f"{int(special.sum())} of {len(labels)} labels in the classes"
        expected, fix = "samples of the classes and of others", "Give the labels of the whole training set."
        raise DataError("labels for a specialist", expected=expected, received=received, fix=fix)
    return special
