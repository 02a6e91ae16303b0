"""The checkpoints of one run in a folder: the last few are kept, and one that is damaged is passed over."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ckd.checkpoint.file import Saved, Unusable, pack, read, write
from ckd.errors import ConfigError, DataError

_NAME = re.compile(r"checkpoint-([0-9]{8})\.safetensors")


class CheckpointError(DataError):
    """No checkpoint of a folder can be used, or none can be written."""


class CheckpointWarning(UserWarning):
    """A checkpoint was passed over or could not be written."""


def warn(said: str) -> None:
    """Say it as a `CheckpointWarning`."""
    warnings.warn(said, CheckpointWarning, stacklevel=3)


class Checkpoints:
    """Writes and finds the checkpoints of one run, `checkpoint-00000001.safetensors` and so on.

    Each is written aside, brought to the disk and renamed, so that a crash leaves the one before. What is refused is
    left as it is.

    Args:
        folder: where they are; it is made.
        keep: how many are kept, the newest.
        say: called with a sentence when a checkpoint is passed over or could not be written; warns unless given.

    Raises:
        ConfigError: fewer than 1 to keep.
        CheckpointError: a folder that cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = Checkpoints(folder)
        ...     for steps in (10, 20, 30):
        ...         files.save({"steps": steps}, {"recipe": "er"})
        ...     files.names(), files.latest({"recipe": "er"}).state()
        (['checkpoint-00000002.safetensors', 'checkpoint-00000003.safetensors'], {'steps': 30})
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, say: Callable[[str], None] = warn) -> None:
        if not isinstance(keep, int) or keep < 1:
            raise ConfigError("checkpoints to keep", expected="1 or more", received=repr(keep), fix="Leave it out.")
        self.folder, self.keep, self.say = Path(folder), keep, say
        self._full = False  # and that was said
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _folder_error(self.folder, error) from error

    def names(self) -> list[str]:
        """Names of the files that are called like checkpoints, the oldest first."""
        return sorted(path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def save(self, state: Any, about: Mapping[str, Any]) -> None:
        """Write a checkpoint, and let those go that are too many; a full disk is said once, and the old ones stay.

        Raises:
            ConfigError: state that is neither tensors nor plain data.
        """
        content, names = pack(state, about), self.names()
        number = int(names[-1][11:19]) + 1 if names else 1
        file = self.folder / f"checkpoint-{number:08}.safetensors"
        try:
            write(file, content)
        except OSError as error:
            if not self._full:
                self.say(f"no checkpoint in {self.folder}: {error.strerror or error}; training goes on")
            self._full = True
            return
        self._full = False
        for old in names[: max(0, len(names) + 1 - self.keep)]:
            (self.folder / old).unlink(missing_ok=True)

    def read(self, name: str) -> Saved:
        """The checkpoint of that name.

        Raises:
            CheckpointError: it is damaged, or not a name of a checkpoint in this folder.
        """
        try:
            if not _NAME.fullmatch(name):
                raise Unusable("it is no name of a checkpoint in this folder")
            return read(self.folder / name)
        except Unusable as reason:
            raise _none_error(self.folder, [f"{name}: {reason}"]) from reason

    def latest(self, about: Mapping[str, Any]) -> Saved | None:
        """The newest checkpoint that is whole and of this run; None where there are no files.

        Args:
            about: facts that must be the same in the checkpoint.

        Raises:
            CheckpointError: there are files, and none of them can be used; the reasons are in the message.
        """
        about, refused = json.loads(json.dumps(about)), list[str]()
        for name in reversed(self.names()):
            try:
                found = read(self.folder / name)
                _check_about(about, found.about)
            except Unusable as reason:
                refused.append(f"{name}: {reason}")
                continue
            if refused:
                self.say(f"in {self.folder} passed over {'; '.join(refused)}. {name} is used")
            return found
        if refused:
            raise _none_error(self.folder, refused)
        return None

    def remove(self) -> None:
        """Remove the checkpoints, also half-written ones, the lock, and the folder if nothing else is in it."""
        for path in self.folder.iterdir():
            half = path.name.startswith("checkpoint-") and path.suffix == ".part"
            if half or path.name == "lock" or _NAME.fullmatch(path.name):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def _check_about(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            raise Unusable(f"it is of another run, whose {name} is {_short(found.get(name))} and not {_short(value)}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def _none_error(folder: Path, refused: list[str]) -> CheckpointError:
    return CheckpointError(
        f"checkpoints in {folder}",
        expected="a whole one of this run",
        received="; ".join(refused),
        fix="Start again with another folder, or remove this one; with ckd run, --force starts again.",
    )


def _folder_error(folder: Path, error: OSError) -> CheckpointError:
    fix = "Name another folder."
    return CheckpointError(f"checkpoints in {folder}", expected="a folder to write to", received=error, fix=fix)
