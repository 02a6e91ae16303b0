"""Features of several layers, each fused with those of deeper layers: knowledge review.

Chen et al. 2021, Distilling Knowledge via Knowledge Review, arXiv:2104.09044, its attention-based fusion (ABF) as in
the authors' code, https://github.com/dvlab-research/ReviewKD.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ckd.errors import ConfigError
from ckd.objective.adaptor import Adaptor


class Fusion(Adaptor):
    """Student features from deep to shallow, each mixed with what came before and mapped to the teacher's space.

    At each layer a 1 x 1 convolution gives the student's features a common width. Two maps of attention, from both,
    then weight them and the fused features of the deeper layer, which are resized to them. The sum goes on to the
    next shallower layer, and through a 3 x 3 convolution to the teacher's channels (attention-based fusion, ABF). It
    is trained as every `Adaptor` is. Compare what it gives by `ckd.losses.hierarchical_context`.

    Args:
        width: of the fused features; the channels of the student's deepest layer, 512 at most, unless given.
        lr: learning rate.
        renew: begin anew after each experience, as the next one has another teacher.
        seed: of the initial weights.

    Raises:
        ConfigError: a width below 1; at the first step, outputs that are neither maps (B, C, H, W) nor vectors (B, D).

    Example:
        >>> from ckd import Fixed, Objective, Term, tap
        >>> from ckd.losses import hierarchical_context
        >>> from ckd.objective import teacher
        >>> large = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(256, 2))
        >>> review = Term(
        ...     "review",
        ...     output=tap("conv1", "conv2"),  # layers of the student, the shallowest first
        ...     target=teacher("large", output=tap("0", "1")),
        ...     adaptor=Fusion(),
        ...     loss=hierarchical_context,
        ... )
        >>> objective = Objective("review", [review], teachers={"large": Fixed(large)})
    """

    def __init__(self, width: int | None = None, *, lr: float = 0.1, renew: bool = False, seed: int = 0) -> None:
        super().__init__(lr=lr, renew=renew, seed=seed)
        if width is not None and width < 1:
            raise ConfigError("width of the fusion", expected="1 or more", received=width, fix="Leave it out.")
        self.width = width

    @property
    def takes_several(self) -> bool:
        """It does."""
        return True

    def _made_to_fit(self, student: list[list[int]], target: list[list[int]]) -> nn.Module:
        for shape in (*student, *target):
            if len(shape) not in (2, 4) or len(student) != len(target):
                raise ConfigError(
                    "layers to fuse",
                    expected="as many of the student as of the teacher, maps (B, C, H, W) or vectors (B, D)",
                    received=f"{len(student)} and {len(target)}, one of them of shape {tuple(shape)}",
                    fix="Tap convolutional layers, and what the last of them is averaged to.",
                )
        width = self.width or min(512, student[-1][1])
        return _Fused([shape[1] for shape in student], [shape[1:] for shape in target], width)


class _Fused(nn.Module):
    """Features of each layer (B, C, H, W) or (B, D), the shallowest first, to the teacher's shapes."""

    def __init__(self, channels: list[int], targets: list[list[int]], width: int) -> None:
        super().__init__()
        self.targets = targets
        last = len(channels) - 1
        pairs = zip(channels, targets, strict=True)
        self.layers = nn.ModuleList(_Layer(c, width, t[0], fuses=i < last) for i, (c, t) in enumerate(pairs))

    def forward(self, features: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        given = features if isinstance(features, tuple) else (features,)
        maps = [x if x.dim() == 4 else x[:, :, None, None] for x in given]
        fused: Tensor | None = None
        found: list[Tensor] = []
        for layer, x, target in list(zip(self.layers, maps, self.targets, strict=True))[::-1]:
            fused, widened = layer(x, fused, tuple(target[1:]) or (1, 1))
            found.insert(0, widened.reshape(-1, *target))
        return tuple(found)


class _Layer(nn.Module):
    """One level of the fusion; the deepest one has nothing to fuse."""

    def __init__(self, channels: int, width: int, target: int, *, fuses: bool) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        self.attention = nn.Sequential(nn.Conv2d(2 * width, 2, 1), nn.Sigmoid()) if fuses else None
        self.widen = nn.Sequential(nn.Conv2d(width, target, 3, padding=1, bias=False), nn.BatchNorm2d(target))
        for convolution in (self.narrow[0], self.widen[0]):
            nn.init.kaiming_uniform_(convolution.weight, a=1)  # type: ignore[arg-type]

    def forward(self, x: Tensor, deeper: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The fused features (B, width, *size), and those in the teacher's channels."""
        x = self.narrow(x)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, x.shape[2:])
            own, its = self.attention(torch.cat([x, deeper], 1)).split(1, 1)  # (B, 1, H, W) each
            x = own * x + its * deeper
        if tuple(x.shape[2:]) != size:
            x = F.interpolate(x, size)
        return x, self.widen(x)
