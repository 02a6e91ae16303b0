"""Function distance regularisation. Benjamin, Rolnick & Kording 2019, arXiv:1805.08289.

A sample's logits are those of the model at the end of its experience, and it is drawn from then on. Samples are
admitted by reservoir, where the paper's memory is filled at boundaries.
"""

from ckd.losses import probability_distance
from ckd.memory import RefreshedMemory
from ckd.objective import Objective, Term, replay, stored_logits
from ckd.recipes.registry import recipe


@recipe(
    "fdr", paper="Benjamin et al. 2019, arXiv:1805.08289", stores="inputs, labels, logits", cost="2", use="a reference"
)
def fdr(
    *, memory_size: int = 200, alpha: float = 1.0, memory_batch_size: int | None = None, seed: int = 0
) -> Objective:
    """Stay near the probabilities that the model gave when an experience ended."""
    distance = Term(
        "distance",
        draw=replay("a"),
        target=stored_logits,
        loss=probability_distance,
        weight=alpha,
    )
    return Objective(
        "fdr", [distance], memory=RefreshedMemory(memory_size, seed=seed), memory_batch_size=memory_batch_size
    )
