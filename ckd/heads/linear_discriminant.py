"""A linear discriminant of all classes beside the head: what they looked like, carried along as the network changes.

The discriminant (Fisher 1936; Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, 2009, eq. 4.10)
needs no more of a class than the mean of its features, and one covariance for all. Those of an experience are of all
its samples, where a memory keeps a few. When the network has changed, a linear map from its old features to its new
ones carries the old means along (Gomez-Villa et al. 2024, arXiv:2407.08536), and here the covariance too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
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
from ckd.teachers import Snapshot

UNSEEN = -1000.0
"""Logit of a class that has not come yet, as that of an inactive unit."""
MAX_FEATURES = 2048
"""With more, the covariance takes more than 34 MB and an experience's end more than some seconds."""


class LinearDiscriminant(Part):
    """Evaluates with the mean of the head's logits and those of a linear discriminant of the head's inputs.

    The logit of class c for features φ is ½ (w_c φ + b_c) + ½ (μ_c Σ⁻¹ φ - ½ μ_c Σ⁻¹ μ_c). That is a linear head again:
    what predicts is a copy of the network that this builds on, with other weights in its head, and -1000 for classes
    that have not come. Both halves are log probabilities of the classes but for a constant, so the prediction is their
    product, with the square root taken.

    When an experience ends, its samples and those of older classes in memory have features before it and after it, and
    the two groups count half each. Least squares, drawn towards no change by `ridge`, give the linear map between them.
    Means and covariance of the older classes follow that map; what it leaves unexplained is added to the covariance.
    Classes that come again are averaged by their numbers of samples. Kept are C means, a covariance of D x D numbers
    for D features, and `past`, a copy of the network.

    The head alone predicts while an experience runs, as its classes have no means yet, and after one that brings no new
    class: there old classes look new, and one mean for each is not enough. So it does, for the rest of the run, with a
    head for each task, with one that is not a plain `nn.Linear` whose outputs are the logits, with more than 2,048
    features, and where the data given to the end of an experience lack one of its classes.

    In an online stream, whose experiences are never at hand as a whole, what is remembered of an experience when it
    ends stands for all of its samples; without a memory the head alone predicts. With one or two samples of each class
    there it can do harm; five are enough.

    Args:
        ridge: how strongly the map is drawn towards no change, in mean variances of the old features.
        shrinkage: how much of the mean variance is added to each variance before Σ is inverted, at least: a Σ of few
            samples is shrunk further (Chen et al. 2010).

    Attributes:
        past: the network that this builds on as it was when the last experience ended; an objective may name it as one
            of its teachers, so that it is kept once.

    Raises:
        ConfigError: what is not a number above 0.

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

    def __init__(self, *, ridge: float = 0.01, shrinkage: float = 0.05) -> None:
        for name, value in (("ridge", ridge), ("shrinkage", shrinkage)):
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                who, fix = f"{name} of the discriminant", "Leave it out for the default."
                raise ConfigError(who, expected="a finite number above 0", received=repr(value), fix=fix)
        self.ridge, self.shrinkage = ridge, shrinkage
        self.past = Snapshot()
        self.known: ClassGaussians | None = None
        self._head = ""
        self._whole = True  # the samples of an experience are at hand when it ends
        self._applies = False  # not while an experience runs, nor after one without new classes

    @property
    def members(self) -> dict[str, Part]:
        """The network from before."""
        return {"past": self.past}

    def evaluation_model(self, model: nn.Module) -> nn.Module:
        """A copy of `model` with both in its head; `model` itself where the head alone predicts."""
        found = None if self.known is None or not self._applies else self.known.discriminant(self.shrinkage)
        if found is None:
            return model
        changed = copy_of(model)
        _put_beside(head_at(changed, self._head), *found)
        return changed

    def in_pieces(self) -> None:
        """From now on the memory's samples of an experience stand for all of it."""
        self._whole = self.needs_data = False

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """From here to the end of the experience the head alone predicts."""
        self._applies = False

    def end(self, ending: Ending) -> None:
        """Carry the older classes along, and take what the new ones look like."""
        classes, old = ending.classes, self.known
        self.known = None
        samples = ending.data if self._whole else partial(_remembered, ending, current=True)
        first = next((rows for rows in samples() if len(rows)), None)
        if first is None or classes.seen.per_task or (old is None and len(classes.old)):
            return
        head = _plain_head(ending, first)
        if head is None:
            return
        self._head, ending = head, replace(ending, head=head)
        found, stream, memory = Sums(), PairMoments(), PairMoments()
        for rows in samples():
            now = _features(ending, ending.model, rows)
            found.add(now, rows.targets.cpu().long())
            if old is not None:
                stream.add(_features(ending, self.past.model.module, rows), now)
        for older in [] if old is None else _remembered(ending, current=False):
            memory.add(_features(ending, self.past.model.module, older), _features(ending, ending.model, older))
        new = found.gaussians()
        if not new.have(classes.current.indices):
            return
        carried = None if old is None else old.carried(drift([stream, memory], self.ridge))
        self._applies = bool(len(classes.new))
        self.known = new if carried is None else carried.joined(new) if self._applies else carried

    def nbytes(self) -> dict[str, int]:
        """Bytes of means and covariance, as `heads`."""
        return {} if self.known is None else {"heads": sum(map(tensor_bytes, vars(self.known).values()))}

    def state_dict(self) -> dict[str, Any]:
        """Counts, means and scatter of the classes, which layer's input they are of, and whether they apply."""
        known = None if self.known is None else {name: value.clone() for name, value in vars(self.known).items()}
        return {"known": known, "head": self._head, "applies": self._applies}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        known = state["known"]
        self.known = known and ClassGaussians(**{name: value.cpu().clone() for name, value in known.items()})
        self._head, self._applies = state["head"], state["applies"]


def _plain_head(ending: Ending, rows: Rows) -> str | None:
    """Path of the `nn.Linear` whose outputs are the logits of the seen classes; None where there is none."""
    few = rows.take(torch.arange(min(8, len(rows)), device=rows.raw.device))
    modules, seen = dict(ending.model.named_modules()), ending.classes.seen.indices
    for path in (ending.head, replace(ending, head=None).with_head(few).head):
        head = None if path is None else modules.get(path)
        if type(head) is nn.Linear and not head._forward_pre_hooks and head.in_features <= MAX_FEATURES:
            said = ending.logits(ending.model, few)
            with torch.no_grad():
                gives = head(replace(ending, head=path).features(ending.model, few))
            if torch.allclose(gives[:, seen], said[:, seen], rtol=1e-3, atol=1e-3):
                return path
    return None


def _features(ending: Ending, model: nn.Module, rows: Rows) -> Tensor:
    """What the head takes in, (N, D), where float64 is at hand."""
    return ending.features(model, rows).cpu().double()


def _remembered(ending: Ending, *, current: bool) -> Iterator[Rows]:
    """What is remembered of the classes of this experience, or of all others."""
    stored = ending.stored()
    if stored is not None:
        classes = torch.tensor(ending.classes.current.indices, device=stored.targets.device)
        index = torch.isin(stored.targets, classes, invert=not current).nonzero().flatten()
        if len(index):
            yield stored.take(index)


@torch.no_grad()
def _put_beside(head: nn.Linear, weight: Tensor, bias: Tensor, seen: Tensor) -> None:
    """Halve what the head gives, and add half of what these give (C, D), (C,), for the classes seen (C,), in place."""
    n, asks = len(weight), head.weight.requires_grad
    own = head.weight.new_zeros(len(head.weight)) if head.bias is None else head.bias
    there = seen.nonzero().flatten().to(head.weight.device)
    both, shift = torch.zeros_like(head.weight), torch.full_like(own, UNSEEN)
    both[there] = (head.weight[:n] + weight.to(head.weight))[there] / 2
    shift[there] = (own[:n] + bias.to(own))[there] / 2
    head.weight, head.bias = nn.Parameter(both, requires_grad=asks), nn.Parameter(shift, requires_grad=asks)
