"""Tether: the old weights hold the new where predictions depend on them, and the old self teaches on collages.

Ours, of known parts. The anchor is the online structured Laplace approximation of Ritter et al. 2018, arXiv:1805.07810,
its step taken exactly; memory is rehearsed as in DER++ (Buzzega et al. 2020, arXiv:2004.07211); the old self is an
average of the weights (Tarvainen & Valpola 2017, arXiv:1703.01780), which also evaluates, as in CLS-ER
(arXiv:2201.12604). What we did not find elsewhere is to distil collages within an experience, and the exact step. What
each part is worth: benchmarks/results/tether.md.
"""

from functools import partial

from ckd.anchors import Anchor, Kronecker, StepLimit
from ckd.errors import ConfigError
from ckd.losses import check_temperature, kd
from ckd.objective import Objective, Term, replay, teacher
from ckd.objective.term import Weight
from ckd.recipes._der_plus_plus import der_plus_plus
from ckd.recipes.registry import recipe
from ckd.teachers import Ema, Snapshot
from ckd.views import Collage


@recipe(
    "tether",
    paper="ours",
    stores="inputs, labels, logits, two averaged models, Kronecker factors",
    cost="4, the snapshot on the memory, and the pull",
    use="domain-incremental with boundaries",
)
def tether(
    *,
    memory_size: int = 200,
    logit_weight: float = 0.2,
    rehearsal_weight: float = 0.5,
    distill_weight: float = 1.0,
    temperature: float = 1.0,
    collage_of: int = 2,
    anchor_weight: float = 3.0,
    anchor_samples: int = 2000,
    anchor_rank: int | None = None,
    decay: float = 0.985,
    limit_factor: float = 2.0,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """der++, distillation on collages of the memory, and a pull towards the old weights; evaluate with an average.

    Gradients are bounded by twice their usual norm (`limit_factor`), without which the recipe's rates
    and weights are safe on one data set and not on the next.
    """
    check_temperature(temperature)
    if collage_of < 1:
        raise ConfigError("samples in a collage", expected="1 or more", received=collage_of, fix="1 mixes nothing.")
    snapshot = Snapshot(of_evaluation_model=True)
    distillation = collage_distillation("distillation", distill_weight, temperature, collage_of)
    anchor = Anchor(snapshot, Kronecker(rank=anchor_rank), weight=anchor_weight, samples=anchor_samples, seed=seed)
    base = der_plus_plus(
        memory_size=memory_size,
        alpha=logit_weight,
        beta=rehearsal_weight,
        memory_batch_size=memory_batch_size,
        seed=seed,
    )
    return base.extend(
        *([distillation] if distill_weight else []),
        name="tether",
        teachers={"snapshot": snapshot} if distill_weight or anchor_weight else {},
        anchor=anchor if anchor_weight else None,
        limit=StepLimit(limit_factor) if limit_factor else None,
        evaluation=Ema(decay) if decay else None,
    )


def collage_distillation(name: str, weight: Weight, temperature: float = 1.0, collage_of: int = 2) -> Term:
    """The snapshot's soft predictions on collages of samples that it has met."""
    return Term(
        name,
        draw=replay("c"),
        target=teacher("snapshot", past_only=True),
        loss=partial(kd, temperature=temperature),
        weight=weight,
        view=Collage(collage_of) if collage_of > 1 else None,
    )
