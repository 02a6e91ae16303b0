"""The term, the sum of terms, and who must be asked what."""

from ckd.objective.batch import Batch, join
from ckd.objective.context import Context
from ckd.objective.draws import Draw, memory, old_heads, stream, union
from ckd.objective.feature_term import FeatureTerm
from ckd.objective.groups import all_classes, current, each_old_experience, old, old_or_current, present, seen
from ckd.objective.objective import Objective
from ckd.objective.plan import STREAM, Question
from ckd.objective.projection import Projection
from ckd.objective.step import Step
from ckd.objective.targets import Target, best_teacher, implanted_logits, labels, old_answers, stored_logits, teacher
from ckd.objective.term import Loss, Term

__all__ = [
    "STREAM",
    "Batch",
    "Context",
    "Draw",
    "FeatureTerm",
    "Loss",
    "Objective",
    "Projection",
    "Question",
    "Step",
    "Target",
    "Term",
    "all_classes",
    "best_teacher",
    "current",
    "each_old_experience",
    "implanted_logits",
    "join",
    "labels",
    "memory",
    "old",
    "old_answers",
    "old_heads",
    "old_or_current",
    "present",
    "seen",
    "stored_logits",
    "stream",
    "teacher",
    "union",
]
