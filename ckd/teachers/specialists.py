"""A generalist and specialists for the classes that it confuses, as one teacher.

Hinton, Vinyals & Dean 2015, arXiv:1503.02531, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ckd.errors import ConfigError, ModelError
from ckd.outputs import Output, logits
from ckd.part import Part
from ckd.teachers.fixed import Fixed
from ckd.teachers.grouped_fit import CYCLES, GroupedFit
from ckd.teachers.specialist_data import checked_classes
from ckd.teachers.teacher import Teacher


class Specialists(Teacher):
    """The class probabilities q that agree best with a generalist g and with the specialists m that know the sample.

    q minimises KL(p_g ‖ q) + Σ_m KL(p_m ‖ q) (eq. 5), sample by sample. A specialist has an output for each of its
    classes and a last one, the dustbin, for all others, which is compared with the sum of q over them. Only those
    specialists are asked that have one of the generalist's `top` classes of a sample among theirs. The logits are
    log q; without a specialist they are the generalist's log-probabilities.

    Args:
        generalist: a network, or a teacher such as `Ensemble([...])`, of all classes.
        specialists: {classes: network or teacher}, with len(classes) + 1 logits in the order of the classes.
        dustbin_shifts: added to the dustbin's logit, one number for each specialist: see `dustbin_shift`; 0 unless
            given, for specialists that were trained on classes as frequent as they are.
        top: how many classes of the generalist a specialist may be asked for; 1 in the paper.

    Raises:
        ConfigError: no specialists, classes that are not different indices from 0, shifts or `top` that do not fit.
        ModelError: when it is asked: a head of another width than the classes say.

    Example:
        >>> generalist, specialist = nn.Linear(8, 5), nn.Linear(8, 3)
        >>> teacher = Specialists(generalist, {(1, 4): specialist}, dustbin_shifts=[0.4])
        >>> teacher.outputs(torch.zeros(2, 8))[logits].exp().sum(1).round(decimals=3)
        tensor([1., 1.])
    """

    needs_one_label = True

    def __init__(
        self,
        generalist: nn.Module | Teacher,
        specialists: Mapping[tuple[int, ...], nn.Module | Teacher],
        *,
        dustbin_shifts: Sequence[float] | None = None,
        top: int = 1,
    ) -> None:
        super().__init__()
        if not isinstance(specialists, Mapping) or not specialists:
            expected, fix = "{classes: network}", "For example Specialists(generalist, {(3, 5): network})."
            raise ConfigError("specialists", expected=expected, received=repr(specialists), fix=fix)
        self.generalist = _teacher(generalist)
        self.specialists = {checked_classes(classes): _teacher(one) for classes, one in specialists.items()}
        self.dustbin_shifts = [0.0] * len(self.specialists) if dustbin_shifts is None else list(dustbin_shifts)
        if len(self.dustbin_shifts) != len(self.specialists) or not all(map(math.isfinite, self.dustbin_shifts)):
            expected = f"{len(self.specialists)} finite numbers"
            fix = "Give dustbin_shift(labels, classes) for each specialist."
            raise ConfigError("dustbin shifts", expected=expected, received=dustbin_shifts, fix=fix)
        if top < 1:
            raise ConfigError("top classes of the generalist", expected="1 or more", received=top, fix="Use 1.")
        self.top = top
        self.needs_boundaries = any(one.needs_boundaries for one in self._teachers)
        several = top > 1 or len(set().union(*self.specialists)) < sum(map(len, self.specialists))
        self._cycles = CYCLES if several else 0  # one EM step is exact for one specialist

    @property
    def _teachers(self) -> list[Teacher]:
        return [self.generalist, *self.specialists.values()]

    @property
    def members(self) -> dict[str, Part]:
        """The generalist, and the specialists by number."""
        numbered = {f"specialist {i}": one for i, one in enumerate(self.specialists.values())}
        return {"generalist": self.generalist, **numbered}

    @property
    def ready(self) -> bool:
        """Whether all of them are."""
        return all(one.ready for one in self._teachers)

    def outputs(
        self, inputs: Tensor, tasks: Tensor | None = None, wanted: Sequence[Output] = (logits,)
    ) -> dict[Output, Any]:
        """Logits (B, C), log q. It has no modules inside to tap."""
        if any(not output.is_logits for output in wanted):
            fix = "Take features from the generalist, named on its own."
            raise ConfigError("specialists", expected="logits to be wanted", received="features", fix=fix)
        general = self.generalist.outputs(inputs, tasks)[logits]
        known = self.generalist.valid(general.shape[1], tasks, general.device)
        general = general if known is None else general.masked_fill(~known, -torch.inf)
        inside = self._inside(general)
        active = inside.T[general.topk(min(self.top, general.shape[1])).indices].amax(1) > 0  # (B, K)
        log_single = general.log_softmax(1)
        grouped = general.new_zeros(active.shape)
        for k, (classes, shift) in enumerate(zip(self.specialists, self.dustbin_shifts, strict=True)):
            rows = active[:, k].nonzero()[:, 0]
            if not len(rows):
                continue
            log_p = self._of_specialist(classes, shift, inputs[rows], None if tasks is None else tasks[rows])
            log_p = log_p.to(general)
            place = rows[:, None], torch.tensor(classes, device=rows.device)
            log_single[place] = torch.logaddexp(log_single[place], log_p[:, :-1])
            grouped[rows, k] = log_p[:, -1].exp()
        return {logits: GroupedFit(log_single, grouped, 1 - inside).log_probabilities(self._cycles)}

    def _inside(self, general: Tensor) -> Tensor:
        """(K, C), 1 for the classes of each specialist, in the dtype of the generalist's logits (B, C)."""
        inside = general.new_zeros(len(self.specialists), general.shape[1])
        for k, classes in enumerate(self.specialists):
            if max(classes) >= inside.shape[1] or len(classes) == inside.shape[1]:
                expected = f"a generalist of all classes, of a specialist's {_told(classes)} and of others"
                fix = "Give it one output for each class, in the order of the labels."
                raise ModelError("generalist", expected=expected, received=f"{inside.shape[1]} logits", fix=fix)
            inside[k, list(classes)] = 1
        return inside

    def _of_specialist(self, classes: tuple[int, ...], shift: float, inputs: Tensor, tasks: Tensor | None) -> Tensor:
        """Its log-probabilities (B, len(classes) + 1), the dustbin's last, corrected for over-sampling."""
        z = self.specialists[classes].outputs(inputs, tasks)[logits]
        if z.shape[1:] != (len(classes) + 1,):
            expected = f"{len(classes) + 1} logits, one for each of {_told(classes)} and the dustbin"
            fix = "Train it on specialist_labels(labels, classes)."
            raise ModelError("specialist", expected=expected, received=f"logits {tuple(z.shape)}", fix=fix)
        return torch.cat([z[:, :-1], z[:, -1:] + shift], 1).log_softmax(1)

    def valid(self, width: int, tasks: Tensor | None, device: torch.device) -> Tensor | None:
        """The classes that the generalist knows."""
        return self.generalist.valid(width, tasks, device)

    def state_dict(self) -> dict[str, Any]:
        """Nothing of its own: its teachers are parts like any other."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Nothing to restore."""


def _teacher(given: nn.Module | Teacher) -> Teacher:
    return given if isinstance(given, Teacher) else Fixed(given)


def _told(classes: tuple[int, ...]) -> str:
    return ", ".join(map(str, classes[:5])) + (f" ... {classes[-1]}" if len(classes) > 5 else "")
