"""What a network can be built for."""

from __future__ import annotations

from ckd.errors import ConfigError

Shape = tuple[int, ...]
"""Of one input, without the batch."""


def image_shape(shape: Shape, expected: str, fits: bool) -> Shape:
    """The shape, if it is an image's and `fits`.

    Raises:
        ConfigError: inputs that are no images, or of another size than `expected`.
    """
    if len(shape) != 3 or not fits:
        raise ConfigError(
            "network", expected=f"images (C, H, W), {expected}", received=f"inputs of shape {shape}", fix="Use the mlp."
        )
    return shape
