"""CLS-ER: replay with a plastic and a stable average. Arani et al. 2022, arXiv:2201.12604, algorithm 1.

Unlike the authors' code, the averages run in eval mode with averaged BatchNorm statistics, and the student
sees the remembered samples once, in the joint forward pass, where the code shows it them twice.
"""

from ckd.losses import logit_mse
from ckd.memory import Memory
from ckd.objective import Objective, Term, best_teacher, replay, union
from ckd.recipes.registry import recipe
from ckd.teachers import Ema


@recipe(
    "cls-er",
    paper="Arani et al. 2022, arXiv:2201.12604",
    stores="inputs, labels, two averaged models",
    cost="2, and both averages on the memory",
    use="as mean-er",
)
def cls_er(
    *,
    memory_size: int = 200,
    consistency_weight: float = 0.15,
    plastic_decay: float = 0.99,
    plastic_rate: float = 1.0,
    stable_decay: float = 0.99,
    stable_rate: float = 0.9,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """mean-er with two averages, for each sample the one that knows its label better."""
    stable = Ema(stable_decay, rate=stable_rate, seed=2 * seed)
    plastic = Ema(plastic_decay, rate=plastic_rate, seed=2 * seed + 1)
    consistency = Term(
        "consistency",
        draw=replay("a"),
        target=best_teacher(("stable", "plastic")),
        loss=logit_mse,
        weight=consistency_weight,
    )
    return Objective(
        "cls-er",
        [consistency],
        criterion=Term("criterion", draw=union(replay("a"))),
        memory=Memory(memory_size, seed=seed),
        teachers={"stable": stable, "plastic": plastic},
        evaluation=stable,
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )
