"""What every curvature is: a quadratic form on displacements of the weights, added up over experiences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from ckd.anchors.exam import Exam

Displacement = Mapping[str, Tensor]
"""θ - θ* by parameter name, in the parameters' shapes; 0 where the old self has no such weight."""


@runtime_checkable
class Curvature(Protocol):
    """F ≈ Σ over experiences of E[∇log p(ŷ|x) ∇log p(ŷ|x)ᵀ], ŷ from the model: the Fisher matrix of the answers."""

    def add(self, exam: Exam, decay: float) -> None:
        """F ← decay · F + the Fisher matrix of `exam` (a mean over its samples)."""
        ...

    def penalty(self, displacement: Displacement) -> Tensor:
        """½ Δᵀ F Δ, a scalar."""
        ...

    def taken_off(self, displacement: Displacement, strength: float) -> dict[str, Tensor]:
        """What the pull takes off: Δ - (1 + strength · F)⁻¹ Δ, by name; nothing for a weight that F does not know.

        This is the exact minimiser of ½‖Δ' - Δ‖² + strength · penalty(Δ'): stable however stiff F is, where a gradient
        step of the penalty is only for strength · λ_max(F) < 2.
        """
        ...

    def nbytes(self) -> int:
        """Bytes of what is kept from one experience to the next."""
        ...
