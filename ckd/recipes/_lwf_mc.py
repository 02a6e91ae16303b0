"""LwF for one head: iCaRL without exemplars. Rebuffi et al. 2017, arXiv:1611.07725, section 4.1 (LwF.MC)."""

from ckd.losses import binary_cross_entropy
from ckd.objective import Objective, Term, old_probabilities, stream
from ckd.recipes.registry import recipe
from ckd.teachers import Snapshot


@recipe(
    "lwf-mc",
    paper="Rebuffi et al. 2017, arXiv:1611.07725",
    stores="a snapshot",
    cost="1, and the snapshot",
    use="no memory allowed; one head",
)
def lwf_mc() -> Objective:
    """iCaRL without exemplars: a sigmoid for each class, the snapshot's for old ones."""
    criterion = Term("criterion", draw=stream, target=old_probabilities("snapshot"), loss=binary_cross_entropy)
    return Objective("lwf-mc", criterion=criterion, teachers={"snapshot": Snapshot()})
