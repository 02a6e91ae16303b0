"""Two networks that learn together, each from the other.

Zhang et al. 2018, Deep Mutual Learning, arXiv:1706.00384, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models import DynamicModule
from torch import nn

from ckd.checkpoint import model_state, optimiser_state, restore_model, restore_optimiser
from ckd.engine import Engine
from ckd.errors import ModelError
from ckd.objective import Objective


class MutualLearning(SupervisedPlugin):  # type: ignore[misc]
    """Trains another network beside the strategy's, on the same mini-batches and right after it.

    The strategy's own network learns from the other one where its `SelfDistillation` has that as `Peer`. The learning
    rates are the strategy's at each step. Both networks have one head of a fixed width.

    Args:
        network: the other one.
        objective: what it minimises; its teacher is a `Peer` of the strategy's network.
        optimizer: of its parameters, with as many groups as the strategy's.

    Raises:
        ModelError: a network of Avalanche's that grows or that has a head for each task.

    Example:
        >>> from ckd import SelfDistillation, recipes
        >>> from ckd.teachers import Peer
        >>> one, other = nn.Linear(4, 3), nn.Linear(4, 3)
        >>> optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
        >>> plugins = [
        ...     SelfDistillation(recipes.mutual(Peer(other))),
        ...     MutualLearning(other, recipes.mutual(Peer(one)), optimizer),
        ... ]
    """

    def __init__(self, network: nn.Module, objective: Objective, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        grows = [type(module).__name__ for module in network.modules() if isinstance(module, DynamicModule)]
        if grows:
            fix = "Give it a head for all classes, such as nn.Linear."
            raise ModelError("network of mutual learning", expected="a fixed head", received=grows[0], fix=fix)
        self.network, self.optimizer, self.engine = network, optimizer, Engine(objective)

    def state_dict(self) -> dict[str, Any]:
        """The other network, its optimiser and its engine."""
        named = dict(self.network.named_parameters())
        return {
            "network": model_state(self.network),
            "optimizer": optimiser_state(self.optimizer, named),
            "engine": self.engine.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], strategy: Any) -> None:
        """Restore what `state_dict` returned."""
        self.network.to(strategy.device)
        restore_model(self.network, state["network"])
        restore_optimiser(self.optimizer, state["optimizer"], dict(self.network.named_parameters()))
        self.engine.load_state_dict(state["engine"], self.network)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """An experience begins for both."""
        self.engine.criterion = strategy._criterion
        self.engine.begin(strategy.experience.classes_in_this_experience)
        self.network.to(strategy.device).train()

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """One step of the other network, with the strategy's as it has just become."""
        for own, theirs in zip(self.optimizer.param_groups, strategy.optimizer.param_groups, strict=True):
            own["lr"] = theirs["lr"]
        self.optimizer.zero_grad()
        self.engine.loss(self.network, strategy.mb_x, strategy.mb_y).backward()
        self.optimizer.step()
        self.engine.after_update(self.optimizer)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """The experience ends for both."""
        self.engine.end()
