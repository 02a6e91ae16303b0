"""Where samples come from: embedded, downloaded through torchvision, or a user's file."""

from ckd.data.sources.cifar import cifar10, cifar100
from ckd.data.sources.digits import digits
from ckd.data.sources.mnist import mnist
from ckd.data.sources.npz import npz

__all__ = ["cifar10", "cifar100", "digits", "mnist", "npz"]
