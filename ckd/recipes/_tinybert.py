"""TinyBERT: a transformer with few layers learns what a deep one's layers give, then what it predicts.

Jiao et al. 2020, arXiv:1909.10351, eq. 7 to 11. In each domain the authors train stage by stage: the layers first.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

from ckd.errors import ConfigError
from ckd.losses import attention_score_mse, soft_cross_entropy, token_mse
from ckd.objective import Adaptor, Objective, Term, tap
from ckd.objective import teacher as output_of
from ckd.outputs import check_path
from ckd.teachers import Fixed

STAGES = ("layers", "prediction")


def tinybert(
    teacher: nn.Module,
    *,
    student_layers: int,
    stage: Literal["layers", "prediction"],
    temperature: float = 1.0,
    label_weight: float = 0.0,
    map_heads: bool = False,
    adaptor_lr: float = 1.0,
    embeddings: str = "embeddings",
    hidden: str = "blocks.{}",
    attention: str = "blocks.{}.attention.scores",
) -> Objective:
    """One stage of TinyBERT; a run of "layers" and then one of "prediction" on the same student is the method.

    "layers" is the sum of the squared differences of the embeddings, and of hidden states and attention scores of each
    student layer m and teacher layer m · N / M, with N layers in the teacher and M in the student. "prediction" is
    `soft_cross_entropy` with the teacher's logits. Padding, id 0, does not count.

    Args:
        teacher: a trained transformer, such as a `ckd.networks.TextTransformer`; it is frozen and put in eval mode.
        student_layers: M.
        stage: "layers" or "prediction".
        temperature: of the prediction; the authors found 1 to do well.
        label_weight: of the training loop's own criterion; the authors use no labels.
        map_heads: learn a map between the heads too, where the student has another number of them.
        adaptor_lr: of the maps from the student's widths to the teacher's, which are learned beside it.
        embeddings: path of the module that gives the embeddings (B, T, D), in student and teacher.
        hidden: paths of those that give hidden states (B, T, D), with {} for the layer, from 0.
        attention: paths of those that give attention scores (B, heads, T, T).

    Returns:
        An objective for one run, by `Engine` or `SelfDistillation`.

    Raises:
        ConfigError: no network, an unknown stage, or M that does not divide N.
        UnknownNameError: a path that the teacher does not have. One that the student does not have is refused at the
            first step.

    Example:
        >>> import torch
        >>> from ckd import Engine, recipes
        >>> from ckd.networks import TextTransformer
        >>> large = TextTransformer(30, 8, 3, width=32, layers=4, heads=4)
        >>> small = TextTransformer(30, 8, 3, width=16, layers=2, heads=4)
        >>> engine = Engine(recipes.tinybert(large, student_layers=2, stage="layers"))
        >>> engine.begin(classes=range(3))
        >>> list(engine.loss(small, torch.tensor([[4, 7, 0], [9, 2, 5]]), torch.tensor([0, 1])).parts)[1:]
        ['embeddings', 'hidden 0 as 1', 'attention 0 as 1', 'hidden 1 as 3', 'attention 1 as 3']
    """
    given: object = teacher
    if not isinstance(given, nn.Module):
        fix = "Pass the trained network itself."
        raise ConfigError("teacher", expected="a network", received=type(given).__name__, fix=fix)
    if stage not in STAGES:
        fix = "Train the layers first, then the prediction."
        raise ConfigError("stage of tinybert", expected=f"one of {', '.join(STAGES)}", received=repr(stage), fix=fix)
    modules = dict(teacher.named_modules())
    pairs = _uniform(student_layers, next(i for i in itertools.count() if hidden.format(i) not in modules))
    if stage == "prediction":
        loss = partial(soft_cross_entropy, temperature=temperature)
        terms = [Term("prediction", target=output_of("teacher"), loss=loss)]
    else:
        for path in (embeddings, *(attention.format(theirs) for _, theirs in pairs)):
            check_path(modules, path, "teacher")
        terms = [_pair("embeddings", embeddings, embeddings, token_mse, Adaptor(lr=adaptor_lr))]
        for ours, theirs in pairs:
            layers = hidden.format(ours), hidden.format(theirs)
            scores = attention.format(ours), attention.format(theirs)
            heads = Adaptor(lr=adaptor_lr) if map_heads else None
            terms += [
                _pair(f"hidden {ours} as {theirs}", *layers, token_mse, Adaptor(lr=adaptor_lr)),
                _pair(f"attention {ours} as {theirs}", *scores, attention_score_mse, heads),
            ]
    criterion = Term("criterion", weight=label_weight)
    return Objective(f"tinybert, {stage}", terms, criterion=criterion, teachers={"teacher": Fixed(teacher)})


def _uniform(ours: int, theirs: int) -> list[tuple[int, int]]:
    """Pairs of layers, from 0: the last of each so many of the teacher's."""
    if ours < 1 or not theirs or theirs % ours:
        expected = f"a divisor of the teacher's {theirs} layers"
        fix = "Build a student of as many layers, or name the teacher's with hidden=..."
        raise ConfigError("layers of the student", expected=expected, received=ours, fix=fix)
    step = theirs // ours
    return [(i, (i + 1) * step - 1) for i in range(ours)]


def _pair(name: str, ours: str, theirs: str, loss: Callable[..., Tensor], adaptor: Adaptor | None) -> Term:
    return Term(name, output=tap(ours), target=output_of("teacher", output=tap(theirs)), loss=loss, adaptor=adaptor)
