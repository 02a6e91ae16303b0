"""What talks is not heard, and the log is as it was."""

import logging
import sys
import warnings

import pytest

from ckd.deploy.quiet import quiet


def test_prints_warnings_and_records_are_dropped(capfd, caplog):
    with quiet():
        print("printed")
        print("printed", file=sys.stderr)
        warnings.warn("warned", stacklevel=1)
        logging.getLogger("some.exporter").error("logged")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    logging.getLogger("some.exporter").error("logged")
    assert len(caplog.records) == 1


def test_the_root_logger_gets_no_handler(monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    level = logging.root.level

    def fail():
        logging.basicConfig(level=logging.DEBUG)
        raise ValueError("raised")

    with pytest.raises(ValueError, match="raised"), quiet():
        fail()
    assert logging.root.handlers == []
    assert logging.root.level == level
