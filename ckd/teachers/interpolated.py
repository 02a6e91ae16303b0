"""Between the student and an average of its weights. Michel et al. 2024 (MKD), arXiv:2309.02870."""

from __future__ import annotations

import torch
from torch import nn

from ckd.errors import ConfigError
from ckd.part import Part
from ckd.teachers.ema import Ema


class Interpolated(Part):
    """Evaluates with share · average + (1 - share) · student, BatchNorm's running statistics included.

    Args:
        average: of the student's weights.
        share: from 0, the student, to 1, the average.

    Raises:
        ConfigError: a share outside its range.
    """

    def __init__(self, average: Ema, share: float = 0.5) -> None:
        if not 0 <= share <= 1:
            expected = "from 0 to 1"
            raise ConfigError("share of the average", expected=expected, received=share, fix="Try 0.5.")
        self.average, self.share = average, share

    @property
    def members(self) -> dict[str, Part]:
        """The average."""
        return {"average": self.average}

    def evaluation_model(self, model: nn.Module) -> nn.Module:
        """A copy of the average, moved towards `model`; `model` itself before there is an average."""
        if not self.average.ready:
            return model
        between, student = self.average.evaluation_model(model), model.state_dict()
        for name, value in between.state_dict().items():
            if name in student and value.is_floating_point():
                shared = tuple(map(slice, map(min, value.shape, student[name].shape)))  # one head may be wider
                with torch.no_grad():
                    value[shared].lerp_(student[name][shared], 1 - self.share)
        return between
