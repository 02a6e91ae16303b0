"""Models with Avalanche's heads, and what refuses them."""

import pytest
import torch
from models import Growing, MultiHead


@pytest.fixture
def growing():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Growing()


@pytest.fixture
def refused(blobs, benchmark_of, naive):
    """refused(objective) trains a multi-head model; returns the error, and how many updates there were before it."""

    class Updates:
        def __init__(self):
            self.made = 0

        def before_update(self, strategy, **kwargs):
            self.made += 1

    def run(objective):
        from ckd import SelfDistillation
        from ckd.errors import ModelError

        updates = Updates()
        with pytest.raises(ModelError) as caught:
            naive(MultiHead(), [updates, SelfDistillation(objective)]).train(
                benchmark_of(blobs(), "index").train_stream
            )
        return str(caught.value), updates.made

    return run
