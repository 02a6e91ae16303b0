"""Strategies that an objective cannot work in, refused when training starts or as soon as they show it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from avalanche.models import FeatureExtractorModel, SCRModel, TrainEvalModel
from avalanche.models.packnet import PackNetModule
from avalanche.training import AR1, DER, ER_ACE, ER_AML, AETraining, LearningToPrompt, VAETraining
from avalanche.training.losses import ICaRLLossPlugin
from avalanche.training.plugins import CoPEPlugin, GDumbPlugin
from avalanche.training.templates.update_type import MetaUpdate
from torch import nn

from ckd.classes import ClassSet
from ckd.engine.life_cycle import ONE_RUN
from ckd.errors import ConfigError, DataError
from ckd.objective import Objective

APART = "Use SelfDistillation in Naive, or this strategy without it."
ADD_TERMS = "Use a recipe that adds terms and leaves the criterion alone, such as der++."
ONE_MODEL = "one model for the whole run"
OWN_LOSS = "a strategy whose loss is its criterion's"
SAME_BATCH = "mini-batches that stay as the loader serves them"
LOGITS = "a model that returns logits"


def _always(strategy: Any, objective: Objective) -> bool:
    return True


def _looks_back(strategy: Any, objective: Objective) -> bool:
    return objective.memory is not None or bool(objective.teachers)


def _has_teachers(strategy: Any, objective: Objective) -> bool:
    return bool(objective.teachers)


def _replaces_criterion(strategy: Any, objective: Objective) -> bool:
    return objective.criterion is not None


def _looks_behind_mask(strategy: Any, objective: Objective) -> bool:
    return bool(strategy.use_mask) and _looks_back(strategy, objective)


UNSUITABLE: tuple[tuple[type, Callable[[Any, Objective], bool], str, str, str], ...] = (
    (MetaUpdate, _always, "one optimiser step for each mini-batch", "one that takes inner and outer steps", APART),
    (GDumbPlugin, _always, ONE_MODEL, "GDumb, which trains a new one at each experience", APART),
    (CoPEPlugin, _always, LOGITS, "CoPE, whose model returns embeddings", APART),
    (SCRModel, _always, LOGITS, "an SCRModel, which returns embeddings", APART),
    (AETraining, _always, LOGITS, "an autoencoder", APART),
    (VAETraining, _always, LOGITS, "an autoencoder", APART),
    (DER, _always, SAME_BATCH, "DER, which adds samples of its own memory", APART),
    (AR1, _always, SAME_BATCH, "AR1, which adds features of its own memory", APART),
    (FeatureExtractorModel, _looks_back, "a model without state", "one that keeps its last features", APART),
    (PackNetModule, _looks_back, "a model that takes samples of several tasks in one batch", "a PackNet model", APART),
    (TrainEvalModel, _has_teachers, "a model with one head", "one with another head in evaluation mode", APART),
    (LearningToPrompt, _looks_behind_mask, "logits for old classes", "minus infinity", "Write use_mask=False."),
    (ICaRLLossPlugin, _replaces_criterion, OWN_LOSS, "ICaRL, whose loss looks at the mini-batch", ADD_TERMS),
    (ER_ACE, _replaces_criterion, OWN_LOSS, "ER_ACE, which has another from the second experience on", ADD_TERMS),
    (ER_AML, _replaces_criterion, OWN_LOSS, "ER_AML, which has another from the second experience on", ADD_TERMS),
)
"""Strategies, plugins and models of Avalanche, and the objectives that they cannot work with.

What happens in them can be told from their class alone, before it happens; `step_hooks` notices the like in others.
"""


def refuse_strategy(strategy: Any, objective: Objective) -> None:
    """Raise a ConfigError for a strategy in which the objective cannot work. For before_training."""
    if getattr(strategy, "optimizer", None) is None:
        _refuse(strategy, objective, "a strategy that trains with an optimiser", "one without", APART)
    for kind, applies, expected, received, fix in UNSUITABLE:
        found = any(isinstance(it, kind) for it in (strategy, strategy.model, *strategy.plugins))
        if found and applies(strategy, objective):
            _refuse(strategy, objective, expected, received, fix)


def refuse_another_student(strategy: Any, objective: Objective, student: Trained | None) -> None:
    """Raise a ConfigError for another model than that of earlier steps. For before_training and before_training_exp."""
    if student is None or student.model() is strategy.model:
        return
    if student.strategy() is not strategy:
        what = f"objective {objective.name!r}"
        raise ConfigError(what, expected="the student that it trained before", received="another one", fix=ONE_RUN)
    received = "another one, which the strategy or one of its plugins put in its place"
    _refuse(strategy, objective, ONE_MODEL, received, "Let it change the weights, not the model.")


class Trained:
    """A student and the strategy that trains it, neither kept alive; for `refuse_another_student`."""

    def __init__(self, strategy: Any) -> None:
        self.model: weakref.ref[nn.Module] = weakref.ref(strategy.model)
        self.strategy = weakref.ref(strategy)


def refuse_unmet_classes(strategy: Any, objective: Objective, seen: ClassSet) -> None:
    """Raise a DataError if the strategy trains on classes that are not the experience's, nor of an earlier one.

    For before_training_exp, after the classes of the experience were met. An objective without terms or memory does
    not look at classes, and may accompany joint training.
    """
    if not objective.all_terms and objective.memory is None:
        return
    unmet = sorted({int(c) for c in strategy.adapted_dataset.targets.uniques} - set(seen.indices))
    if unmet:
        raise DataError(
            f"objective {objective.name!r} in {type(strategy).__name__}",
            expected="training data of the experience and those before it",
            received=f"samples of class {unmet[0]}, which comes later",
            fix="Train jointly without SelfDistillation; `ckd run` has the recipe joint.",
        )


def _refuse(strategy: Any, objective: Objective, expected: str, received: str, fix: str) -> None:
    what = f"objective {objective.name!r} in {type(strategy).__name__}"
    raise ConfigError(what, expected=expected, received=received, fix=fix)
