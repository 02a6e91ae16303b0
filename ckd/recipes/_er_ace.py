"""ER-ACE. Caccia et al. 2022, New Insights on Reducing Abrupt Representation Change, arXiv:2104.05025, eq. 6.

The stream's softmax runs over the classes present in the batch, so that new samples do not push old classes down;
the memory's runs over all.
"""

from ckd.losses import cross_entropy
from ckd.memory import Memory
from ckd.objective import Objective, Term, present, replay, stream
from ckd.recipes.registry import recipe


@recipe(
    "er-ace",
    paper="Caccia et al. 2022, arXiv:2104.05025",
    stores="inputs, labels",
    cost="2",
    use="class-incremental, online",
)
def er_ace(*, memory_size: int = 200, memory_batch_size: int | None = None, seed: int = 0) -> Objective:
    """Replay with an asymmetric cross entropy: the stream's softmax runs only over the classes present."""
    return Objective(
        "er-ace",
        [Term("replay", draw=replay("a"), loss=cross_entropy)],
        criterion=Term("criterion", draw=stream, loss=cross_entropy, groups=present),
        memory=Memory(memory_size, seed=seed),
        memory_batch_size=memory_batch_size,
    )
