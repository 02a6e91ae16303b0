"""Fine-tuning: what forgetting looks like."""

from ckd.objective import Objective
from ckd.recipes.registry import recipe


@recipe("naive", paper="the lower bound", stores="nothing", cost="1", use="the lower bound")
def naive() -> Objective:
    """Fine-tune on each experience; the lower bound."""
    return Objective("naive")
