"""What `SelfDistillation()` does unless told otherwise: ballast where new classes come, tether's parts where none do.

Whether classes come is seen when an experience begins. Where they do, a snapshot of the average distils the old classes
on stream and memory, nothing holds the weights, and a discriminant predicts beside the head. Where none does, the
stream's samples belong to old classes, on which the old self would contradict the labels: there it is asked about
collages of the memory, and the weights are anchored.
Sources: `ckd.recipes.ballast`, `ckd.recipes.tether`.
"""

from functools import partial

from ckd.anchors import Anchor, Kronecker
from ckd.heads import LinearDiscriminant
from ckd.objective import Moment, Objective
from ckd.recipes._ballast import ballast
from ckd.recipes._tether import collage_distillation
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "self-distillation",
    paper="ballast and tether",
    stores="inputs, labels, two averaged models, class means and a covariance; Kronecker factors where classes stay",
    cost="2, and the snapshot on both; where classes stay 3, the snapshot on the memory, and the pull",
    use="the default, with boundaries",
)
def self_distillation(
    *,
    memory_size: int = 200,
    distill_weight: float = 1.0,
    anchor_weight: float = 3.0,
    decay: float = 0.99,
    discriminant: int = 1,
    limit_factor: float = 2.0,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """ballast where new classes come; where none do, distillation on collages and tether's pull; the default."""
    collages = collage_distillation("collages", partial(_where_classes_stay, distill_weight))
    base = ballast(
        memory_size=memory_size,
        distill_weight=distill_weight,
        decay=decay,
        discriminant=discriminant,
        limit_factor=limit_factor,
        memory_batch_size=memory_batch_size,
        seed=seed,
    )
    shared = [one.past for one in base.chain() if isinstance(one, LinearDiscriminant)]
    snapshot = base.teachers.get("snapshot", shared[0] if shared else Snapshot(of_evaluation_model=bool(decay)))
    anchor = Anchor(snapshot, Kronecker(), weight=anchor_weight, while_classes_stay=True, seed=seed)
    return base.extend(
        *([collages] if distill_weight else []),
        name="self-distillation",
        teachers={"snapshot": snapshot} if distill_weight or anchor_weight else {},
        anchor=anchor if anchor_weight else None,
    )


def _where_classes_stay(weight: float, moment: Moment) -> float:
    return weight if len(moment.classes.old) and not len(moment.classes.new) else 0.0
