"""Large networks for 32 x 32 images, of the published protocols."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ckd.networks.shapes import Shape, image_shape


def resnet18(input_shape: Shape, n_classes: int) -> nn.Module:
    """ResNet18 for 32 x 32 images, 64 filters, as in the published CIFAR protocols (Avalanche's implementation)."""
    from avalanche.models import SlimResNet18

    image_shape(input_shape, "3 x 32 x 32", input_shape == (3, 32, 32))
    model: nn.Module = SlimResNet18(n_classes, nf=64)
    return model


def slim_resnet18(input_shape: Shape, n_classes: int) -> nn.Module:
    """ResNet18 with 20 filters, as in the online protocols (Lopez-Paz & Ranzato 2017, arXiv:1706.08840)."""
    from avalanche.models import SlimResNet18

    image_shape(input_shape, "3 x 32 x 32", input_shape == (3, 32, 32))
    model: nn.Module = SlimResNet18(n_classes, nf=20)
    return model


def mobilenet_v2(input_shape: Shape, n_classes: int) -> nn.Module:
    """torchvision's MobileNetV2 for 32 x 32 images: the first two strides are 1: 2.2 million parameters for 10 classes.

    Sandler et al. 2018, arXiv:1801.04381.
    """
    return _mobilenet_v2(input_shape, n_classes, width=1.0, stride=1)


def half_mobilenet_v2(input_shape: Shape, n_classes: int) -> nn.Module:
    """torchvision's MobileNetV2, half as wide, the second stride 1; near to the published comparisons on CIFAR-100.

    0.7 million parameters for 10 classes. Tian et al. 2020, arXiv:1910.10699, MobileNetV2: theirs has no dropout, ReLU
    in place of ReLU6, 12 channels where this one rounds to 16, and one more convolution in its first block.
    """
    return _mobilenet_v2(input_shape, n_classes, width=0.5, stride=2)


def _mobilenet_v2(input_shape: Shape, n_classes: int, *, width: float, stride: int) -> nn.Module:
    """torchvision's, with this first stride and a second one of 1."""
    from torchvision.models import mobilenet_v2 as build

    channels = image_shape(input_shape, "16 x 16 or larger", min(input_shape[1:], default=0) >= 16)[0]
    model = build(num_classes=n_classes, width_mult=width)
    features: Any = model.features
    features[0][0] = nn.Conv2d(channels, features[0][0].out_channels, 3, stride, padding=1, bias=False)
    features[2].conv[1][0].stride = (1, 1)
    found: nn.Module = model
    return found


def cifar_resnet8x4(input_shape: Shape, n_classes: int) -> nn.Module:
    """The student of the published comparisons on CIFAR-100: 8 layers, 4 times as wide; 1.2 million parameters.

    Tian et al. 2020, arXiv:1910.10699, resnet8x4.
    """
    return _CifarResNet(input_shape, n_classes, 1)


def cifar_resnet32x4(input_shape: Shape, n_classes: int) -> nn.Module:
    """The teacher of the published comparisons on CIFAR-100: 32 layers, 4 times as wide; 7.4 million parameters.

    Tian et al. 2020, arXiv:1910.10699, resnet32x4.
    """
    return _CifarResNet(input_shape, n_classes, 5)


class _CifarResNet(nn.Module):
    """He et al. 2016, arXiv:1512.03385, section 4.2: three stages of `n` blocks, of 64, 128 and 256 channels."""

    def __init__(self, input_shape: Shape, n_classes: int, n: int) -> None:
        super().__init__()
        channels = image_shape(input_shape, "8 x 8 or larger", min(input_shape[1:], default=0) >= 8)[0]
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.layer1 = _stage(32, 64, n, 1)
        self.layer2 = _stage(64, 128, n, 2)
        self.layer3 = _stage(128, 256, n, 2)
        self.fc = nn.Linear(256, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def _stage(channels: int, width: int, n: int, stride: int) -> nn.Module:
    from torchvision.models.resnet import BasicBlock

    shorter = stride != 1 or channels != width
    down = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)) if shorter else None
    return nn.Sequential(BasicBlock(channels, width, stride, down), *(BasicBlock(width, width) for _ in range(n - 1)))
