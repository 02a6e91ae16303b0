"""Weights that are numbers: what diverged is not carried into the next experience, nor into a checkpoint."""

from __future__ import annotations

from torch import nn

from ckd.errors import NonFiniteLossError


def check_weights(model: nn.Module, when: str) -> None:
    """Refuse weights that are NaN or infinite, as the last update of all may leave them with no loss to show it.

    Args:
        model: whose parameters that take gradients are looked at.
        when: how the message goes on, as in "after 12 steps".

    Raises:
        NonFiniteLossError: the first of them by name.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> check_weights(model, "after 1 step")
        >>> _ = model.bias.data.fill_(float("inf"))
        >>> check_weights(model, "after 2 steps")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ckd.errors.NonFiniteLossError: weight 'bias' after 2 steps: expected finite numbers; received NaN or ...
    """
    for name, weight in model.named_parameters():
        if weight.requires_grad and not weight.detach().isfinite().all():
            raise NonFiniteLossError(
                f"weight {name!r} {when}",
                expected="finite numbers",
                received="NaN or infinity",
                fix="Lower the learning rate or a term's weight, or limit the steps (ckd.anchors.StepLimit).",
            )
