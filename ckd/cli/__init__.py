"""The `ckd` command."""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from ckd.cli.arguments import parser
from ckd.errors import CkdError
from ckd.signals import Interrupted, handling, raise_interrupted

__all__ = ["main", "parser", "script"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 2 for an error that ckd explains, 130 or 143 for a signal."""
    arguments = parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of ASCII shows ? for ±
    try:
        with handling(raise_interrupted, signal.SIGINT, signal.SIGTERM):
            arguments.act(arguments)
            sys.stdout.flush()
    except CkdError as error:
        print(f"ckd: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, or output that nobody reads
        print(f"ckd: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as ended:
        goes_on = isinstance(ended, Interrupted) and ended.saved
        rest = ", and the run under way goes on when this is called again" if goes_on else ""
        print(f"ckd: interrupted; finished runs are kept{rest}", file=sys.stderr)
        return ended.status if isinstance(ended, Interrupted) else 130
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
