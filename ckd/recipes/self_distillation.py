"""What `SelfDistillation()` does unless told otherwise: replay, and the past self asked about what is replayed.

Rehearsal as in ER (Chaudhry et al. 2019, arXiv:1902.10486), a snapshot's soft answers as in LwF (Li & Hoiem 2016,
arXiv:1606.09282). On the stream the snapshot is only asked where new classes arrive: where the classes stay and
the inputs change (permuted MNIST) its answers about inputs it never saw cost 2 to 3 points.
"""

from functools import partial

from ckd.losses import check_temperature, kd_per_sample
from ckd.memory import Memory
from ckd.objective import Context, Objective, Term, memory, old_heads, teacher, union
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe("self-distillation", paper="ER with LwF's distillation", stores="inputs, labels, a snapshot")
def self_distillation(
    *,
    memory_size: int = 200,
    distill_weight: float = 1.0,
    stream_weight: float = 1.0,
    temperature: float = 2.0,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """Replay, and match the snapshot on remembered samples; on the stream too where classes are new."""
    check_temperature(temperature)
    kd = partial(kd_per_sample, temperature=temperature)
    familiar = teacher("snapshot", familiar_only=True)
    return Objective(
        "self-distillation",
        [
            Term("memory distillation", draw=memory("a"), target=familiar, loss=kd, weight=distill_weight),
            Term(
                "stream distillation",
                draw=old_heads,
                target=teacher("snapshot"),
                loss=kd,
                weight=partial(_where_classes_are_new, stream_weight),
            ),
        ],
        criterion=Term("criterion", draw=union(memory("a"))),
        memory=Memory(memory_size, seed=seed),
        teachers={"snapshot": Snapshot()},
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )


def _where_classes_are_new(weight: float, context: Context) -> float:
    known, current = context.classes.old.by_task, context.classes.current.by_task
    new = any(classes - known.get(task, frozenset()) for task, classes in current.items())
    return weight if new else 0.0
