"""The objectives of the page on composing do what it says of them when they train."""

import pytest
from pages import DOCS, blocks
from torch import nn

from ckd import Engine


@pytest.fixture
def composed():
    """The names that the page defines."""
    names = {"__name__": "__main__"}
    for block in blocks(DOCS / "composing.md"):
        if block.kind == "python":
            exec(compile(block.body, "composing.md", "exec"), names)
    return names


def test_the_plugin_trains_and_fills_its_memory(composed, blobs, benchmark_of, network, naive):
    naive(network(), [composed["plugin"]]).train(benchmark_of(blobs()).train_stream)
    assert len(composed["objective"].memory) == 120


def test_the_anchor_pulls_towards_the_snapshot(composed):
    assert composed["held"].anchor.teacher is composed["past"]


def test_the_hint_is_a_part_of_the_loss(composed, blobs):
    engine, model = Engine(composed["hinted"]), nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 6))
    for x, y in blobs():
        engine.begin(y.unique())
        losses = engine.loss(model, x, y)
        losses.backward()
        engine.after_update()
        engine.end()
    assert set(losses.parts) == {"criterion", "logits", "labels", "hint"}
