"""The term, and the sum of terms."""

from ckd.objective.adaptor import Adaptor
from ckd.objective.batch import Batch, View
from ckd.objective.draws import old_heads, replay, stream, union
from ckd.objective.fusion import Fusion
from ckd.objective.groups import (
    Groups,
    all_classes,
    current,
    each_old_experience,
    old,
    old_or_current,
    present,
    seen,
)
from ckd.objective.moment import Moment
from ckd.objective.objective import Objective
from ckd.objective.step import Draw, Shown, Step
from ckd.objective.targets import (
    Target,
    as_drawn,
    best_teacher,
    implanted_logits,
    labels,
    old_probabilities,
    stored_logits,
    teacher,
)
from ckd.objective.term import Loss, Term
from ckd.outputs import Output, features, logits, tap

__all__ = [
    "Adaptor",
    "Batch",
    "Draw",
    "Fusion",
    "Groups",
    "Loss",
    "Moment",
    "Objective",
    "Output",
    "Shown",
    "Step",
    "Target",
    "Term",
    "View",
    "all_classes",
    "as_drawn",
    "best_teacher",
    "current",
    "each_old_experience",
    "features",
    "implanted_logits",
    "labels",
    "logits",
    "old",
    "old_heads",
    "old_or_current",
    "old_probabilities",
    "present",
    "replay",
    "seen",
    "stored_logits",
    "stream",
    "tap",
    "teacher",
    "union",
]
