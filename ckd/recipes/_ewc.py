"""EWC: weights that mattered stay where they were. Kirkpatrick et al. 2017, arXiv:1612.00796.

In the online form of Schwarz et al. 2018, arXiv:1805.06370: one diagonal for all experiences, around the last weights.
The penalty's step is taken exactly, after the optimiser's (see `ckd.anchors.Anchor`).
"""

from ckd.anchors import Anchor, Diagonal
from ckd.objective import Objective
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "ewc",
    paper="Kirkpatrick et al. 2017, arXiv:1612.00796",
    stores="a snapshot, a diagonal Fisher matrix",
    cost="1, and the pull",
    use="no memory allowed, with boundaries",
)
def ewc(
    *, anchor_weight: float = 1.0, anchor_decay: float = 1.0, anchor_samples: int = 2000, seed: int = 0
) -> Objective:
    """Pull each weight back to the snapshot's, as strongly as a diagonal Fisher matrix says; no memory."""
    snapshot = Snapshot()
    anchor = Anchor(snapshot, Diagonal(), weight=anchor_weight, decay=anchor_decay, samples=anchor_samples, seed=seed)
    return Objective("ewc", teachers={"snapshot": snapshot}, anchor=anchor)
