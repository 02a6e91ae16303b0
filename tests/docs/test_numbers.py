"""The README and the guides print no result that benchmarks/results does not have."""

import re

import pytest
from pages import DOCS

MEASURED = "\n".join(file.read_text() for file in sorted((DOCS.parent / "benchmarks" / "results").glob("*.md")))
PAGES = [DOCS / f"{name}.md" for name in ("choosing", "distillation", "pypi")]
GUIDES = [DOCS.parent / "README.md", *PAGES, *sorted((DOCS / "explanation").glob("*.md"))]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_result_of_a_guide_is_in_a_file_of_results(page):
    shown = set(re.findall(r"-?\d+\.\d+ ± \d+\.\d+", page.read_text()))
    assert {number for number in shown if number not in MEASURED} == set()


def test_the_guides_show_results():
    assert len(re.findall("±", (DOCS / "choosing.md").read_text())) > 30


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_files_of_results_that_a_guide_names_are_there(page):
    named = set(re.findall(r"`(?:benchmarks/results/)?(\w+\.md)`", page.read_text()))
    assert {name for name in named if not (DOCS.parent / "benchmarks" / "results" / name).exists()} == set()
