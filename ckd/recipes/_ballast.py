"""Ballast: an averaged past self that knows no recent classes better than others teaches the old ones.

Ours, of known parts: the criterion's logits are adjusted for how frequent each class is in stream and memory (Menon et
al. 2021, arXiv:2007.07314; Huang et al. 2024, arXiv:2311.06460), the memory is herded and equal for all classes
(Rebuffi et al. 2017, arXiv:1611.07725), an average of the weights predicts (Arani et al. 2022, arXiv:2201.12604), and a
snapshot distils the old classes on stream and memory (Li & Hoiem 2016, arXiv:1606.09282) with the share of old classes
as its weight (Wu et al. 2019, arXiv:1905.13260). The snapshot is taken of that average. A linear discriminant, whose
class means follow the network as it changes (Gomez-Villa et al. 2024, arXiv:2407.08536), predicts beside the head. What
the parts brought: benchmarks/results/ballast_parts.md.
"""

from functools import partial

from ckd.anchors import StepLimit
from ckd.heads import LinearDiscriminant
from ckd.losses import LogitAdjusted, check_temperature, kd, logit_mse
from ckd.memory import Balanced, BoundaryMemory, Memory
from ckd.objective import Moment, Objective, Term, old, replay, stored_logits, teacher, union
from ckd.part import EvaluationModel
from ckd.recipes._weighted_distillation import share_of_old_classes
from ckd.recipes.registry import recipe
from ckd.teachers import Ema, Snapshot


@recipe(
    "ballast",
    paper="ours",
    stores="inputs, labels, two averaged models, class means and a covariance",
    cost="2, and the snapshot on both",
    use="class-incremental with boundaries",
)
def ballast(
    *,
    memory_size: int = 200,
    strength: float = 1.5,
    window: float = 50.0,
    warm_up: float = 300.0,
    herded: int = 1,
    distill_weight: float = 1.0,
    temperature: float = 2.0,
    snapshot_of_average: int = 1,
    logit_weight: float = 0.0,
    decay: float = 0.995,
    discriminant: int = 1,
    limit_factor: float = 2.0,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """er, logits adjusted for class frequency; a snapshot of an average distils old classes; the average predicts.

    The adjustment is stronger than the frequencies say (`strength`), as the few remembered samples of old
    classes are learnt by heart, and grows where classes have just come, so that these are learnt at all. With
    `herded=0` samples enter the memory as they come, and stored logits can be matched (`logit_weight`). With
    `discriminant=0` the head alone predicts; the snapshot teaches what the head says in any case. Gradients are limited
    to `limit_factor` times what is usual; 0 is no limit.
    """
    check_temperature(temperature)
    average, discriminants = [Ema(decay)] if decay else [], [LinearDiscriminant()] if discriminant else []
    of_average = bool(average and snapshot_of_average)
    shared = [one.past for one in discriminants if of_average == bool(average)]  # kept once
    snapshot = shared[0] if shared else Snapshot(of_evaluation_model=of_average)
    predicts: list[EvaluationModel] = [*average, *discriminants]
    distillation = Term(
        "distillation",
        draw=union(replay("a")),
        target=teacher("snapshot"),
        loss=partial(kd, temperature=temperature),
        groups=old,
        weight=partial(_where_classes_come, distill_weight),
    )
    matching = Term("logits", draw=replay("a"), target=stored_logits, loss=logit_mse, weight=logit_weight)
    return Objective(
        "ballast",
        [*([distillation] if distill_weight else []), *([matching] if logit_weight else [])],
        criterion=Term(
            "criterion", draw=union(replay("a")), loss=LogitAdjusted(strength, window=window, warm_up=warm_up)
        ),
        memory=(
            BoundaryMemory(memory_size, seed=seed)
            if herded
            else Memory(memory_size, policy=Balanced("both"), seed=seed)
        ),
        teachers={"snapshot": snapshot} if distill_weight else {},
        evaluation={"default": predicts, "average": average} if average else predicts or None,
        memory_batch_size=memory_batch_size,
        limit=StepLimit(limit_factor) if limit_factor else None,
        joint_with_batchnorm=True,
    )


def _where_classes_come(weight: float, moment: Moment) -> float:
    """`weight` times old classes over all; 0 where no class is new, as the stream's samples then belong to old ones."""
    return weight * share_of_old_classes(moment)
