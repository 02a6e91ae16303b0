"""One checkpoint as one file: tensors in safetensors, the rest as JSON in its header, a checksum over every byte."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ckd.checkpoint.encoding import decode, encode

FORMAT = 1

_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')

_PICKLED = {b"PK", *(bytes([0x80, protocol]) for protocol in range(6))}
"""How pickles begin, and the zip files around those that torch.save writes."""


class Unusable(ValueError):
    """Why a file cannot be used as a checkpoint."""


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        about: which run it is of: plain facts by name.
    """

    about: dict[str, Any]
    _plain: Any
    _tensors: Mapping[str, Tensor]

    def state(self, device: torch.device | None = None) -> Any:
        """The state that was saved, in memory of its own at each call.

        Args:
            device: where training goes on, for what was on an accelerator; where it was, unless given.
        """
        return decode(self._plain, self._tensors, device)


def pack(state: Any, about: Mapping[str, Any]) -> bytes:
    """The bytes of a checkpoint.

    Args:
        state: see `ckd.checkpoint.encoding.encode`.
        about: which run it is of: plain facts by name.

    Raises:
        ConfigError: state that is neither tensors nor plain data.

    Example:
        >>> content = pack({"steps": 3}, {"recipe": "er"})
        >>> unpack(content).state(), unpack(content).about
        ({'steps': 3}, {'recipe': 'er'})
        >>> unpack(content[:-1])
        Traceback (most recent call last):
        ckd.checkpoint.file.Unusable: it is cut off or no checkpoint
    """
    tensors, plain = encode(state)
    header = {"format": str(FORMAT), "about": json.dumps(about), "state": json.dumps(plain), "sha256": "0" * 64}
    content = bytearray(safetensors.torch.save(tensors, header))
    found = _DIGEST.search(content)
    assert found is not None
    digest = hashlib.sha256(content).hexdigest()  # of the file with zeros in the digest's place
    start, end = found.span(1)
    content[start:end] = digest.encode()
    return bytes(content)


def unpack(content: bytes) -> Saved:
    """What `pack` packed. Nothing in the bytes is ever run.

    Raises:
        Unusable: not the bytes that `pack` returned, or those of a newer version, with the reason.
    """
    if content[:2] in _PICKLED and content[8:9] != b"{":  # else a header whose length begins with these bytes
        raise Unusable("it is a pickle, which could run code, and no checkpoint")
    length = int.from_bytes(content[:8], "little")
    if len(content) <= 8 or length > len(content) - 8:
        raise Unusable("it is cut off or no checkpoint")
    try:
        header = json.loads(content[8 : 8 + length])
        written = header.pop("__metadata__")
        if (newer := int(written["format"])) > FORMAT:
            raise Unusable(f"its format is {newer}, and {FORMAT} the newest known: a later version of ckd wrote it")
        ends = [entry["data_offsets"][1] for entry in header.values()]
        size = 8 + length + max(ends, default=0)
        if len(content) != size:
            raise Unusable(f"it has {len(content)} bytes of {size}")
        if not _is_whole(content, length):
            raise Unusable("its checksum says that it was changed since it was written")
        return Saved(json.loads(written["about"]), json.loads(written["state"]), safetensors.torch.load(content))
    except Unusable:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, SafetensorError) as error:
        raise Unusable(f"it is damaged or no checkpoint ({type(error).__name__})") from error


def read(file: Path) -> Saved:
    """The checkpoint in a file; a link is not followed.

    Raises:
        Unusable: no checkpoint, a damaged one, or one that cannot be read, with the reason.
    """
    if file.is_symlink():
        raise Unusable("it is a symbolic link, which is not followed")
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as opened:
            content = opened.read()
    except OSError as error:
        raise Unusable(f"it cannot be read ({error.strerror})") from error
    return unpack(content)


def write(file: Path, content: bytes) -> None:
    """Write a file, whole or not at all, and on the disk when this returns.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)
        with part.open("xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    if os.name == "posix":  # the new name is on the disk too
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _is_whole(content: bytes, length: int) -> bool:
    """Whether the digest in the header, of `length` bytes, is that of the rest of the file."""
    found = _DIGEST.search(content, 8, 8 + length)
    if found is None:
        return False
    start, end = found.span(1)
    digest = hashlib.sha256(content[:start])
    digest.update(b"0" * 64)
    digest.update(memoryview(content)[end:])
    return digest.hexdigest().encode() == found[1]
