"""MKD: an average of the weights teaches on a second view. Michel et al. 2024, arXiv:2309.02870.

As in the authors' code for ER, cross entropy runs on the augmented view x' alone, and the teacher sees only x':
CE(s(x'), y) + λ/2 · KD(t(x'), s(x')) + λ/2 · KD(t(x'), s(x)), on stream and memory. The network predicts with the mean
of the student's and the teacher's weights.

Unlike that code: x' is a resized crop and a flip, without changes of colour; x is what the stream gives, which may be
augmented already; the teacher starts as the student, not near 0, and runs in eval mode with averaged BatchNorm
statistics; its softmax is over the classes seen; the student sees both views in one batch.
"""

from functools import partial

from ckd.losses import check_temperature, kd
from ckd.memory import Memory
from ckd.objective import Objective, Term, replay, teacher, union
from ckd.recipes.registry import recipe
from ckd.teachers import Ema, Interpolated
from ckd.views import RandomResizedCrop


@recipe(
    "mkd",
    paper="Michel et al. 2024, arXiv:2309.02870",
    stores="inputs, labels, an averaged model",
    cost="4, and the average on both",
    use="online streams of images, hundreds of updates an experience; no task boundaries",
)
def mkd(
    *,
    memory_size: int = 200,
    distill_weight: float = 5.5,
    temperature: float = 4.0,
    decay: float = 0.99,
    min_scale: float = 0.2,
    flip: float = 0.5,
    share: float = 0.5,
    memory_batch_size: int | None = None,
    seed: int = 0,
) -> Objective:
    """er on augmented images; match an average of the weights on both views; evaluate half-way between.

    The authors find that the best `distill_weight` is 4.5 · log10(1 - decay) + 14.5. It holds new classes back in an
    experience of fewer updates than the average is long, 1 / (1 - decay). Samples that are no images have one view.
    """
    check_temperature(temperature)
    both, augmented, ema = union(replay("a")), RandomResizedCrop(min_scale, flip), Ema(decay, seed=seed)
    told = teacher("ema", view=augmented)
    match = partial(Term, draw=both, target=told, loss=partial(kd, temperature=temperature), weight=distill_weight / 2)
    return Objective(
        "mkd",
        [match("augmented", view=augmented), match("as drawn")],
        criterion=Term("criterion", draw=both, view=augmented),
        memory=Memory(memory_size, seed=seed),
        teachers={"ema": ema},
        evaluation=Interpolated(ema, share),
        memory_batch_size=memory_batch_size,
        joint_with_batchnorm=True,
    )
