"""Learning without Forgetting. Li & Hoiem 2016, arXiv:1606.09282, eq. 2 and 3.

The paper's modified cross entropy is written here as T² · KL, which has T² times its gradient: the paper's λ is the
weight times T², 4 at its T = 2. Each old head gets a softmax of its own; a shared head gets one over the old classes.
"""

from functools import partial

from ckd.losses import check_temperature, kd
from ckd.objective import Objective, Term, old_heads, teacher
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "lwf",
    paper="Li & Hoiem 2016, arXiv:1606.09282",
    stores="a snapshot",
    cost="1, and the snapshot",
    use="no memory allowed; multi-head models",
)
def lwf(*, distill_weight: float = 1.0, temperature: float = 2.0) -> Objective:
    """Match the snapshot's soft predictions of old classes, on the new data."""
    check_temperature(temperature)
    distillation = Term(
        "distillation",
        draw=old_heads,
        target=teacher("snapshot"),
        loss=partial(kd, temperature=temperature),
        weight=distill_weight,
    )
    return Objective("lwf", [distillation], teachers={"snapshot": Snapshot()})
