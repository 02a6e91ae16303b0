"""Residual networks of the published CIFAR protocols."""

from __future__ import annotations

from torch import nn

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
