"""A teacher whose outputs were written once and are read back.

Stored for each view, not for each sample: Shen & Xing 2022 (FKD), arXiv:2112.01528; why the student must see the very
view that the teacher saw: Beyer et al. 2022, arXiv:2106.05237.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ckd.classes import ClassSet
from ckd.errors import ConfigError, DataError
from ckd.outputs import Output, class_axis, logits
from ckd.teachers.fingerprint import fingerprint
from ckd.teachers.input_keys import input_keys
from ckd.teachers.npz_logits import npz_logits
from ckd.teachers.soft_label_file import load
from ckd.teachers.stored_labels import About, StoredLabels, data_digest, row_checks
from ckd.teachers.teacher import Teacher


class SoftLabels(Teacher):
    """Logits from a file, found by the bytes of the input that is shown; no network runs.

    A row belongs to one view of one sample: an input that differs in a bit is another, and is refused unless it was
    written too. Inputs of the same bytes have the logits of the first that was written; two others are taken for one
    with a probability near 2⁻⁵⁹ (`input_keys`). Made by `write_soft_labels`, `SoftLabels.read`, or `SoftLabels.of_npz`
    from another program's logits.

    Values stay in the mapped file; only the rows of a batch are read. In memory is an index of 16 bytes a row. Outputs
    are on the device of the inputs, in float32, or float64 where these are. A copy, and one that was pickled, reads the
    same file, which must not be changed in place meanwhile; writing it again replaces it and is safe. A damaged row is
    found when it is read, by 4 bytes that each row has for that.

    Attributes:
        about: what is known of them: who made them of what, how many, in which dtype.
    """

    copies_student: ClassVar[bool] = False

    def __init__(self, stored: StoredLabels, file: Path | None = None) -> None:
        super().__init__()
        self.about: About = stored.about
        self._stored, self._file = stored, file
        known = self.about.known
        self.classes = None if known is None else ClassSet({0: frozenset(known)})

    @classmethod
    def read(
        cls, file: str | Path, *, teacher: nn.Module | Teacher | None = None, inputs: Tensor | None = None
    ) -> SoftLabels:
        """The soft labels that `write_soft_labels` wrote.

        Args:
            file: the path.
            teacher: whose they must be, by its fingerprint; None leaves that unchecked.
            inputs: some that will be shown, (B, ...), to be refused now rather than at the first step.

        Raises:
            DataError: a file that is damaged, of another kind or a newer format; another teacher's; other inputs.
        """
        path = Path(file).absolute()
        found = cls(load(path), path)
        if teacher is not None:
            own = teacher.fingerprint() if isinstance(teacher, Teacher) else fingerprint(teacher)
            if own != found.about.teacher:
                expected, received = (f"those of the teacher {one[:12]}" for one in (own, found.about.teacher))
                fix = "Its weights were changed since, or it is another network: write the soft labels again."
                raise DataError(f"soft labels {file}", expected=expected, received=received, fix=fix)
        if inputs is not None:
            found.outputs(inputs)
        return found

    @classmethod
    def of_npz(
        cls, file: str | Path, inputs: Tensor | Iterable[Tensor], *, classes: Iterable[int] | None = None
    ) -> SoftLabels:
        """The logits of another program, from the array `logits` (or the only one) of an `.npz` file, held in memory.

        Args:
            file: the path.
            inputs: network inputs (N, ...) as the student will be shown them, in the order of the logits, or batches of
                them (B, ...).
            classes: those that the other program's network knows; None for all.

        Raises:
            DataError: a file without such an array, sparse, not finite, of probabilities, or of another length.

        Example:
            >>> import tempfile, numpy
            >>> x, z = torch.eye(3), numpy.array([[2.0, -1.0], [0.0, 3.0], [1.5, 1.0]])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     numpy.savez(f"{folder}/logits.npz", logits=z)
            ...     labels = SoftLabels.of_npz(f"{folder}/logits.npz", x)
            >>> labels.outputs(x[[2, 0]])[logits].tolist()
            [[1.5, 1.0], [2.0, -1.0]]
        """
        values = npz_logits(file)
        found, kind = [torch.empty(0, dtype=torch.int64)], ""
        for batch in [inputs] if isinstance(inputs, Tensor) else inputs:
            found.append(input_keys(batch).cpu())
            kind = describe(batch)
        keys = torch.cat(found)
        if len(keys) != len(values):
            fix = "Pass the inputs in the order of the logits: all of them, every view."
            expected, received = f"as many inputs as its {len(values)} rows", len(keys)
            raise DataError(f"logits in {file}", expected=expected, received=received, fix=fix)
        about = About(
            rows=len(values),
            classes=values.shape[class_axis(values)],
            known=None if classes is None else sorted(set(map(int, classes))),
            dtype="float32",
            top_k=None,
            temperature=None,
            inputs=kind,
            teacher="",
            data=data_digest(keys.sort().values),
            made=str(file),
        )
        return cls(StoredLabels(about, f"soft labels {file}", keys, values, row_checks(keys, values, None)))

    @property
    def ready(self) -> bool:
        """Always."""
        return True

    def holds(self, inputs: Tensor) -> Tensor:
        """Which of the inputs (B, ...) there are soft labels for, bool (B,)."""
        return self._stored.find(input_keys(inputs).cpu())[1].to(inputs.device)

    def outputs(
        self, inputs: Tensor, tasks: Tensor | None = None, wanted: Sequence[Output] = (logits,)
    ) -> dict[Output, Any]:
        """The logits (B, C) that were written for these inputs (B, ...).

        Raises:
            ConfigError: outputs of modules inside the teacher, which are not stored.
            DataError: inputs for which nothing was written, or a row that is damaged.
        """
        if any(not output.is_logits for output in wanted):
            fix = "Match features of the teacher's network itself."
            raise ConfigError("soft labels", expected="logits to be wanted", received="features", fix=fix)
        rows, held = self._stored.find(input_keys(inputs).cpu())
        if not bool(held.all()):
            raise self._unknown(inputs, int((~held).sum()))
        values = self._stored.take(rows)
        dtype = torch.promote_types(values.dtype, inputs.dtype) if inputs.is_floating_point() else values.dtype
        return {logits: values.to(inputs.device, dtype)}

    def _unknown(self, inputs: Tensor, missing: int) -> DataError:
        shown, likely = describe(inputs), "other data, preparation or device, or views that were never written"
        if shown != self.about.inputs:
            likely = f"inputs are {shown} here and were {self.about.inputs}"
        elif missing < len(inputs):
            likely = "augmentation of another seed, a mixture or noise, or more samples than were written"
        return DataError(
            self._stored.where,
            expected="inputs that they were written for, bit by bit",
            received=f"{missing} of {len(inputs)} that are not among its {self.about.rows}",
            fix=f"Likely: {likely}. Write them for the views that training shows (see FixedViews of ckd.data).",
        )

    def fingerprint(self) -> str:
        """That of the teacher that wrote them."""
        return self.about.teacher

    def nbytes(self) -> dict[str, int]:
        """Bytes in memory: of the index, and of the values where they are not in a mapped file."""
        return {"teachers": self._stored.index_bytes + (0 if self._file else self._stored.row_bytes)}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: whoever wrote the file keeps it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        state = vars(self).copy()
        if self._file is not None:
            del state["_stored"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._file is None:
            return
        self._stored = load(self._file)
        if self._stored.about != self.about:
            expected, fix = "the file that was read before", "Read the new one with SoftLabels.read."
            raise DataError(self._stored.where, expected=expected, received="one that was written since", fix=fix)


def describe(inputs: Tensor) -> str:
    """Shape and dtype of one input of a batch (B, ...)."""
    return f"{tuple(inputs.shape[1:])} {str(inputs.dtype).removeprefix('torch.')}"
