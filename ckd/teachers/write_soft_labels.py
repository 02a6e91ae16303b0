"""Ask a teacher once, and keep what it says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ckd.errors import ConfigError, DataError, ModelError
from ckd.outputs import class_axis, logits
from ckd.teachers.fixed import Fixed
from ckd.teachers.input_keys import input_keys
from ckd.teachers.soft_label_file import DTYPES, save
from ckd.teachers.soft_labels import SoftLabels, describe
from ckd.teachers.stored_labels import row_checks
from ckd.teachers.teacher import Teacher
from ckd.teachers.top_k import compress


def write_soft_labels(
    file: str | Path,
    teacher: nn.Module | Teacher,
    batches: Iterable[Tensor],
    *,
    dtype: Literal["float16", "float32"] = "float16",
    top_k: int | None = None,
    temperature: float = 1.0,
    note: str = "",
) -> SoftLabels:
    """Write a teacher's logits for every input that a student will be shown, and read them back.

    A row takes 12 bytes and its values: 2 C bytes in float16, or some 3 (k + 1) with `top_k` of up to 256 classes. With
    float32 the student gets bit by bit what the teacher returned for the batches given here.

    With `top_k` the k largest probabilities are kept and the others share the rest evenly. At the temperature T given
    here a softmax of what is read has the kept probabilities; at a higher one the others get more than they had, at a
    lower one less. Such logits are T · log-probabilities: losses that a shift of all logits changes, as their squared
    difference, are not those of the teacher's.

    Args:
        file: in the safetensors format; replaced, once all is written, if it is there.
        teacher: a trained network, which is frozen and put in eval mode, or a teacher such as an `Ensemble`.
        batches: network inputs (B, ...), prepared and augmented as the student will see them; for several views all of
            them, one after the other (`ckd.data.FixedViews`). Prepare them on the device where training does: the last
            bits of a division may be others on another.
        dtype: of the values.
        top_k: how many probabilities are kept; all logits unless given.
        temperature: T of the loss that they are for; only `top_k` needs it.
        note: kept in the file, such as the seed of the views.

    Returns:
        The teacher that reads them, for `recipes.distilled` or any other objective.

    Raises:
        ConfigError: a setting that does not fit; a teacher with a head for each task, or one that is not ready.
        DataError: a file that cannot be written, no batches, what is not a batch of inputs, logits that the dtype does
            not hold.

    Example:
        >>> import tempfile
        >>> x, teacher = torch.randn(6, 4), nn.Linear(4, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = write_soft_labels(f"{folder}/labels.safetensors", teacher, x.split(2), dtype="float32")
        ...     read = SoftLabels.read(f"{folder}/labels.safetensors", teacher=teacher)
        >>> torch.equal(read.outputs(x[2:4])[logits], teacher(x[2:4]))
        True
    """
    given = Fixed(teacher) if isinstance(teacher, nn.Module) else teacher
    _check(given, batches, dtype, top_k, temperature)
    asked = _asked(given, batches)
    first = next(asked, None)
    if first is None:
        fix = "An iterator gives its batches once: pass a list, a loader or a new one."
        raise DataError("batches for soft labels", expected="at least one", received="none", fix=fix)
    inputs, outputs = first
    known = _known(given, outputs, top_k)
    about = {
        "classes": outputs.shape[class_axis(outputs)],
        "known": None if known is None else known.nonzero()[:, 0].tolist(),
        "dtype": dtype,
        "top_k": top_k,
        "temperature": None if top_k is None else float(temperature),
        "inputs": describe(inputs),
        "teacher": given.fingerprint(),
        "made": f"ckd {version('avalanche-ckd')}, torch {torch.__version__}, {type(teacher).__name__}",
        "note": note,
    }
    block = partial(_block, dtype=getattr(torch, dtype), top_k=top_k, temperature=temperature, known=known)
    save(Path(file).absolute(), (block(*one) for one in chain([first], asked)), about)
    return SoftLabels.read(file)


def _asked(teacher: Teacher, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs (B, ...) and the teacher's logits for them, batch by batch, all of one kind."""
    kind: tuple[str, str] | None = None
    for batch in batches:
        inputs: object = batch
        if not isinstance(inputs, Tensor) or not inputs.dim() or not len(inputs):
            received, fix = f"{type(inputs).__name__}", "Of a loader of pairs take (x for x, _ in loader)."
            raise DataError("batch for soft labels", expected="inputs (B, ...)", received=received, fix=fix)
        outputs: Any = teacher.outputs(inputs)[logits]
        if not isinstance(outputs, Tensor) or outputs.dim() < 2 or len(outputs) != len(inputs):
            received = str(tuple(outputs.shape)) if isinstance(outputs, Tensor) else type(outputs).__name__
            fix = "Wrap the network so that its forward returns the logits alone."
            raise ModelError("teacher", expected=f"logits ({len(inputs)}, C)", received=received, fix=fix)
        found = describe(inputs), describe(outputs)
        kind = kind or found
        if found != kind:
            expected, received = (f"inputs {one} with logits {other}" for one, other in (kind, found))
            fix = "Write one file for each shape."
            raise DataError("batch for soft labels", expected=expected, received=received, fix=fix)
        yield inputs, outputs


def _block(
    inputs: Tensor,
    outputs: Tensor,
    *,
    dtype: torch.dtype,
    top_k: int | None,
    temperature: float,
    known: Tensor | None,
) -> dict[str, Tensor]:
    """The rows of a batch by the names of the file's tensors."""
    last = outputs.cpu().movedim(class_axis(outputs), -1)
    values, classes = (last, None) if top_k is None else compress(last, top_k, temperature=temperature, known=known)
    rounded = values.to(dtype)
    counted = rounded if known is None or top_k is not None else rounded[..., known]
    if not bool(counted.isfinite().all()):
        received = f"values beyond it, or NaN; the largest is {float(values.abs().max()):.4g}"
        fix = 'Use dtype="float32".' if dtype == torch.float16 else "Check the teacher on these inputs."
        raise DataError("logits for soft labels", expected=f"numbers that {dtype} holds", received=received, fix=fix)
    keys = input_keys(inputs).cpu()
    if classes is None:
        rounded = rounded.movedim(-1, class_axis(outputs)).contiguous()
        return {"keys": keys, "values": rounded, "checks": row_checks(keys, rounded, None)}
    width = last.shape[-1]
    classes = classes.to(torch.uint8 if width <= 256 else torch.int16 if width <= 2**15 else torch.int32)
    return {"keys": keys, "values": rounded, "checks": row_checks(keys, rounded, classes), "classes": classes}


def _known(teacher: Teacher, outputs: Tensor, top_k: int | None) -> Tensor | None:
    """The classes that the teacher knows, bool (C,); None for all.

    Raises:
        ConfigError: more classes to be kept than that.
    """
    width = outputs.shape[class_axis(outputs)]
    known = teacher.valid(width, None, torch.device("cpu"))
    n = width if known is None else int(known.sum())
    if top_k is not None and top_k >= n:
        fix = "Leave it out to keep all logits."
        raise ConfigError("top_k", expected=f"fewer than the {n} classes of the teacher", received=top_k, fix=fix)
    return known


def _check(teacher: object, batches: object, dtype: str, top_k: int | None, temperature: float) -> None:
    if not isinstance(teacher, Teacher):
        fix = "Pass the trained network itself."
        raise ConfigError("teacher", expected="a network or a teacher", received=type(teacher).__name__, fix=fix)
    everyone = [teacher, *teacher.members.values()]
    per_task = any(isinstance(one, Teacher) and one.classes and one.classes.per_task for one in everyone)
    if not teacher.ready or per_task:
        received = "one with a head for each task" if per_task else f"a {type(teacher).__name__} without a network yet"
        fix = "Write them later, or of a network with one head."
        raise ConfigError("teacher", expected="one that has logits for inputs alone", received=received, fix=fix)
    if isinstance(batches, Tensor):
        fix = "Write inputs.split(500)."
        raise ConfigError("batches for soft labels", expected="batches", received="one tensor", fix=fix)
    if dtype not in DTYPES:
        fix = "Leave it out for float16."
        raise ConfigError("dtype of soft labels", expected=" or ".join(DTYPES), received=repr(dtype), fix=fix)
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise ConfigError("top_k", expected="a whole number from 1", received=repr(top_k), fix="For example 10.")
    if not 0 < temperature < math.inf:
        fix = "Use that of the loss."
        raise ConfigError("temperature of soft labels", expected="above 0", received=temperature, fix=fix)
