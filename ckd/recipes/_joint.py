"""Training on all experiences at once: the upper bound. Runs in Avalanche's JointTraining."""

from ckd.objective import Objective
from ckd.recipes.registry import recipe


@recipe("joint", paper="the upper bound", stores="all data", strategy="JointTraining", cost="1", use="the upper bound")
def joint() -> Objective:
    """Train once on the data of all experiences, shuffled; the upper bound."""
    return Objective("joint")
