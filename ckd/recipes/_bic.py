"""BiC: distillation, then bias correction. Wu et al. 2019, arXiv:1905.13260, eq. 1 to 4.

The old model that is distilled has its bias corrected, as in the paper. Samples of earlier experiences are rehearsed.
The correction is fitted on a tenth of the memory that never is, current samples among it; what the stream showed once
before it was stored, the paper leaves out of that too.
"""

from ckd.heads import BiasCorrection
from ckd.memory import Balanced, Memory
from ckd.objective import Objective
from ckd.recipes._weighted_distillation import weighted_distillation
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "bic",
    paper="Wu et al. 2019, arXiv:1905.13260",
    stores="inputs, labels, a snapshot, 2 numbers a class",
    cost="2, and the snapshot on both",
    use="class-incremental with boundaries, one head",
)
def bic(
    *,
    memory_size: int = 200,
    temperature: float = 2.0,
    held_out: float = 0.1,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """er and distillation; after each experience, fit scale and shift of the new classes' logits."""
    criterion, distillation = weighted_distillation(temperature, times=1 / temperature**2)
    return Objective(
        "bic",
        [distillation],
        criterion=criterion,
        memory=Memory(memory_size, policy=Balanced("class"), held_out=held_out, earlier_only=True, seed=seed),
        teachers={"snapshot": Snapshot(of_evaluation_model=True)},
        evaluation=BiasCorrection(),
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )
