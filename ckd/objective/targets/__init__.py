"""What a term's output is compared with: labels, stored logits, or a teacher's outputs."""

from ckd.objective.targets._best_teacher import best_teacher
from ckd.objective.targets._implanted_logits import implanted_logits
from ckd.objective.targets._labels import labels
from ckd.objective.targets._old_probabilities import old_probabilities
from ckd.objective.targets._stored_logits import stored_logits
from ckd.objective.targets._teacher import as_drawn, teacher
from ckd.objective.targets.target import Target

__all__ = [
    "Target",
    "as_drawn",
    "best_teacher",
    "implanted_logits",
    "labels",
    "old_probabilities",
    "stored_logits",
    "teacher",
]
