"""The `ckd` command."""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from ckd.cli.arguments import parser
from ckd.errors import CkdError

__all__ = ["main", "parser", "script"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for an error that ckd explains."""
    arguments = parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of ASCII shows ? for ±
    try:
        arguments.act(arguments)
        sys.stdout.flush()
    except CkdError as error:
        print(f"ckd: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, or output that nobody reads
        print(f"ckd: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ckd: interrupted; finished runs are kept", file=sys.stderr)
        return 130
    return 0


def script() -> int:
    """`main` for a process of its own, which then ends at once.

    Python would take the modules of PyTorch and Avalanche apart first: 3 seconds, or 9 on a busy machine.
    """
    status: list[int] = []
    atexit.register(_end, status)  # registered before all others, so that it runs after them
    status.append(main())
    return status[0]


def _end(status: list[int]) -> None:
    """End the process, unless an error is on its way out."""
    if status:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status[0])
