"""Replay with logit-adjusted softmax. Huang et al. 2024 (ER-LAS), arXiv:2311.06460; window of one batch."""

from functools import partial

from ckd.losses import check_strength, logit_adjusted_cross_entropy
from ckd.memory import Memory
from ckd.objective import Objective, Term, replay, union
from ckd.recipes.registry import recipe


@recipe(
    "er-las",
    paper="Huang et al. 2024, arXiv:2311.06460",
    stores="inputs, labels",
    cost="2",
    use="class-incremental, online, small budgets",
)
def er_las(
    *, memory_size: int = 200, strength: float = 1.0, memory_batch_size: int | None = None, seed: int = 0
) -> Objective:
    """er, the logits adjusted for how frequent each class is in the batch."""
    check_strength(strength)
    criterion = Term(
        "criterion",
        draw=union(replay("a")),
        loss=partial(logit_adjusted_cross_entropy, strength=strength),
    )
    return Objective(
        "er-las",
        criterion=criterion,
        memory=Memory(memory_size, seed=seed),
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )
