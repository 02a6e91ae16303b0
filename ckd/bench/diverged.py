"""Runs that diverged: their loss or their weights became NaN or infinite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ckd.bench.spec import RunSpec
from ckd.errors import ConfigError, NonFiniteLossError

OnDivergence = Literal["skip", "stop"]
"""What becomes of the other runs: they go on, or they are stopped."""

CHOICES: tuple[OnDivergence, ...] = ("skip", "stop")


@dataclass(frozen=True)
class Diverged:
    """A run that diverged.

    Attributes:
        spec: what was run.
        told: what there is to say: its name, and the term, the iteration and the experience.
    """

    spec: RunSpec
    told: str


class DivergedError(NonFiniteLossError):
    """Some runs of a suite diverged; what is finished is kept, and so are the last checkpoints of these runs."""

    @classmethod
    def of(cls, runs: Sequence[Diverged]) -> DivergedError:
        """The error for these."""
        what = "; ".join(run.told for run in runs)
        fix = "Finished runs are kept. Lower --lr for these; their last checkpoints hold the weights before it, if any."
        return cls("suite", expected="finite losses and weights in every run", received=what, fix=fix)


def check_on_divergence(given: str) -> None:
    """Raise a ConfigError for what is none of the choices."""
    if given not in CHOICES:
        fix = "Choose skip to go on with the other runs, stop to end them."
        raise ConfigError("on divergence", expected=" or ".join(CHOICES), received=repr(given), fix=fix)
