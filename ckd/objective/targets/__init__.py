"""What a term's output is compared with: labels, stored logits, or a teacher's outputs."""

from ckd.objective.targets.cls_er import BestTeacher
from ckd.objective.targets.icarl import OldProbabilities
from ckd.objective.targets.samples import labels, stored_logits
from ckd.objective.targets.target import Target
from ckd.objective.targets.teachers import TeacherOutput, as_drawn
from ckd.objective.targets.x_der import ImplantedLogits

teacher = TeacherOutput
best_teacher = BestTeacher
implanted_logits = ImplantedLogits
old_probabilities = OldProbabilities

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
