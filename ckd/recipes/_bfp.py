"""DER++ with backward feature projection. Gu, Shim & Shkurti 2023, arXiv:2303.14595, eq. 4 and 5.

The features are those that the head takes in (the code's --final_feat), and their distance is a root mean square, as in
the authors' code; the logits that are matched are the stored ones, as in DER++, where that code takes the old network's
on CIFAR.
"""

from functools import partial

from ckd.losses import feature_distance
from ckd.objective import Adaptor, Objective, Term, features, replay, teacher, union
from ckd.recipes._der_plus_plus import der_plus_plus
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "bfp",
    paper="Gu et al. 2023, arXiv:2303.14595",
    stores="inputs, labels, logits, a snapshot, a projection",
    cost="4, and the snapshot on stream and memory",
    use="class-incremental with boundaries, one head",
)
def bfp(
    *,
    memory_size: int = 200,
    alpha: float = 0.5,
    beta: float = 0.5,
    feature_weight: float = 1.0,
    projection_lr: float = 0.1,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """der++, and the snapshot's features up to a learned linear map, on stream and memory."""
    distance = Term(
        "features",
        draw=union(replay("c")),
        target=teacher("snapshot", output=features),
        loss=partial(feature_distance, root_mean_square=True),
        weight=feature_weight,
        output=features,
        adaptor=Adaptor(lr=projection_lr, renew=True, seed=seed),
    )
    base = der_plus_plus(
        memory_size=memory_size, alpha=alpha, beta=beta, memory_batch_size=memory_batch_size, seed=seed
    )
    return base.extend(distance, name="bfp", teachers={"snapshot": Snapshot()})
