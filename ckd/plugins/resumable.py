"""What a checkpoint keeps of an Avalanche strategy, and which strategies and plugins it knows."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from avalanche.benchmarks.utils.data_loader import MultiDatasetDataLoader
from avalanche.models import MultiTaskModule
from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import BaseSGDTemplate, PeriodicEval
from avalanche.training.templates.update_type import SGDUpdate
from torch import nn

from ckd.checkpoint import describe, model_state, optimiser_state, restore_model, restore_optimiser
from ckd.checkpoint.about import about_engine, about_optimiser
from ckd.data.resident_loader import ResidentLoader
from ckd.errors import ConfigError
from ckd.plugins.distillation import SelfDistillation

WITHOUT_STATE = (Clock, EvaluationPlugin, PeriodicEval)
"""Plugins of Avalanche whose state no step depends on; the clock is saved apart."""

STRATEGIES = {"naive", "cumulative", "joint_training", "strategy_wrappers"}
"""Modules of Avalanche whose strategies keep no state but the data so far."""

LABELS = 256
"""Of an experience, by which it is known again; some more where the number does not divide."""

APART = "Leave Checkpoint out, or write a plugin with state_dict() and load_state_dict(state, strategy)."


def check_strategy(strategy: Any, *, within: bool) -> None:
    """Raise a ConfigError for a strategy or a plugin with state that is not known, which would be lost unsaid.

    Args:
        strategy: what trains.
        within: whether there are checkpoints within experiences.
    """
    kind = type(strategy)
    if kind.__module__.startswith("avalanche.") and kind.__module__.rpartition(".")[2] not in STRATEGIES:
        _refuse("a strategy whose state is known, such as Naive or Cumulative", kind.__name__)
    for plugin in strategy.plugins:
        if not _known(plugin):
            _refuse("plugins whose state is known", type(plugin).__name__)
    if within and (
        kind._train_exp is not BaseSGDTemplate._train_exp or kind.training_epoch is not SGDUpdate.training_epoch
    ):
        _refuse("Avalanche's own loop over epochs and mini-batches, for checkpoints within one", kind.__name__)


def check_loader(loader: Any) -> None:
    """Raise a ConfigError for a loader that draws an order in the middle of an epoch."""
    if isinstance(loader, ResidentLoader):
        several, cycled = len(loader.sources) > 1, loader.oversample
    elif isinstance(loader, MultiDatasetDataLoader):
        several, cycled = len(loader.datasets) > 1, loader.oversample_small_datasets
    else:
        return
    if several and cycled:
        raise ConfigError(
            "checkpoints within an experience",
            expected="a loader that draws its order once in an epoch",
            received="one that serves a smaller data set again and again",
            fix="Write Checkpoint(folder) without `every`, for checkpoints after each experience.",
        )


def about(strategy: Any, lessons: Sequence[Any]) -> dict[str, Any]:
    """Which run it is, as facts that must be the same when a checkpoint is taken up."""
    facts = {
        "strategy": type(strategy).__name__,
        "plugins": [type(plugin).__name__ for plugin in strategy.plugins],
        "model": describe(strategy.model),
        "batch size": strategy.train_mb_size,
        "epochs": strategy.train_epochs,
        **about_optimiser(strategy.optimizer),
        "experiences": [_data_of(lesson) for lesson in lessons],
    }
    for plugin in strategy.plugins:
        if isinstance(plugin, SelfDistillation):
            facts |= about_engine(plugin.engine)
    return facts


def saved(strategy: Any) -> dict[str, Any]:
    """The state of model, optimiser and plugins."""
    heads = {path: [head.max_class_label, sorted(head.known_train_tasks_labels)] for path, head in _heads(strategy)}
    return {
        "model": model_state(strategy.model),
        "heads": heads,
        "optimizer": optimiser_state(strategy.optimizer, strategy.optimized_param_id or {}),
        "plugins": [_state_of(plugin) for plugin in strategy.plugins],
    }


def restore(strategy: Any, state: Mapping[str, Any]) -> None:
    """Restore what `saved` returned; the model has the modules that it had then."""
    restore_model(strategy.model, state["model"])
    for path, head in _heads(strategy):
        head.max_class_label, tasks = state["heads"][path]
        head.known_train_tasks_labels = set(tasks)
    for plugin, own in zip(strategy.plugins, state["plugins"], strict=True):
        if isinstance(plugin, LRSchedulerPlugin):
            plugin.scheduler.load_state_dict(own)
        elif own is not None:
            plugin.load_state_dict(own, strategy)
    restore_optimiser(strategy.optimizer, state["optimizer"], strategy.optimized_param_id or {})


def _state_of(plugin: Any) -> Any:
    if isinstance(plugin, LRSchedulerPlugin):
        return plugin.scheduler.state_dict()
    return plugin.state_dict() if hasattr(plugin, "load_state_dict") else None


def _known(plugin: Any) -> bool:
    """Whether all of its state is saved, or it has none."""
    if isinstance(plugin, LRSchedulerPlugin):
        return plugin.metric is None
    if isinstance(plugin, WITHOUT_STATE) or hasattr(plugin, "load_state_dict"):
        return True
    return not type(plugin).__module__.startswith("avalanche.")


def _heads(strategy: Any) -> list[tuple[str, Any]]:
    """Avalanche's modules with heads for tasks, which count them outside of their state_dict."""
    model: nn.Module = strategy.model
    return [(path, module) for path, module in model.named_modules() if isinstance(module, MultiTaskModule)]


def _data_of(lesson: Any) -> list[int]:
    """How many samples there are, and a checksum over some of their labels; of several experiences over all."""
    sums = [0, 0]
    for experience in lesson if isinstance(lesson, Iterable) else [lesson]:
        targets = experience.dataset.targets
        some = range(0, len(targets), max(1, len(targets) // LABELS))  # Avalanche reads them one at a time
        labels = torch.tensor([int(targets[i]) for i in some])
        sums = [sums[0] + len(targets), zlib.crc32(labels.numpy().tobytes(), sums[1])]
    return sums


def _refuse(expected: str, received: str) -> None:
    raise ConfigError("Checkpoint", expected=expected, received=received, fix=APART)
