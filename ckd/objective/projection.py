"""A learned linear map between feature spaces, trained by an optimiser of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ckd.errors import ConfigError
from ckd.part import Ending, Part, Update, tensor_bytes


class Projection(Part):
    """A x + b from the student's features to the teacher's, begun anew after each experience.

    Avalanche rewrites the user's optimiser at every experience, so the map has its own SGD with momentum 0.9. It is
    made when the first features arrive, with initial weights from a generator of its own.

    Args:
        lr: learning rate.
        seed: of the initial weights.

    Raises:
        ConfigError: a learning rate that is not above 0.
    """

    def __init__(self, lr: float = 0.1, *, seed: int = 0) -> None:
        if not lr > 0:
            raise ConfigError("learning rate of the projection", expected="above 0", received=lr, fix="Try 0.1.")
        self.lr, self.seed = lr, seed
        self._experience = 0
        self._map: nn.Linear | None = None
        self._optimiser: torch.optim.SGD | None = None

    def __call__(self, features: Tensor, width: int) -> Tensor:
        """Features (B, D) mapped to (B, `width`)."""
        if self._map is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed + self._experience)
                self._map = nn.Linear(features.shape[1], width).to(features)
            self._optimiser = torch.optim.SGD(self._map.parameters(), lr=self.lr, momentum=0.9)
        mapped: Tensor = self._map(features)
        return mapped

    def after_update(self, update: Update) -> None:
        """Follow the gradient that the step left in the map."""
        if self._optimiser is not None:
            self._optimiser.step()
            self._optimiser.zero_grad()

    def end(self, ending: Ending) -> None:
        """Forget the map: the next experience has another teacher."""
        self._map = self._optimiser = None
        self._experience += 1

    def nbytes(self) -> dict[str, int]:
        """Bytes of the map, as `teachers`."""
        return {} if self._map is None else {"teachers": sum(map(tensor_bytes, self._map.parameters()))}
