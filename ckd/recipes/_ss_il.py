"""SS-IL: separated softmax. Ahn et al. 2021, arXiv:2003.13947.

A draw from memory stands beside every batch, of any size, as in the paper's ratio-preserving batch; it holds samples of
earlier experiences alone. The memory is balanced over classes at all times.
"""

from functools import partial

from ckd.losses import check_temperature, cross_entropy, kd
from ckd.memory import Balanced, Memory
from ckd.objective import Objective, Term, each_old_experience, old_or_current, replay, teacher, union
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "ss-il",
    paper="Ahn et al. 2021, arXiv:2003.13947",
    stores="inputs, labels, a snapshot",
    cost="2, and the snapshot on both",
    use="class-incremental with boundaries",
)
def ss_il(
    *,
    memory_size: int = 200,
    distill_weight: float = 1.0,
    temperature: float = 2.0,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """Replay with a softmax each for old and for current classes; distil each past experience by itself."""
    check_temperature(temperature)
    distillation = Term(
        "distillation",
        draw=union(replay("a")),
        target=teacher("snapshot"),
        loss=partial(kd, temperature=temperature),
        groups=each_old_experience,
        weight=distill_weight,
    )
    criterion = Term("criterion", draw=union(replay("a")), loss=cross_entropy, groups=old_or_current)
    return Objective(
        "ss-il",
        [distillation],
        criterion=criterion,
        memory=Memory(memory_size, policy=Balanced("class"), earlier_only=True, seed=seed),
        teachers={"snapshot": Snapshot()},
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )
