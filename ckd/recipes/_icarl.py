"""iCaRL: herded exemplars, sigmoid distillation, nearest-mean classification. Rebuffi et al. 2017, arXiv:1611.07725.

The exemplars are drawn beside every batch of the stream, where the paper mixes them into the data of the experience.
"""

from ckd.heads import NearestMean
from ckd.losses import binary_cross_entropy
from ckd.memory import HerdedMemory
from ckd.objective import Objective, Term, old_probabilities, replay, union
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "icarl",
    paper="Rebuffi et al. 2017, arXiv:1611.07725",
    stores="inputs, labels, a snapshot, class means",
    cost="2, and the snapshot on both",
    use="class-incremental with boundaries, one head",
)
def icarl(*, memory_size: int = 200, memory_batch_size: int | None = None, seed: int = 0) -> Objective:
    """Sigmoid distillation on herded exemplars; evaluate with the nearest class mean."""
    return Objective(
        "icarl",
        criterion=Term(
            "criterion",
            draw=union(replay("a")),
            target=old_probabilities("snapshot"),
            loss=binary_cross_entropy,
        ),
        memory=HerdedMemory(memory_size, seed=seed),
        teachers={"snapshot": Snapshot()},
        evaluation=NearestMean(),
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )
