"""Strong experience replay. Zhuo et al. 2023, arXiv:2305.13622.

The snapshot's logits count for the classes that it was taught, where the paper compares the whole head. Replay begins
with the first remembered samples, in the authors' code with the second experience.
"""

from ckd.losses import cross_entropy, logit_mse
from ckd.memory import Memory
from ckd.objective import Objective, Term, replay, stored_logits, stream, teacher
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "ser",
    paper="Zhuo et al. 2023, arXiv:2305.13622",
    stores="inputs, labels, logits, a snapshot",
    cost="2, and the snapshot",
    use="class-incremental with boundaries",
)
def ser(
    *,
    memory_size: int = 200,
    backward_weight: float = 0.2,
    forward_weight: float = 0.2,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """er; match stored logits on the memory, and the snapshot's logits on the new data."""
    labels = Term("replay", draw=replay("a"), loss=cross_entropy)
    backward = Term("backward", draw=replay("a"), target=stored_logits, loss=logit_mse, weight=backward_weight)
    forward = Term("forward", draw=stream, target=teacher("snapshot"), loss=logit_mse, weight=forward_weight)
    return Objective(
        "ser",
        [labels, backward, forward],
        memory=Memory(memory_size, seed=seed),
        teachers={"snapshot": Snapshot()},
        memory_batch_size=memory_batch_size,
    )
