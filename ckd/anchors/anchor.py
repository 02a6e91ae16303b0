"""The anchor: each step is followed by a pull towards a teacher's weights, as stiff as its predictions depend on them.

Where the terms of a sum see only the samples at hand, this one stands for all samples of the past: to second
order, ½ (θ - θ*)ᵀ F (θ - θ*) is what the old predictions lose when the weights move from θ* to θ (Kirkpatrick et al.
2017, arXiv:1612.00796).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ckd.anchors.curvature import Curvature
from ckd.anchors.fisher_samples import FisherSamples
from ckd.classes import Classes
from ckd.devices import device_of, moved
from ckd.errors import ConfigError
from ckd.numbers import check_whole
from ckd.part import Ending, Part, Update
from ckd.teachers import Teacher
from ckd.teachers.teacher import Frozen


class Anchor(Part):
    """Ties the student's weights to a teacher's: θ ← argmin ‖θ' - θ‖² / (2 η) + weight · ½ (θ' - θ*)ᵀ F (θ' - θ*).

    The step is taken after the optimiser's, with its learning rate η, and it is exact (a proximal step): a Kronecker
    curvature is so stiff that a gradient step of the same penalty diverges at the learning rates of our protocols.
    To first order in η both are the same. In an online stream F is measured on the last sub-experience of a task, as
    its samples are the ones that are there when it ends.

    Args:
        teacher: whose weights θ* are; F is measured on it whenever an experience ends.
        curvature: F, a `Kronecker` or `Diagonal`.
        weight: 1 is what Bayes' rule says for a loss that is a mean over samples, experiences of equal size, and SGD.
            η counts momentum in (÷ 1 - momentum) and is the largest of all parameter groups. Optimisers that scale
            each gradient by its size (Adam) take other steps than η says: search their weight anew, 30 times as large
            to begin with.
        decay: what is left of the old F when an experience's own is added; 1 forgets nothing.
        samples: of the experience that F is measured on, at most.
        while_classes_stay: let go of the student, and of F, when an experience brings new classes, for which its
            weights must move; F is measured anew when one ends that brought none.
        seed: of the generator that chooses these and draws their labels.

    Raises:
        ConfigError: a weight below 0, a decay outside [0, 1], no samples, or no whole number of them.
    """

    needs_boundaries = True
    needs_data = True
    needs_one_label = True

    def __init__(
        self,
        teacher: Teacher,
        curvature: Curvature,
        *,
        weight: float = 1.0,
        decay: float = 1.0,
        samples: int = 2000,
        while_classes_stay: bool = False,
        seed: int = 0,
    ) -> None:
        for name, part, kind in (("teacher", teacher, Teacher), ("curvature", curvature, Curvature)):
            if not isinstance(part, kind):
                fix = "For example Anchor(snapshot, Kronecker())."
                raise ConfigError(f"{name} of the anchor", expected=f"a {kind.__name__}", received=repr(part), fix=fix)
        if teacher.members:
            fix = "Tie the student to one of its teachers."
            raise ConfigError("teacher of the anchor", expected="one network", received="several", fix=fix)
        check_whole("samples of the anchor", samples, least=1)
        for name, value in (("weight", weight), ("decay", decay)):
            if not isinstance(value, int | float):
                raise ConfigError(
                    f"{name} of the anchor", expected="a number", received=repr(value), fix="Leave it out."
                )
        for name, value, fits, expected in (
            ("weight", weight, weight >= 0 and math.isfinite(weight), "a finite number, 0 or more"),
            ("decay", decay, 0 <= decay <= 1, "from 0 to 1"),
        ):
            if not fits:
                raise ConfigError(f"{name} of the anchor", expected=expected, received=value, fix="Leave it out.")
        self.teacher, self.curvature = teacher, curvature
        self.weight, self.decay, self.samples = weight, decay, samples
        self.while_classes_stay = while_classes_stay
        self.generator = torch.Generator().manual_seed(seed)
        self._unmeasured = copy.deepcopy(curvature)
        self._measured = self._idle = False
        self._home: tuple[Frozen | None, dict[str, nn.Parameter]] = None, {}

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """Let go if new classes come, where that is wanted."""
        self._idle = self.while_classes_stay and len(classes.old) > 0 and len(classes.new) > 0
        if self._idle and self._measured:
            self.curvature, self._measured = copy.deepcopy(self._unmeasured), False

    def after_update(self, update: Update) -> None:
        """Pull the student back."""
        if not self._measured or not self.weight:
            return
        if not math.isfinite(update.lr):
            expected, received = "a momentum below 1", "one of 1 or more"
            raise ConfigError("optimiser beside an anchor", expected=expected, received=received, fix="Try 0.9.")
        with torch.no_grad():
            weights = dict(update.model.named_parameters())
            pull = self.curvature.correction(self._displacement(weights), self.weight * update.lr)
            found = [name for name in pull if weights[name].requires_grad]
            if not found:  # the predictions depend on no weight, as a saturated softmax does
                return
            torch._foreach_sub_([weights[name] for name in found], [pull[name] for name in found])

    def _displacement(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """θ - θ* by name; 0 for weights that the teacher does not have."""
        if self._home[0] is not self.teacher.model:  # a snapshot is another network after each experience
            self._home = self.teacher.model, dict(self.teacher.model.module.named_parameters())
        home = self._home[1]
        return {name: _minus(weight.detach(), home.get(name)) for name, weight in weights.items()}

    def penalty(self, model: nn.Module) -> Tensor:
        """The penalty for `model`, a scalar: weight · ½ (θ - θ*)ᵀ F (θ - θ*)."""
        if not self._measured:
            return torch.zeros(())
        return self.weight * self.curvature.penalty(self._displacement(dict(model.named_parameters())))

    def end(self, ending: Ending) -> None:
        """Measure the curvature of the teacher's predictions on the experience that ends."""
        if self._idle or not self.weight:
            return
        found = FisherSamples.of(self.teacher.model.module, ending, self.samples, self.generator)
        if found is not None:
            self.curvature.add(found, self.decay)
            self._measured = True

    def state_dict(self) -> dict[str, Any]:
        """F and the generator; θ* is the teacher's."""
        state = {"curvature": self.curvature.state_dict(), "measured": self._measured, "idle": self._idle}
        return {**state, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        self.curvature.load_state_dict(moved(state["curvature"], device_of(student)))
        self._measured, self._idle = state["measured"], state["idle"]
        self.generator.set_state(state["generator"].cpu())

    def nbytes(self) -> dict[str, int]:
        """Bytes of F, as `curvature`; θ* is the teacher's."""
        return {"curvature": self.curvature.nbytes()}


def _minus(weight: Tensor, home: Tensor | None) -> Tensor:
    if home is None:
        return torch.zeros_like(weight)
    if home.shape == weight.shape:
        return weight - home
    moved = torch.zeros_like(weight)  # the layer has grown since
    corner = tuple(map(slice, home.shape))
    moved[corner] = weight[corner] - home
    return moved
