"""A linear discriminant of all classes beside the head: what they looked like, carried along as the network changes.

The discriminant (Fisher 1936; Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, 2009, eq. 4.10)
needs no more of a class than the mean of its features, and one covariance for all. Those of an experience are of all
its samples, where a memory keeps a few. When the network has changed, a linear map from its old features to its new
ones carries the old means along (Gomez-Villa et al. 2024, arXiv:2407.08536), and here the covariance too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ckd.classes import Classes
from ckd.errors import ConfigError
from ckd.heads.class_gaussians import ClassGaussians, Sums
from ckd.heads.drift import PairMoments, drift
from ckd.outputs import head_at
from ckd.part import Ending, Part, copy_of, tensor_bytes
from ckd.rows import Rows
from ckd.teachers import Snapshot, Teacher

UNSEEN = -1000.0
"""Logit of a class that has not come yet, as that of an inactive unit."""


class LinearDiscriminant(Part):
    """Evaluates with the mean of the head's logits and those of a linear discriminant of the head's inputs.

    The logit of class c for features φ is ½ (w_c φ + b_c) + ½ (μ_c Σ⁻¹ φ - ½ μ_c Σ⁻¹ μ_c). That is a linear head again:
    what predicts is a copy of the network that this builds on, with other weights in its head, and -1000 for classes
    that have not come. Both halves are log probabilities of the classes but for a constant, so the prediction is their
    product, with the square root taken.

    When an experience ends, its samples and those of older classes in memory have features before it and after it, and
    the two groups count half each. Least squares, drawn towards no change by `ridge`, give the linear map between them.
    Means and covariance of the older classes follow that map; what it leaves unexplained is added to the covariance.
    Classes that come again are averaged by their numbers of samples. C means and a covariance are kept, whatever the
    number of samples.

    The head alone predicts in a model with a head for each task or with none that is found, in an online stream, whose
    experiences are never at hand as a whole, and from the first experience on that brings no new class: there old
    classes look new, and one mean for each is not enough.

    Args:
        past: a teacher with the features from before the experience. It is replaced when the experience ends, and its
            body is a copy of what this builds on: of the average in `[Ema(0.99), LinearDiscriminant(past)]`. A snapshot
            of the evaluation model unless given.
        ridge: how strongly the map is drawn towards no change, in mean variances of the old features.
        shrinkage: how much of the mean variance is added to each variance before Σ is inverted.

    Raises:
        ConfigError: a number that is not above 0, or a `past` that is no teacher or several.

    Example:
        >>> from ckd import recipes
        >>> from ckd.teachers import Ema
        >>> er = recipes.er(memory_size=200).extend(evaluation=[Ema(0.99), LinearDiscriminant()])
        >>> [type(part).__name__ for part in er.chain()]
        ['Ema', 'LinearDiscriminant']
    """

    needs_boundaries = True
    needs_one_label = True
    needs_data = True

    def __init__(self, past: Teacher | None = None, *, ridge: float = 0.01, shrinkage: float = 0.05) -> None:
        for name, value in (("ridge", ridge), ("shrinkage", shrinkage)):
            if not 0 < value < float("inf"):
                who, fix = f"{name} of the discriminant", "Leave it out for the default."
                raise ConfigError(who, expected="a finite number above 0", received=value, fix=fix)
        self.past = Snapshot(of_evaluation_model=True) if past is None else past
        if not isinstance(self.past, Teacher) or self.past.members:
            who, fix = "past of the discriminant", "Use a Snapshot, or leave it out."
            raise ConfigError(who, expected="a teacher that is one network", received=repr(past), fix=fix)
        self.ridge, self.shrinkage = ridge, shrinkage
        self.known: ClassGaussians | None = None
        self._head = ""
        self._whole = True
        self._running = False

    @property
    def members(self) -> dict[str, Part]:
        """The teacher with the features from before."""
        return {"past": self.past}

    def evaluation_model(self, model: nn.Module) -> nn.Module:
        """A copy of `model` with both in its head; `model` itself before an experience has ended."""
        if self.known is None or self._running:
            return model
        changed = copy_of(model)
        _put_beside(head_at(changed, self._head), *self.known.discriminant(self.shrinkage))
        return changed

    def in_pieces(self) -> None:
        """From now on the head alone predicts."""
        self._whole = False

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """From here to the end of the experience the head alone predicts, as its classes have no means yet."""
        self._running = True

    def end(self, ending: Ending) -> None:
        """Take what the classes of the experience look like, and carry the older ones along."""
        self._running = False
        classes, old = ending.classes, self.known
        one_mean_each = self._whole and not classes.seen.per_task and len(classes.new)
        first = next(ending.data(), None) if one_mean_each and (old is not None or not len(classes.old)) else None
        ending = ending if first is None else ending.with_head(first)
        if first is None or ending.head is None:
            self.known = None
            return
        self._head, found = ending.head, Sums(max(classes.seen.indices) + 1)
        stream, memory = PairMoments(), PairMoments()
        for rows in ending.data():
            now = _features(ending, ending.model, rows)
            found.add(now, rows.targets.cpu())
            if old is not None:
                stream.add(_features(ending, self.past.model.module, rows), now)
        older = None if old is None else _older(ending)
        if older is not None:
            memory.add(_features(ending, self.past.model.module, older), _features(ending, ending.model, older))
        self.known = found.gaussians()
        if old is not None:
            self.known = old.carried(drift([stream, memory], self.ridge)).joined(self.known)

    def nbytes(self) -> dict[str, int]:
        """Bytes of means and covariance, as `heads`."""
        return {} if self.known is None else {"heads": sum(map(tensor_bytes, vars(self.known).values()))}

    def state_dict(self) -> dict[str, Any]:
        """Counts, means and scatter of the classes, and which layer's input they are of."""
        known = None if self.known is None else {name: value.clone() for name, value in vars(self.known).items()}
        return {"known": known, "head": self._head, "running": self._running}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        known = state["known"]
        self.known = known and ClassGaussians(**{name: value.clone() for name, value in known.items()})
        self._head, self._running = state["head"], state["running"]


def _features(ending: Ending, model: nn.Module, rows: Rows) -> Tensor:
    """What the head takes in, (N, D), where float64 is at hand."""
    return ending.features(model, rows).cpu().double()


def _older(ending: Ending) -> Rows | None:
    """What is remembered of classes that are not of this experience."""
    stored = ending.stored()
    if stored is None:
        return None
    current = torch.tensor(ending.classes.current.indices, device=stored.targets.device)
    index = (~torch.isin(stored.targets, current)).nonzero().flatten()
    return stored.take(index) if len(index) else None


@torch.no_grad()
def _put_beside(head: nn.Linear, weight: Tensor, bias: Tensor, seen: Tensor) -> None:
    """Halve what the head gives, and add half of what these give (C, D), (C,), for the classes seen (C,), in place."""
    device, n = head.weight.device, len(weight)
    own = head.weight.new_zeros(len(head.weight)) if head.bias is None else head.bias
    there = seen.nonzero().flatten().to(device)
    both, shift = torch.zeros_like(head.weight), torch.full_like(own, UNSEEN)
    both[there] = (head.weight[:n] + weight.to(head.weight))[there] / 2
    shift[there] = (own[:n] + bias.to(own))[there] / 2
    head.weight, head.bias = nn.Parameter(both), nn.Parameter(shift)
