"""Bringing a strategy to where its stream was: heads grow again, and what is taught cumulatively is gathered again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from avalanche.models import IncrementalClassifier, MultiHeadClassifier
from avalanche.training import JointTraining
from torch import Tensor, nn

from ckd.checkpoint.model import resize
from ckd.plugins.mixed_precision import MixedPrecision


def relive(strategy: Any, lessons: Sequence[Any], learnt: int, *, within: bool, tensors: Mapping[str, Tensor]) -> None:
    """Adapt model, optimiser and training data to the experiences so far, as the strategy did when it met them.

    Args:
        strategy: as it was built.
        lessons: experiences, or for joint training streams.
        learnt: how many were learnt.
        within: whether the next one was being learnt.
        tensors: of the model that was saved.
    """
    model = strategy.model.to(strategy.device).train()
    strategy.is_training = True
    for i, lesson in enumerate(lessons[: learnt + within]):
        experiences = list(lesson) if isinstance(lesson, Iterable) else [lesson]
        strategy.experience = experiences[0]
        if isinstance(strategy, JointTraining):
            strategy._experiences = experiences
        if i < learnt:
            strategy.train_dataset_adaptation()
        strategy.check_model_and_optimizer()
    strategy.experience = strategy.adapted_dataset = None
    _add_heads(model, tensors)
    resize(model, tensors)  # evaluation lets heads grow too
    strategy.make_optimizer(reset_optimizer_state=strategy.optimized_param_id is None)
    for plugin in strategy.plugins:
        if isinstance(plugin, MixedPrecision):
            plugin.before_training_exp(strategy)  # teachers are copies of the equipped model


def _add_heads(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Add the heads of tasks that were met in evaluation alone."""
    for path, module in list(model.named_modules()):
        if not isinstance(module, MultiHeadClassifier):
            continue
        start = f"{path}.classifiers.".removeprefix(".")
        for task in {name.removeprefix(start).split(".")[0] for name in tensors if name.startswith(start)}:
            if task not in module.classifiers:
                head = IncrementalClassifier(module.in_features, 1, masking=False, auto_adapt=False)
                module.classifiers[task] = head.to(module._adaptation_device)
                module.register_buffer(f"active_units_T{task}", torch.zeros(1, dtype=torch.int8))
