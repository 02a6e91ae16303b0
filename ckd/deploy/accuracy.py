"""Accuracy of what is deployed."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ckd.deploy.inputs import Inputs, as_tuple
from ckd.deploy.running import running
from ckd.errors import DataError
from ckd.outputs import class_axis


def accuracy_of(network: Any, inputs: Inputs, labels: Tensor, *, batch_size: int = 256) -> float:
    """Share of labels that a network gives the highest logit, in [0, 1].

    Args:
        network: an ONNX file, a session of ONNX Runtime, or a module, which is put in eval mode meanwhile.
        inputs: test samples (N, ...), or a tuple where the network takes several.
        labels: int64 (N,); (N, H, W) for dense logits, (N, T) for logits (N, T, C).
        batch_size: samples at a time.

    Raises:
        ConfigError: no samples; an ONNX file without the extra `export`.
        DataError: another number of labels than of samples; a file that is no network; inputs that do not fit it.

    Example:
        >>> import torch
        >>> accuracy_of(torch.nn.Identity(), torch.eye(4), torch.tensor([0, 1, 2, 0]))
        0.75
    """
    tensors = as_tuple(inputs)
    if len(labels) != len(tensors[0]):
        fix = "Give a label for each sample."
        raise DataError("labels", expected=f"{len(tensors[0])} labels", received=len(labels), fix=fix)
    right = 0
    with running(network) as run:
        for start in range(0, len(labels), batch_size):
            rows = slice(start, start + batch_size)
            logits = run(tuple(tensor[rows] for tensor in tensors))
            right += int((logits.argmax(class_axis(logits)) == labels[rows].to(logits.device)).sum())
    return right / labels.numel()
