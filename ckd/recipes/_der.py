"""Dark Experience Replay. Buzzega et al. 2020, arXiv:2004.07211, eq. 4.

The squared error is averaged over classes and batch, as in the authors' code, which their α assumes.
"""

from ckd.losses import logit_mse
from ckd.memory import Memory
from ckd.objective import Objective, Term, replay, stored_logits
from ckd.recipes.registry import recipe


@recipe(
    "der",
    paper="Buzzega et al. 2020, arXiv:2004.07211",
    stores="inputs, labels, logits",
    cost="2",
    use="no task boundaries",
)
def der(
    *, memory_size: int = 200, alpha: float = 0.5, memory_batch_size: int | None = None, seed: int = 0
) -> Objective:
    """Match the logits that were stored when a sample was first seen."""
    logits = Term("logits", draw=replay("a"), target=stored_logits, loss=logit_mse, weight=alpha)
    return Objective("der", [logits], memory=Memory(memory_size, seed=seed), memory_batch_size=memory_batch_size)
