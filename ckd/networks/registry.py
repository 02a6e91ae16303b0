"""The networks by name.

ckd's own are here; others are found where they are: `package.module:function`, or `file.py:function`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ckd.errors import ConfigError, UnknownNameError
from ckd.modules import is_path, named
from ckd.networks.resnets import (
    cifar_resnet8x4,
    cifar_resnet32x4,
    half_mobilenet_v2,
    mobilenet_v2,
    resnet18,
    slim_resnet18,
)
from ckd.networks.shapes import Shape
from ckd.networks.small import convnet, mlp, small_mlp, small_resnet, tiny_resnet, wide_resnet, xavier_mlp
from ckd.networks.text import text_attention, text_pool, text_transformer

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "small-mlp": small_mlp,
    "mlp": mlp,
    "xavier-mlp": xavier_mlp,
    "convnet": convnet,
    "tiny-resnet": tiny_resnet,
    "small-resnet": small_resnet,
    "wide-resnet": wide_resnet,
    "resnet18": resnet18,
    "slim-resnet18": slim_resnet18,
    "resnet8x4": cifar_resnet8x4,
    "resnet32x4": cifar_resnet32x4,
    "mobilenet-v2": mobilenet_v2,
    "mobilenet-v2-half": half_mobilenet_v2,
    "text-pool": text_pool,
    "text-attention": text_attention,
    "text-transformer": text_transformer,
}
"""Each is built of the input shape and the number of classes; those of token ids of the vocabulary's size too."""

STAGES: dict[str, tuple[str, ...]] = {
    "small-mlp": ("2",),
    **dict.fromkeys(("mlp", "xavier-mlp"), ("2", "4")),
    "convnet": ("3", "7", "11"),
    **dict.fromkeys(("tiny-resnet", "small-resnet", "wide-resnet"), ("2", "6", "10")),
    **dict.fromkeys(("resnet18", "slim-resnet18"), ("layer1", "layer2", "layer3", "layer4")),
    **dict.fromkeys(("resnet8x4", "resnet32x4"), ("layer1", "layer2", "layer3")),
    **dict.fromkeys(("mobilenet-v2", "mobilenet-v2-half"), ("features.3", "features.6", "features.13", "features.18")),
}
"""Layers that recipes of distillation match unless others are named, from the input on; the head is not among them."""


def network(name: str, input_shape: Shape, n_classes: int, vocabulary: int = 0) -> nn.Module:
    """The network called `name` for inputs of this shape, or what a function of one's own builds.

    Such a function takes the shape of an input and the number of classes, or nothing.

    Args:
        name: of `NETWORKS`, or a path.
        input_shape: of one input, as a stream says.
        n_classes: logits.
        vocabulary: ids that the inputs are made of, as a stream says; 0 for inputs that are no token ids.

    Raises:
        UnknownNameError: no such network.
        ConfigError: a network of images or of token ids for other inputs; a function that cannot be loaded, takes
            something else or returns no network.
    """
    check_network(name)
    if name not in NETWORKS:
        return _own(name, input_shape, n_classes)
    build = NETWORKS[name]
    reads = "vocabulary" in inspect.signature(build).parameters
    if vocabulary and not reads:
        fix = "Use text-transformer, text-attention or text-pool."
        raise ConfigError("network", expected="one of token ids, as the inputs are", received=repr(name), fix=fix)
    model = build(input_shape, n_classes, vocabulary) if reads else build(input_shape, n_classes)
    return model.to(memory_format=torch.channels_last) if convolutional(model) else model  # 1.7 times as fast on a CPU


def check_network(name: str) -> None:
    """Refuse a name that nothing is known of; functions are loaded when they are needed.

    Raises:
        UnknownNameError: no such network.
    """
    if name not in NETWORKS and not is_path(name):
        raise UnknownNameError.of("network", name, [*NETWORKS, "FILE.py:function"])


def layer_pairs(student: str, teacher: str) -> dict[str, str]:
    """Layers of two networks that are matched unless others are named, {"of the student": "of the teacher"}.

    Raises:
        ConfigError: a network whose stages are not known.

    >>> layer_pairs("tiny-resnet", "wide-resnet")
    {'2': '2', '6': '6', '10': '10'}
    """
    for name in (student, teacher):
        if name not in STAGES:
            expected, fix = (
                "a network whose stages are known, or pairs of layers",
                'Name them: --layers "layer2=layer3".',
            )
            raise ConfigError("layers to match", expected=expected, received=name, fix=fix)
    ours, theirs = STAGES[student], STAGES[teacher]
    n = min(len(ours), len(theirs))
    return dict(zip(ours[-n:], theirs[-n:], strict=True))


def convolutional(model: nn.Module) -> bool:
    """Whether the model holds a 2-d convolution."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def _own(name: str, input_shape: Shape, n_classes: int) -> nn.Module:
    what = f"network {name!r}"
    _, build = named(what, name)
    if build is None:
        raise ConfigError(what, expected="a function", received="none", fix=f"Name one: {name}:function.")
    required = [p for p in inspect.signature(build).parameters.values() if p.default is inspect.Parameter.empty]
    if len(required) not in (0, 2):
        expected, fix = "a function of the shape of an input and the number of classes, or of nothing", "Change it."
        raise ConfigError(what, expected=expected, received=f"{len(required)} arguments without a default", fix=fix)
    model: Any = build(input_shape, n_classes) if required else build()
    if not isinstance(model, nn.Module):
        raise ConfigError(what, expected="a torch.nn.Module", received=repr(model), fix="Return the network.")
    return model
