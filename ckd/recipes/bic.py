"""BiC: distillation, then bias correction. Wu et al. 2019, arXiv:1905.13260, eq. 1 to 4.

The old model that is distilled answers with its bias corrected, as in the paper. The correction is fitted on the
balanced memory, where the paper holds samples out of training for it.
"""

from functools import partial

from ckd.answers import BiasCorrection
from ckd.losses import check_temperature, kd_per_sample
from ckd.memory import Balanced, Memory
from ckd.objective import Objective, Term, memory, old, teacher, union
from ckd.recipes.registry import recipe
from ckd.recipes.wa import share_of_new_classes, share_of_old_classes
from ckd.teachers import Snapshot


@recipe("bic", paper="Wu et al. 2019, arXiv:1905.13260", stores="inputs, labels, a snapshot, 2 numbers a class")
def bic(
    *, memory_size: int = 200, temperature: float = 2.0, memory_batch_size: int | None = None, seed: int = 0
) -> Objective:
    """Replay and distil old classes; after each experience, fit scale and shift of the new classes' logits."""
    check_temperature(temperature)
    distillation = Term(
        "distillation",
        draw=union(memory("a")),
        target=teacher("snapshot"),
        loss=partial(kd_per_sample, temperature=temperature),
        groups=old,
        weight=share_of_old_classes,
    )
    return Objective(
        "bic",
        [distillation],
        criterion=Term("criterion", draw=union(memory("a")), weight=share_of_new_classes),
        memory=Memory(memory_size, policy=Balanced("class"), seed=seed),
        teachers={"snapshot": Snapshot(of_answer=True)},
        answers=BiasCorrection(),
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )
