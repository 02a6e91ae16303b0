"""What `SelfDistillation()` does unless told otherwise: DER++, and the last snapshot where the classes stay.

The learner matches two of its past selves on remembered samples: the logits that it gave when a sample was stored
(Buzzega et al. 2020, arXiv:2004.07211) and, where no new class arrives, the soft predictions of a snapshot taken at the
last boundary (Li & Hoiem 2016, arXiv:1606.09282). Where new classes arrive a snapshot passes on the bias of its time,
towards the classes that it learnt last; there the stored logits alone are matched.
"""

from functools import partial

from ckd.losses import check_temperature, kd
from ckd.objective import Moment, Objective, Term, replay, teacher
from ckd.recipes._der_plus_plus import der_plus_plus
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "self-distillation",
    paper="DER++ with a snapshot",
    stores="inputs, labels, logits, a snapshot",
    cost="3, and the snapshot on the memory",
    use="the default",
)
def self_distillation(
    *,
    memory_size: int = 200,
    alpha: float = 0.5,
    beta: float = 1.0,
    distill_weight: float = 1.0,
    temperature: float = 2.0,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """der++, and the snapshot's soft predictions on remembered samples where no class is new; the default."""
    check_temperature(temperature)
    base = der_plus_plus(
        memory_size=memory_size, alpha=alpha, beta=beta, memory_batch_size=memory_batch_size, seed=seed
    )
    distillation = Term(
        "distillation",
        draw=replay("a"),
        target=teacher("snapshot", past_only=True),
        loss=partial(kd, temperature=temperature),
        weight=partial(_where_classes_stay, distill_weight),
    )
    return base.extend(distillation, name="self-distillation", teachers={"snapshot": Snapshot()})


def _where_classes_stay(weight: float, moment: Moment) -> float:
    known, current = moment.classes.old.by_task, moment.classes.current.by_task
    new = any(classes - known.get(task, frozenset()) for task, classes in current.items())
    return 0.0 if new else weight
