"""WA: distillation, then weight aligning. Zhao et al. 2020, arXiv:1911.07053, eq. 3 to 7.

λ is the share of old classes. The memory is balanced over classes at all times, where the paper herds at boundaries;
weights are not clipped to be positive.
"""

from functools import partial

from ckd.answers import WeightAligning
from ckd.losses import check_temperature, kd_per_sample
from ckd.memory import Balanced, Memory
from ckd.objective import Context, Objective, Term, memory, old, teacher, union
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe("wa", paper="Zhao et al. 2020, arXiv:1911.07053", stores="inputs, labels, a snapshot")
def wa(
    *, memory_size: int = 200, temperature: float = 2.0, memory_batch_size: int | None = None, seed: int = 0
) -> Objective:
    """Replay and distil old classes; after each experience, align the head's new weights with the old."""
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
        "wa",
        [distillation],
        criterion=Term("criterion", draw=union(memory("a")), weight=share_of_new_classes),
        memory=Memory(memory_size, policy=Balanced("class"), seed=seed),
        teachers={"snapshot": Snapshot()},
        corrections=[WeightAligning()],
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )


def share_of_old_classes(context: Context) -> float:
    """λ: old classes over all classes seen; 0 where no class is new, as there nothing is out of balance."""
    n_old, n_seen = len(context.classes.old), len(context.classes.seen)
    return n_old / n_seen if n_old < n_seen else 0.0


def share_of_new_classes(context: Context) -> float:
    """1 - λ."""
    return 1 - share_of_old_classes(context)
