"""The Kronecker factors of one layer, by eigenvectors and eigenvalues, in whose basis the pull is one division."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.devices import multiplies_bfloat16
from ckd.errors import ModelError
from ckd.part import tensor_bytes


@dataclass
class Factors:
    """G ⊗ A of one layer, by eigenvectors (columns) and eigenvalues.

    Attributes:
        g_vectors, g_values: of G, (O, O') and (O',).
        a_vectors, a_values: of A, (I + 1, R) and (R,).
        a_other: the mean of A's eigenvalues that were not kept.
        mass: how many experiences A is a mean of.
    """

    g_vectors: Tensor
    g_values: Tensor
    a_vectors: Tensor
    a_values: Tensor
    a_other: float
    mass: float

    def __post_init__(self) -> None:
        self._strength: float | None = None
        self._stiff = self._stiff_other = torch.empty(0)

    @classmethod
    def of(cls, a: Tensor, g: Tensor, mass: float, rank: int | None, dtype: torch.dtype) -> Factors:
        """From the matrices A and G."""
        g_values, g_vectors = (part.to(g.dtype) for part in _eigh(g))
        kept = rank or len(a)
        a_values, a_vectors = (part[..., -kept:].to(a.dtype) for part in _eigh(a))
        left = len(a) - len(a_values)
        other = max(0.0, float(a.trace() - a_values.sum())) / left if left else 0.0
        columns = (g_vectors.to(dtype), g_values.clamp(min=0), a_vectors.to(dtype), a_values.clamp(min=0))
        return cls(*columns, other, mass)

    def decayed(self, decay: float) -> Factors:
        """This curvature after an experience that says nothing of it."""
        kept = (self.g_vectors, decay * self.g_values, self.a_vectors, self.a_values)
        return Factors(*kept, self.a_other, decay * self.mass)

    def joined(self, path: str, a: Tensor, g: Tensor, decay: float, rank: int | None, dtype: torch.dtype) -> Factors:
        """This curvature, decayed, and that of one more experience; the layer may have grown outputs since.

        Raises:
            ModelError: a layer whose inputs have changed.
        """
        if len(a) != len(self.a_vectors):
            raise ModelError(
                f"layer {path!r}, which an anchor holds in place",
                expected=f"{len(self.a_vectors)} inputs with the bias, as before",
                received=len(a),
                fix="Anchor models whose layers keep their inputs, or use the Diagonal curvature.",
            )
        mass = decay * self.mass + 1
        a_known, g_known = self.matrices()
        grown = g.clone()
        grown[: len(g_known), : len(g_known)] += decay * g_known
        return Factors.of(a_known + (a - a_known) / mass, grown, mass, rank, dtype)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """A and G, as far as they were kept."""
        a, g = self.a_vectors.to(self.a_values.dtype), self.g_vectors.to(self.g_values.dtype)
        a = (a * (self.a_values - self.a_other)) @ a.T + self.a_other * torch.eye(
            len(a), dtype=a.dtype, device=a.device
        )
        return a, (g * self.g_values) @ g.T

    def penalty(self, delta: Tensor) -> Tensor:
        """½ tr(Δᵀ G Δ A)."""
        a, g = self.matrices()
        known = delta[: len(g)].to(g.dtype)
        return (known * (g @ known @ a)).sum() / 2

    def correction(self, delta: Tensor, strength: float) -> Tensor:
        """Δ - (1 + strength · G ⊗ A)⁻¹ Δ for Δ (O, I + 1): outputs that came later are left alone."""
        self._harden(strength)
        u, v = (self._factor(vectors) for vectors in (self.g_vectors, self.a_vectors))
        turned = u.T @ delta[: len(u)].to(u.dtype)  # (O', I + 1)
        inner = (turned @ v) * self._stiff  # (O', R)
        off = inner @ v.T
        if self.a_other:
            off = off + self._stiff_other * turned
        off = (u @ off).to(delta.dtype)
        return off if len(off) == len(delta) else F.pad(off, (0, 0, 0, len(delta) - len(off)))

    def _harden(self, strength: float) -> None:
        """S / (1 + s) for s = strength · (eigenvalues of G ⊗ A), kept until the strength changes."""
        if self._strength != strength:
            stiff = strength * torch.outer(self.g_values, self.a_values)
            other = strength * self.g_values[:, None] * self.a_other
            dtype = self._factor(self.g_vectors).dtype
            self._stiff_other = (other / (1 + other)).to(dtype)
            self._stiff = (stiff / (1 + stiff)).to(dtype) - self._stiff_other
            self._strength = strength

    def _factor(self, vectors: Tensor) -> Tensor:
        """Eigenvectors as they are multiplied: in float32 where the device is slow at bfloat16."""
        slow = vectors.dtype == torch.bfloat16 and not multiplies_bfloat16(vectors.device.type)
        return vectors.float() if slow else vectors

    def nbytes(self) -> int:
        """Bytes of vectors and values."""
        return sum(map(tensor_bytes, (self.g_vectors, self.g_values, self.a_vectors, self.a_values)))


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix, in double precision.

    In single, LAPACK gives up on the second moments of images with pixels that are always 0. In double, cuSOLVER still
    gives up on some whose rank is low, which LAPACK solves.
    """
    exact = matrix.double()
    try:
        values, vectors = torch.linalg.eigh(exact)
    except RuntimeError:
        if matrix.device.type == "cpu":
            raise
        values, vectors = (part.to(matrix.device) for part in torch.linalg.eigh(exact.cpu()))
    return values, vectors
