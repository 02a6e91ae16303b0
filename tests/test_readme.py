"""The README: its examples run as a reader would run them, and what it links to is there."""

import re
from pathlib import Path

import pytest
import torch

from ckd.data import tensor_stream

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLUGIN, OWN_LOOP = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def ran(example):
    """The names that an example defines."""
    names = {"__name__": "__main__"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(example, "README.md", "exec"), names)
    return names


def test_the_plugin_is_of_the_method_that_the_readme_says():
    assert [plugin.objective.name for plugin in ran(PLUGIN)["plugins"]] == ["der++"]


def test_the_own_loop_learns():
    names = ran(OWN_LOOP)
    right = [(names["model"](x).argmax(1) == y).float() for x, y in tensor_stream("split-digits").tensors("test")]
    assert torch.cat(right).mean() > 0.75


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README))))
def test_what_the_readme_links_to_is_there(link):
    assert (ROOT / link).exists()


def test_the_readme_is_short():
    assert len(README.splitlines()) < 110


def test_the_page_of_the_package_links_to_no_file_of_the_repository():
    """It is shown where the repository is not."""
    page = (ROOT / "docs" / "pypi.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((?!https://)", page) == []
    assert "<img" not in page
