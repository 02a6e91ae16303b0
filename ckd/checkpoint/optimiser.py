"""An optimiser's state by the names of parameters, so that it finds its way back where their order has changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ckd.errors import ConfigError


def optimiser_state(optimizer: torch.optim.Optimizer, names: Mapping[str, nn.Parameter]) -> dict[str, Any]:
    """Momentum and all else that the next step depends on.

    Args:
        optimizer: between two steps.
        names: the model's parameters by name; others are called by their places.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> optimiser_state(optimizer, dict(model.named_parameters()))["state"]["weight"]["values"]
        {'momentum_buffer': tensor([[1., 1.]])}
    """
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return {
        "groups": groups,
        "state": {
            name: {"shape": list(parameter.shape), "values": dict(optimizer.state[parameter])}
            for name, parameter in _named(optimizer, names).items()
            if optimizer.state.get(parameter)
        },
    }


def restore_optimiser(
    optimizer: torch.optim.Optimizer, state: Mapping[str, Any], names: Mapping[str, nn.Parameter]
) -> None:
    """Restore what `optimiser_state` returned; what belongs to a parameter of another shape by now is left out.

    Raises:
        ConfigError: another number of parameter groups.
    """
    groups = optimizer.param_groups
    if len(groups) != len(state["groups"]):
        expected, received = f"{len(state['groups'])} groups of parameters, as was saved", f"{len(groups)}"
        fix = "Build the optimiser as it was built for the run that was saved."
        raise ConfigError("optimiser", expected=expected, received=received, fix=fix)
    for group, saved in zip(groups, state["groups"], strict=True):
        for key in set(group) - set(saved) - {"params"}:
            del group[key]
        for key, value in saved.items():
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
    optimizer._opt_called = True  # type: ignore[attr-defined]  # schedulers warn of an optimiser without a step
    optimizer.state = defaultdict(dict)
    counts_stay = not any(group.get("fused") or group.get("capturable") for group in groups)
    for name, parameter in _named(optimizer, names).items():
        saved = state["state"].get(name)
        if saved is not None and saved["shape"] == list(parameter.shape):
            optimizer.state[parameter] = {
                key: value.to(parameter.device)
                if isinstance(value, Tensor) and not (key == "step" and counts_stay)
                else value
                for key, value in saved["values"].items()
            }


def _named(optimizer: torch.optim.Optimizer, names: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """The optimiser's parameters by name."""
    called = {id(parameter): name for name, parameter in names.items()}
    return {
        called.get(id(parameter), f"#{g}.{i}"): parameter
        for g, group in enumerate(optimizer.param_groups)
        for i, parameter in enumerate(group["params"])
    }
