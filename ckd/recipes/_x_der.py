"""X-DER without the preparation of future heads. Boschini et al. 2022, arXiv:2201.00766.

What remembered samples say about classes that came after them is written into their logits, here with every draw and,
for good, when an experience ends. The stream's softmax runs over the current classes and the memory's
over old ones; a margin keeps new samples from raising the others, those to come included. Left out: the
contrastive training of heads for classes to come. Samples are admitted by a class-balanced reservoir and drawn once
their experience has ended, where the paper fills its memory at boundaries. Stored logits are a mean over the classes
that are known, where the authors' code takes the whole head, and the margin is a mean over all samples of one softmax
over the head, where it takes those that violate it and bounds logits of classes to come.
"""

from functools import partial

from ckd.losses import cross_entropy, logit_mse, priority
from ckd.memory import Balanced, RefreshedMemory
from ckd.objective import Objective, Term, current, implanted_logits, old, replay, stream
from ckd.recipes.registry import recipe


@recipe(
    "x-der",
    paper="Boschini et al. 2022, arXiv:2201.00766",
    stores="inputs, labels, logits",
    cost="3",
    use="class-incremental with boundaries, long training",
)
def x_der(
    *,
    memory_size: int = 200,
    alpha: float = 0.5,
    beta: float = 1.0,
    gamma: float = 0.85,
    priority_weight: float = 0.1,
    margin: float = 0.3,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """der++ with a softmax each for stream and memory, and stored logits brought up to date."""
    logits = Term("logits", draw=replay("a"), target=implanted_logits(gamma), loss=logit_mse, weight=alpha)
    labels = Term("labels", draw=replay("b"), loss=cross_entropy, groups=old, weight=beta)
    first = Term(
        "priority",
        draw=stream,
        loss=partial(priority, margin=margin),
        groups=current,
        weight=priority_weight,
    )
    return Objective(
        "x-der",
        [logits, labels, first],
        criterion=Term("criterion", draw=stream, loss=cross_entropy, groups=current),
        memory=RefreshedMemory(memory_size, implant=gamma, policy=Balanced("class"), seed=seed),
        memory_batch_size=memory_batch_size,
    )
