"""Cross entropy and distillation, weighted by how many classes are old: what WA and BiC train with.

Wu et al. 2019 (BiC), arXiv:1905.13260, eq. 1; Zhao et al. 2020 (WA), arXiv:1911.07053, eq. 3. Their distillation lacks
the factor T² of `ckd.losses.kd`. bic takes it back; wa, which is worse without it, does not.
"""

from functools import partial

from ckd.losses import check_temperature, kd
from ckd.objective import Moment, Term, old, replay, teacher, union


def weighted_distillation(temperature: float, times: float = 1.0) -> tuple[Term, Term]:
    """The criterion with weight 1 - λ and the distillation of old classes, λ `times` so much, on stream and memory."""
    check_temperature(temperature)
    distillation = Term(
        "distillation",
        draw=union(replay("a")),
        target=teacher("snapshot"),
        loss=partial(kd, temperature=temperature),
        groups=old,
        weight=partial(share_of_old_classes, times=times),
    )
    return Term("criterion", draw=union(replay("a")), weight=share_of_new_classes), distillation


def share_of_old_classes(moment: Moment, times: float = 1.0) -> float:
    """λ: old classes over all classes seen; 0 where no class is new, as there nothing is out of balance."""
    n_old, n_seen = len(moment.classes.old), len(moment.classes.seen)
    return times * n_old / n_seen if n_old < n_seen else 0.0


def share_of_new_classes(moment: Moment) -> float:
    """1 - λ."""
    return 1 - share_of_old_classes(moment)
