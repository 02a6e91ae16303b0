"""Every recipe with every kind of stream, labels and head: it works, or it is refused before it trains."""

import pickle
import warnings

import pytest
import torch
from avalanche.benchmarks.scenarios.online import split_online_stream
from avalanche.models import IncrementalClassifier, MultiHeadClassifier, MultiTaskModule
from torch import nn

from ckd import SelfDistillation
from ckd.errors import ConfigError, ModelError
from ckd.plugins import BoundaryWarning
from ckd.recipes import RECIPES

ONE_HEAD_ONLY = {"bfp", "bic", "icarl", "wa"}
WHOLE_EXPERIENCES = {"icarl"}


class Growing(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.classifier = IncrementalClassifier(8, 2)

    def forward(self, x):
        return self.classifier(self.features(x))


class MultiHead(MultiTaskModule):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.classifier = MultiHeadClassifier(8, 2)

    def forward(self, x, task_labels):
        return self.classifier(self.features(x), task_labels)


def fixed():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))


class Watch:
    """The loss of every step, and whether any teacher changed within one without being an average."""

    def __init__(self, plugin):
        self.plugin, self.losses, self.moved = plugin, [], []

    def before_forward(self, strategy, **kwargs):
        self.before = self._weights()

    def after_training_iteration(self, strategy, **kwargs):
        self.losses.append(strategy.loss.item())
        self.moved.append(any(not torch.equal(a, b) for a, b in zip(self.before, self._weights(), strict=True)))

    def _weights(self):
        snapshots = [t for name, t in self.plugin.objective.teachers.items() if name == "snapshot" and t.ready]
        return [value.clone() for t in snapshots for value in t.model.state_dict().values()]


def stream_of(benchmark, kind):
    if kind == "offline":
        return benchmark.train_stream
    return split_online_stream(benchmark.train_stream, experience_size=10, access_task_boundaries=kind == "boundaries")


LABELS = ("zero", "index", "none")
ALL = [
    *((fixed, labels, kind) for labels in LABELS for kind in ("offline", "boundaries", "no boundaries")),
    # Avalanche's online streams lose the attributes that these heads are adapted by; MultiHead needs task labels
    *((Growing, labels, kind) for labels in LABELS for kind in ("offline", "boundaries")),
    *((MultiHead, labels, "offline") for labels in LABELS[:2]),
]
EACH_HEAD_LABEL_AND_KIND = [
    (fixed, "none", "no boundaries"),
    (fixed, "index", "boundaries"),
    (Growing, "none", "boundaries"),
    (Growing, "zero", "offline"),
    (MultiHead, "zero", "offline"),
    (MultiHead, "index", "offline"),
]
NAMES = sorted(name for name, recipe in RECIPES.items() if not recipe.teacher)
THOROUGH = ("bic", "der++", "ewc", "self-distillation")
"""Recipes that meet every combination: one with a head of its own, with a memory, with an anchor, and the default."""


@pytest.mark.parametrize(
    ("name", "head", "labels", "kind"),
    [(name, *met) for name in NAMES for met in (ALL if name in THOROUGH else EACH_HEAD_LABEL_AND_KIND)],
)
def test_it_works_or_is_refused(name, head, labels, kind, blobs, benchmark_of, naive):
    torch.manual_seed(0)
    own = {"memory_size": 20} if "memory_size" in RECIPES[name].defaults else {}
    plugin = SelfDistillation(RECIPES[name].build(**own))
    watch = Watch(plugin)
    strategy = naive(head(), [plugin, watch])
    stream = stream_of(benchmark_of(blobs(), labels), kind)
    refused = (head is MultiHead and name in ONE_HEAD_ONLY) or (kind != "offline" and name in WHOLE_EXPERIENCES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BoundaryWarning)
        if refused:
            with pytest.raises((ConfigError, ModelError)):
                strategy.train(stream)
            assert watch.losses == []
            return
        strategy.train(stream)
    assert len(watch.losses) >= 12
    assert max(watch.losses) < 100
    assert not any(watch.moved)
    objective = plugin.objective
    assert objective.memory is None or len(objective.memory) <= 20
    again = pickle.loads(pickle.dumps(plugin)).objective
    assert list(objective.parts) == list(again.parts)
    for part, copy in zip(objective.parts.values(), again.parts.values(), strict=True):
        if hasattr(part, "rows"):
            mine, its = dict(part.rows.items()), dict(copy.rows.items())
            assert all(torch.equal(mine[key].nan_to_num(), its[key].nan_to_num()) for key in mine)
        if getattr(part, "ready", False):
            mine, its = part.model.state_dict(), copy.model.state_dict()
            assert all(torch.equal(mine[key], its[key]) for key in mine)
