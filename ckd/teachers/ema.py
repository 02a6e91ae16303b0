"""The learner's average self: an exponential moving average of its weights.

Tarvainen & Valpola, Mean Teachers are Better Role Models, 2017, arXiv:1703.01780, eq. 2; with the stochastic update of
Arani et al. 2022 (CLS-ER), arXiv:2201.12604, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ckd.classes import Classes
from ckd.errors import ConfigError
from ckd.part import Ending, Update, copy_of
from ckd.teachers.teacher import Frozen, Teacher


class Ema(Teacher):
    """θ ← a θ + (1 - a) student after an optimiser step, with a = min(decay, 1 - 1 / (t + 1), 1 - 2 / n) at step t.

    The smaller a of the first steps forgets the initial weights. n is the length of the longest experience that has
    ended, in steps: an average over more than half an experience would still predict as before it when it ends. That
    part is ours; of the settings in `ckd.recipes.protocols` it shortens those of rotated MNIST, 0.999 over 469 steps.
    BatchNorm's running statistics are averaged like the weights (CLS-ER's code leaves them out and runs its averages in
    train mode); counters are copied. It needs no task boundary, and is ready once the first experience begins. Where
    the student grew a head, what the average has is carried over and the new units start as the student's. On one head
    it speaks of every unit, those of classes to come too: the criterion trains them, and published methods match them.

    Args:
        decay: a in [0, 1); 0.999 is customary.
        rate: probability of an update at each step, in (0, 1].
        seed: of the generator that draws whether to update.

    Raises:
        ConfigError: a decay or rate outside its range.
    """

    def __init__(self, decay: float = 0.999, *, rate: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        for name, value, fits in (("decay", decay, 0 <= decay < 1), ("rate", rate, 0 < rate <= 1)):
            if not fits:
                interval = "[0, 1)" if name == "decay" else "(0, 1]"
                raise ConfigError(f"EMA {name}", expected=f"within {interval}", received=value, fix="Try 0.9.")
        self.decay, self.rate = decay, rate
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = 0
        self._followed = 0  # steps of the experience that runs
        self._longest = 0  # steps of the longest experience that has ended
        self._plain: bool | None = None  # whether the student has statistics that are no buffers, once it is known

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """Take the student's shape, and at first its weights."""
        self.classes, self._plain = classes.seen, None
        known = {} if self._frozen is None else self._frozen.module.state_dict()
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        if self.ready and shapes == {name: value.shape for name, value in known.items()}:
            return
        fresh = copy_of(model)
        for name, value in fresh.state_dict().items():
            if name in known:
                _carry_over(known[name], value)
        self._frozen = Frozen(fresh)

    def valid(self, width: int, tasks: Tensor | None, device: torch.device) -> Tensor | None:
        """None, for all; with a head for each task the classes of its task, bool (B, C)."""
        return super().valid(width, tasks, device) if self.classes is not None and self.classes.per_task else None

    def evaluation_model(self, model: nn.Module) -> nn.Module:
        """A copy of the average, which may grow a head of its own at evaluation; `model` before there is one."""
        return copy_of(self.model.module) if self.ready else model

    def after_update(self, update: Update) -> None:
        """Move towards the student."""
        self.steps += 1
        self._followed += 1
        if self.rate < 1 and float(torch.rand((), generator=self.generator)) >= self.rate:
            return
        alpha = min(self.decay, 1 - 1 / (self.steps + 1))
        if self._longest:
            alpha = min(alpha, max(0.0, 1 - 2 / self._longest))
        if self._plain is None:
            own, others = _plain(self.model.module), _plain(update.model)
            self._plain = bool(others)
            for a, b in zip(own, others, strict=True):
                a.data = a.data.to(b.device)  # the student's moved with its first forward pass, not with the model
        mine, its = ([*m.parameters(), *m.buffers()] for m in (self.model.module, update.model))
        if self._plain:
            mine, its = [*mine, *_plain(self.model.module)], [*its, *_plain(update.model)]
        floating = [(a, b.detach()) for a, b in zip(mine, its, strict=True) if a.is_floating_point()]
        with torch.no_grad():
            torch._foreach_lerp_([a for a, _ in floating], [b for _, b in floating], 1 - alpha)
            for a, b in zip(mine, its, strict=True):
                if not a.is_floating_point():
                    a.copy_(b)

    def end(self, ending: Ending) -> None:
        """Note how long an experience is."""
        self._longest, self._followed = max(self._longest, self._followed), 0

    def state_dict(self) -> dict[str, Any]:
        """The network, and what the next update depends on."""
        counts = {"steps": self.steps, "followed": self._followed, "longest": self._longest}
        return {**super().state_dict(), **counts, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state, student)
        self.steps, self._followed, self._longest = (state[name] for name in ("steps", "followed", "longest"))
        self.generator.set_state(state["generator"].cpu())


def _carry_over(known: Tensor, fresh: Tensor) -> None:
    """Write `known` into the part of `fresh` that it covers, in place."""
    if known.dim() == fresh.dim():
        corner = tuple(slice(0, min(a, b)) for a, b in zip(known.shape, fresh.shape, strict=True))
        fresh[corner] = known[corner]


def _plain(model: nn.Module) -> list[Tensor]:
    """Running statistics that are plain tensors, as those of Avalanche's BatchRenorm."""
    return [
        value
        for module in model.modules()
        for name, value in vars(module).items()
        if name.startswith("running_") and isinstance(value, Tensor)
    ]
