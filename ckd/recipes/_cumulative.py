"""Training on everything seen so far, at every experience. Runs in Avalanche's Cumulative."""

from ckd.objective import Objective
from ckd.recipes.registry import recipe


@recipe(
    "cumulative",
    paper="a reference",
    stores="all data seen",
    strategy="Cumulative",
    cost="1, on ever more data",
    use="a reference",
)
def cumulative() -> Objective:
    """Train at every experience on the data of all experiences so far; a costly reference."""
    return Objective("cumulative")
