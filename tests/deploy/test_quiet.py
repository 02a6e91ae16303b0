"""What talks is not heard, and the log is as it was."""

import logging
import sys
import warnings

import pytest

from ckd.deploy.quiet import quiet


class Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def heard():
    handler = Heard()
    logging.root.addHandler(handler)
    yield handler.records
    logging.root.removeHandler(handler)


def test_prints_warnings_and_records_are_dropped(capfd, heard):
    with quiet():
        print("printed")
        print("printed", file=sys.stderr)
        warnings.warn("warned", stacklevel=1)
        logging.getLogger("some.exporter").error("logged")
    assert capfd.readouterr() == ("", "")
    assert not heard
    logging.getLogger("some.exporter").error("logged")
    assert len(heard) == 1


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
