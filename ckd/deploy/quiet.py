"""Exporters that talk."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Prints, warnings and log records of what runs in the context are dropped; what it raises is not.

    Handlers that it gives the root logger, as `logging.warning` does where there are none, are taken away again.
    """
    before, handlers, level = logging.root.manager.disable, logging.root.handlers[:], logging.root.level
    nowhere = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)
