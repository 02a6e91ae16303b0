"""Mean-ER: replay with an averaged teacher. Arani et al. 2022 (CLS-ER), arXiv:2201.12604, section 4.

The single-average form of CLS-ER. Its settings on a benchmark are CLS-ER's stable average's where none are published.
"""

from ckd.losses import logit_mse
from ckd.memory import Memory
from ckd.objective import Objective, Term, replay, teacher, union
from ckd.recipes.registry import recipe
from ckd.teachers import Ema


@recipe(
    "mean-er",
    paper="Arani et al. 2022, arXiv:2201.12604",
    stores="inputs, labels, an averaged model",
    cost="2, and the average on the memory",
    use="class-incremental; no task boundaries",
)
def mean_er(
    *,
    memory_size: int = 200,
    consistency_weight: float = 0.15,
    decay: float = 0.99,
    rate: float = 1.0,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """er; match an average of the weights on remembered samples, and evaluate with it."""
    ema = Ema(decay, rate=rate, seed=seed)
    consistency = Term(
        "consistency", draw=replay("a"), target=teacher("ema"), loss=logit_mse, weight=consistency_weight
    )
    return Objective(
        "mean-er",
        [consistency],
        criterion=Term("criterion", draw=union(replay("a"))),
        memory=Memory(memory_size, seed=seed),
        teachers={"ema": ema},
        evaluation=ema,
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )
