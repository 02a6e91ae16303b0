"""LODE. Liang & Li 2023, Loss Decoupling for Task-Agnostic Continual Learning, NeurIPS.

Cross entropy over all classes seen is the sum of two: which of the new classes, and new or old. The second makes a
network forget, and gets the weight ρ · new classes / old classes. Since the sum is linear, the recipe writes the second
as the difference of the whole and the first: the named losses are those two, weighted.
Replay is that of DER++, as in the paper's strongest form. New classes are those of the current experience; the authors'
code counts those to come as well.
"""

from functools import partial

from ckd.errors import ConfigError
from ckd.losses import cross_entropy
from ckd.objective import Moment, Objective, Term, current, seen, stream
from ckd.recipes._der_plus_plus import der_plus_plus
from ckd.recipes.registry import recipe


@recipe(
    "lode",
    paper="Liang & Li 2023, NeurIPS",
    stores="inputs, labels, logits",
    cost="3",
    use="class-incremental with boundaries",
)
def lode(
    *,
    memory_size: int = 200,
    within: float = 1.0,
    between: float = 0.1,
    alpha: float = 0.5,
    beta: float = 0.5,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """der++; on the stream, telling new classes from old ones has less weight than telling new ones apart."""
    if within < 0 or between < 0:
        raise ConfigError(
            "lode", expected="within and between from 0", received=(within, between), fix="Try 1 and 0.1."
        )
    base = der_plus_plus(
        memory_size=memory_size, alpha=alpha, beta=beta, memory_batch_size=memory_batch_size, seed=seed
    )
    whole = Term("whole", draw=stream, loss=cross_entropy, groups=seen, weight=partial(_against_old, between))
    criterion = Term(
        "criterion",
        draw=stream,
        loss=cross_entropy,
        groups=current,
        weight=partial(_among_new, within, between),
    )
    return base.extend(whole, name="lode", criterion=criterion, needs_boundaries=True)


def _against_old(between: float, moment: Moment) -> float:
    n_old = len(moment.classes.old)
    return between * len(moment.classes.current) / n_old if n_old else 0.0


def _among_new(within: float, between: float, moment: Moment) -> float:
    return within - _against_old(between, moment)
