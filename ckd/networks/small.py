"""Small networks, fit for a CPU."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ckd.networks.shapes import Shape, image_shape


def small_mlp(input_shape: Shape, n_classes: int) -> nn.Module:
    """One hidden layer of 16 ReLU units; a student."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 16), nn.ReLU(), nn.Linear(16, n_classes))


def mlp(input_shape: Shape, n_classes: int) -> nn.Module:
    """Two hidden layers of 100 ReLU units, as on MNIST in Buzzega et al. 2020, arXiv:2004.07211; see `xavier_mlp`."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 100),
        nn.ReLU(),
        nn.Linear(100, 100),
        nn.ReLU(),
        nn.Linear(100, n_classes),
    )


def xavier_mlp(input_shape: Shape, n_classes: int) -> nn.Module:
    """`mlp` as the published runs on MNIST begin: Xavier's weights, biases of 0 (github.com/aimagelab/mammoth).

    Its weights are about twice as far from 0 as those of `mlp`, which PyTorch draws. Split MNIST trains it; permuted
    MNIST, where it makes less difference, trains `mlp` (benchmarks/results/permuted_mnist.md).
    """
    network = mlp(input_shape, n_classes)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network


def convnet(input_shape: Shape, n_classes: int) -> nn.Module:
    """Three convolutions of 32, 64 and 128 channels with BatchNorm: about 95,000 parameters, fit for a CPU."""
    channels = image_shape(input_shape, "8 x 8 or larger", min(input_shape[1:], default=0) >= 8)[0]
    layers: list[nn.Module] = []
    for width in (32, 64, 128):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_classes))


def tiny_resnet(input_shape: Shape, n_classes: int) -> nn.Module:
    """`small_resnet` with half its channels: 41,000 parameters; a student."""
    return _resnet(input_shape, n_classes, 12)


def small_resnet(input_shape: Shape, n_classes: int) -> nn.Module:
    """Two residual blocks of 48 and 96 channels behind strided convolutions: 159,000 parameters, fit for a CPU.

    On CIFAR-10, after 6 epochs, it is as accurate as `convnet` in two fifths of its time.
    """
    return _resnet(input_shape, n_classes, 24)


def wide_resnet(input_shape: Shape, n_classes: int) -> nn.Module:
    """`small_resnet` with three times its channels: 1.4 million parameters; a teacher."""
    return _resnet(input_shape, n_classes, 72)


def _resnet(input_shape: Shape, n_classes: int, width: int) -> nn.Module:
    channels = image_shape(input_shape, "8 x 8 or larger", min(input_shape[1:], default=0) >= 8)[0]
    return nn.Sequential(
        *_convolution(channels, width, 5, 2),
        *_convolution(width, 2 * width, 3, 2),
        _Residual(2 * width),
        *_convolution(2 * width, 4 * width, 3, 2),
        _Residual(4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, n_classes),
    )


class _Residual(nn.Module):
    """ReLU(x + BatchNorm(convolution(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*_convolution(channels, channels, 3, 1)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.branch(x))


def _convolution(channels: int, width: int, kernel: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU()]
