"""Experience replay. Chaudhry et al. 2019, On Tiny Episodic Memories, arXiv:1902.10486, algorithm 1."""

from ckd.memory import Memory
from ckd.objective import Objective, Term, replay, union
from ckd.recipes.registry import recipe


@recipe(
    "er",
    paper="Chaudhry et al. 2019, arXiv:1902.10486",
    stores="inputs, labels",
    cost="2",
    use="the baseline with a memory",
)
def er(*, memory_size: int = 200, memory_batch_size: int | None = None, seed: int = 0) -> Objective:
    """Train on the union of the stream and a draw from memory, as one mean."""
    return Objective(
        "er",
        criterion=Term("criterion", draw=union(replay("a"))),
        memory=Memory(memory_size, seed=seed),
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )
