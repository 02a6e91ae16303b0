"""What the network is shown of a draw: mixtures of remembered samples, augmented or cropped ones, noisy ones."""

from ckd.views.augmented import Augmented, Chain, Noise
from ckd.views.collage import Collage
from ckd.views.masks import patches, pixels, rectangle
from ckd.views.mixup import Mixup
from ckd.views.partners import anyone, same_class, same_experience
from ckd.views.resized_crop import RandomResizedCrop

__all__ = [
    "Augmented",
    "Chain",
    "Collage",
    "Mixup",
    "Noise",
    "RandomResizedCrop",
    "anyone",
    "patches",
    "pixels",
    "rectangle",
    "same_class",
    "same_experience",
]
