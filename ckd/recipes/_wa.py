"""WA: distillation, then weight aligning. Zhao et al. 2020, arXiv:1911.07053, eq. 3 to 7.

The memory is balanced over classes at all times, where the paper herds at boundaries; samples of earlier experiences
are drawn. Weights are not clipped to be positive. A draw from memory stands beside every batch, where the paper mixes
exemplars into the data: after little training the newest weights can then be shorter than the old ones, and aligning
them does harm. Distillation has T² = 4 times the paper's weight: with the paper's it is 5 to 10 points worse on split
MNIST.
"""

from ckd.heads import WeightAligning
from ckd.memory import Balanced, Memory
from ckd.objective import Objective
from ckd.recipes._weighted_distillation import weighted_distillation
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "wa",
    paper="Zhao et al. 2020, arXiv:1911.07053",
    stores="inputs, labels, a snapshot",
    cost="2, and the snapshot on both",
    use="long training, many exemplars, one head",
)
def wa(
    *, memory_size: int = 200, temperature: float = 2.0, memory_batch_size: int | None = None, seed: int = 0
) -> Objective:
    """er and distillation; after each experience, align the head's new weights with the old."""
    criterion, distillation = weighted_distillation(temperature)
    return Objective(
        "wa",
        [distillation],
        criterion=criterion,
        memory=Memory(memory_size, policy=Balanced("class"), earlier_only=True, seed=seed),
        teachers={"snapshot": Snapshot()},
        corrections=[WeightAligning()],
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )
