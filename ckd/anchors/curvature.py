"""What every curvature is: a quadratic form on displacements of the weights, added up over experiences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ckd.anchors.fisher_samples import FisherSamples

Displacement = Mapping[str, Tensor]
"""θ - θ* by parameter name, in the parameters' shapes; 0 where the teacher has no such weight."""


@runtime_checkable
class Curvature(Protocol):
    """F ≈ Σ over experiences of E[∇log p(ŷ|x) ∇log p(ŷ|x)ᵀ], ŷ from the model: the Fisher matrix of its predictions."""

    def add(self, samples: FisherSamples, decay: float) -> None:
        """F ← decay · F + the Fisher matrix of `samples` (a mean over its samples)."""
        ...

    def penalty(self, displacement: Displacement) -> Tensor:
        """½ Δᵀ F Δ, a scalar."""
        ...

    def correction(self, displacement: Displacement, strength: float) -> dict[str, Tensor]:
        """What the pull subtracts: Δ - (1 + strength · F)⁻¹ Δ, by name; nothing for a weight that F does not know.

        This is the exact minimiser of ½‖Δ' - Δ‖² + strength · penalty(Δ'): stable however stiff F is, where a gradient
        step of the penalty is only for strength · λ_max(F) < 2.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """F, as tensors and plain data."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...

    def nbytes(self) -> int:
        """Bytes of what is kept from one experience to the next."""
        ...
