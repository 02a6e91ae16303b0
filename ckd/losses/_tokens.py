"""Layers of networks of token ids: mean squared differences over what is no padding.

Source: Jiao et al. 2020, TinyBERT, arXiv:1909.10351, eq. 7 to 9. The authors' code averages over padding too.
"""

from __future__ import annotations

from torch import Tensor

from ckd.errors import ConfigError
from ckd.losses._features import same_shape
from ckd.outputs import full_precision


def token_mse(student: Tensor, target: Tensor, *, inputs: Tensor, padding: int = 0) -> Tensor:
    """Mean of (student - target)² over the features of the tokens that are no padding.

    Args:
        student: embeddings or hidden states (B, T, D).
        target: of the same shape.
        inputs: token ids (B, T) that both networks were shown; a term gives them to the loss by itself.
        padding: the id that does not count.

    Returns:
        (B,), in squared features; float32 for half-precision features; 0 for a sample that is all padding.

    Raises:
        ConfigError: student and target have different shapes, or another number of tokens than `inputs`.

    Example:
        >>> import torch
        >>> from ckd.losses import token_mse
        >>> student = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]])
        >>> token_mse(student, torch.zeros(1, 2, 2), inputs=torch.tensor([[5, 0]]))
        tensor([2.5000])
    """
    same_shape(student, target)
    _check("(B, T, D)", student.dim() == 3 and student.shape[:2] == inputs.shape, student, inputs)
    squares = (full_precision(student) - full_precision(target)).square()
    return _mean(squares.mean(-1), inputs != padding)


def attention_score_mse(student: Tensor, target: Tensor, *, inputs: Tensor, padding: int = 0) -> Tensor:
    """Mean of (student - target)² over the heads and the pairs of tokens of which none is padding.

    Args:
        student: attention scores (B, heads, T, T), from before the softmax.
        target: of the same shape.
        inputs: token ids (B, T) that both networks were shown; a term gives them to the loss by itself.
        padding: the id that does not count.

    Returns:
        (B,), in squared scores; float32 for half-precision scores; 0 for a sample that is all padding.

    Raises:
        ConfigError: student and target have different shapes, or another number of tokens than `inputs`.

    Example:
        >>> import torch
        >>> from ckd.losses import attention_score_mse
        >>> student = torch.tensor([[[[2.0, 9.0], [9.0, 9.0]]]])
        >>> attention_score_mse(student, torch.zeros(1, 1, 2, 2), inputs=torch.tensor([[5, 0]]))
        tensor([4.])
    """
    same_shape(student, target)
    pairs = (*inputs.shape, inputs.shape[-1])
    _check("(B, heads, T, T)", student.dim() == 4 and (len(student), *student.shape[2:]) == pairs, student, inputs)
    squares, real = (full_precision(student) - full_precision(target)).square(), inputs != padding
    return _mean(squares.mean(1), real[:, :, None] & real[:, None])


def _check(kind: str, fits: bool, student: Tensor, inputs: Tensor) -> None:
    if not fits:
        raise ConfigError(
            "outputs for tokens",
            expected=f"{kind} for token ids (B, T) of shape {tuple(inputs.shape)}",
            received=f"student outputs of shape {tuple(student.shape)}",
            fix="Tap hidden states for token_mse, attention scores for attention_score_mse.",
        )


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """The mean (B,) over those values (B, ...) that are counted; 0 where none is."""
    total = values.masked_fill(~counted, 0).flatten(1).sum(1)
    return total / counted.flatten(1).sum(1).clamp(min=1)
