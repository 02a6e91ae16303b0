"""DER++: DER plus labels. Buzzega et al. 2020, arXiv:2004.07211, eq. 6.

The labels' draw is independent of the logits' draw, as in the paper's algorithm 2.
"""

from ckd.losses import cross_entropy
from ckd.objective import Objective, Term, replay
from ckd.recipes._der import der
from ckd.recipes.registry import recipe


@recipe(
    "der++",
    paper="Buzzega et al. 2020, arXiv:2004.07211",
    stores="inputs, labels, logits",
    cost="3",
    use="the strongest plain choice; no task boundaries",
)
def der_plus_plus(
    *,
    memory_size: int = 200,
    alpha: float = 0.5,
    beta: float = 0.5,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """der, and labels on another draw from memory."""
    labels = Term("labels", draw=replay("b"), loss=cross_entropy, weight=beta)
    base = der(memory_size=memory_size, alpha=alpha, memory_batch_size=memory_batch_size, seed=seed)
    return base.extend(labels, name="der++")
