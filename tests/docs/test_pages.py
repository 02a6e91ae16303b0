"""Every block of code on a page runs as a reader would run it, and prints what the page says."""

import contextlib
import io
import shlex
import sys

import pytest
from pages import alike, blocks, pages

from ckd.cli import main

TESTED = [page for page in pages() if any(block.kind in ("python", "console") for block in blocks(page))]


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """An empty folder, as a reader has it, from which Python imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "110")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def commands(block):
    """The commands of a console block that are ckd's, and whether the block shows what they print."""
    lines = block.body.replace("\\\n", " ").splitlines()
    asked = [line[2:] for line in lines if line.startswith("$ ")]
    return asked, "\n".join(line for line in lines if not line.startswith("$ "))


def run_console(block):
    asked, shown = commands(block)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for command in asked:
            words = shlex.split(command, comments=True)
            assert words[0] == "ckd", f"a tested console block has commands of ckd alone, not {command!r}"
            assert main(words[1:]) == 0, command
    assert not shown.strip() or alike(printed.getvalue(), shown), f"{printed.getvalue()}\n--- the page has\n{shown}"


@pytest.mark.parametrize("page", TESTED, ids=lambda page: page.stem)
def test_the_page_does_what_it_says(page, reader):
    names, found = {"__name__": "__main__"}, list(blocks(page))
    for block, after in zip(found, [*found[1:], None], strict=True):
        where = f"{page}, line {block.line}"
        if block.kind == "python" and block.file:
            (reader / block.file).parent.mkdir(exist_ok=True)
            (reader / block.file).write_text(block.body)
        elif block.kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * block.line + block.body, str(page), "exec"), names)
            shown = after.body if after is not None and after.kind == "text" else ""
            assert alike(printed.getvalue(), shown), f"{where} printed\n{printed.getvalue()}\n--- the page has\n{shown}"
        elif block.kind == "console":
            run_console(block)


def test_no_page_has_a_block_that_nobody_runs():
    kinds = {(page.name, block.kind) for page in pages() for block in blocks(page)}
    assert {kind for _, kind in kinds} <= {"python", "console", "text", "shell", "toml"}


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("er 80.1 ± 2.9\n", "er   81.0 ± 3.0", True),
        ("er 60.1 ± 2.9\n", "er 81.0 ± 3.0", False),
        ("er 0.80", "er 0.91", False),
        ("er 0.90", "der 0.90", False),
        ("seed 1 in 3 s", "seed 2 in … s", False),
        ("[1/2] er 80.1 s [2/2] er 90.1 s", "… [2/2] er 90.0 s", True),
        ("er in 12 s\n", "er in … s", True),
        ("", "er", False),
        ("er", "", False),
    ],
)
def test_what_counts_as_the_same(printed, shown, same):
    assert alike(printed, shown) == same
