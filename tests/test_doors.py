"""Every way in gives the same numbers: a plain loop around the engine, and the plugin in Avalanche, bit for bit."""

import copy

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.models import IncrementalClassifier, MultiHeadClassifier, MultiTaskModule
from avalanche.models.utils import avalanche_model_adaptation
from shared import learn_experience
from torch import nn

from ckd import Adaptor, Ema, Engine, Ensemble, Fixed, SelfDistillation, Snapshot, Term, recipes, tap
from ckd.heads import NearestMean
from ckd.losses import cross_entropy, feature_distance, kd
from ckd.objective import features, replay, stream, teacher, union
from ckd.plugins.head_units import active_units
from ckd.recipes import RECIPES
from ckd.views import Mixup, Noise


class Served(SupervisedPlugin):
    """Notes the mini-batches of each experience, and the global random state before each forward pass."""

    def __init__(self):
        super().__init__()
        self.experiences = []

    def before_training_exp(self, strategy, **kwargs):
        self.experiences.append([])

    def before_forward(self, strategy, **kwargs):
        self.experiences[-1].append((strategy.mb_x.clone(), strategy.mb_y.clone(), torch.get_rng_state()))


def in_avalanche(objective, student, benchmark, naive):
    """Trains and evaluates; what was served, and the objective's engine."""
    served, plugin = Served(), SelfDistillation(objective)
    strategy = naive(student, [served, plugin])
    torch.manual_seed(1)
    for experience in benchmark.train_stream:
        strategy.train(experience)
        strategy.eval(benchmark.test_stream)
    return served, plugin.engine


def in_a_plain_loop(objective, student, experiences, served):
    """The same batches in the same order under the same random state."""
    engine, optimizer = Engine(objective), torch.optim.SGD(student.parameters(), lr=0.1)
    for (x, y), batches in zip(experiences, served.experiences, strict=True):
        learn_experience(engine, student, x, y, under_their_states(batches), optimizer)
    return engine


def under_their_states(batches):
    """Each batch, once the global random state is what it was when the batch was served."""
    for inputs, labels, state in batches:
        torch.set_rng_state(state)
        yield inputs, labels


def everything():
    """Much of what a term can be, in one objective, with two evaluation models."""
    both = tap("0", "1")
    terms = [
        Term("hint", stream, teacher("fixed", output=tap("0")), feature_distance, output=tap("0"), adaptor=Adaptor()),
        Term("relations", union(replay("a")), teacher("past", output=both), of_both, output=both),
        Term("mixed", replay("c"), loss=cross_entropy, view=Mixup(labels=True), weight=lambda m: 0.1 * m.experience),
        Term("noisy", replay("a"), teacher("both", view=Noise(0.1)), kd, view=Noise(0.2)),
        Term("features", stream, teacher("past", output=features), feature_distance, output=features, weight=0.2),
    ]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        fixed = Fixed(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)), classes=range(4))
    ema, past = Ema(0.9), Snapshot()
    return recipes.der_plus_plus(memory_size=20).extend(
        *terms,
        name="everything",
        teachers={"fixed": fixed, "past": past, "both": Ensemble([Ema(0.8), fixed])},
        evaluation={"means": [ema, NearestMean()], "average": ema},
    )


def of_both(student, target):
    return sum((mine - its).flatten(1).norm(dim=1) for mine, its in zip(student, target, strict=True))


def built(name):
    size = {"memory_size": 20} if "memory_size" in RECIPES[name].defaults else {}
    return lambda: RECIPES[name].build(**size)


MAKE = {
    name: built(name) for name, recipe in sorted(RECIPES.items()) if recipe.strategy == "Naive" and not recipe.teacher
}
MAKE["everything"] = everything
MAKE["bic, averaged"] = lambda: recipes.bic(memory_size=20).with_average(0.9)


@pytest.mark.parametrize(
    ("same_classes", "batchnorm"),
    [(False, True), (True, False)],
    ids=["split, with batchnorm", "same classes, without batchnorm"],
)
@pytest.mark.parametrize("name", MAKE)
def test_a_plain_loop_and_avalanche_end_with_the_same_numbers(
    name, same_classes, batchnorm, blobs, benchmark_of, network, naive
):
    experiences = blobs(same_classes=same_classes, n_per_class=7 if same_classes else 20)
    one, other = network(batchnorm=batchnorm), network(batchnorm=batchnorm)
    with torch.random.fork_rng():
        served, plugins = in_avalanche(MAKE[name](), one, benchmark_of(experiences), naive)
        engine = in_a_plain_loop(MAKE[name](), other, experiences, served)
    assert sum(map(len, served.experiences)) >= 15
    for mine, its in ((one, other), (plugins.evaluation_model(one), engine.evaluation_model(other))):
        assert equal(mine.state_dict(), its.state_dict())
    assert equal(plugins.state_dict(), engine.state_dict())


class Growing(nn.Module):
    def __init__(self, masking):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.classifier = IncrementalClassifier(8, 2, masking=masking)

    def forward(self, x):
        return self.classifier(self.body(x))


class MultiHead(MultiTaskModule):
    def __init__(self, masking):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.classifier = MultiHeadClassifier(8, 2, masking=masking)

    def forward(self, x, task_labels):
        return self.classifier(self.body(x), task_labels)


@pytest.mark.parametrize(
    ("name", "head", "masking"),
    [
        *((name, Growing, True) for name in ("der++", "lwf", "ser", "er-ace", "mean-er", "x-der")),
        *((name, MultiHead, False) for name in ("der++", "lwf", "ser", "er-ace", "mean-er", "x-der")),
        *((name, Growing, False) for name in ("der++", "lwf")),
        *((name, MultiHead, True) for name in ("der++", "lwf")),
    ],
)
def test_so_do_heads_that_grow_and_heads_for_each_task(name, masking, head, blobs, benchmark_of, naive):
    """Avalanche's own, adapted and masked in the plain loop as Avalanche does it."""
    benchmark = benchmark_of(blobs(), "index" if head is MultiHead else "zero")
    torch.manual_seed(0)
    one = head(masking)
    other = copy.deepcopy(one)
    served, plugins = Served(), SelfDistillation(MAKE[name]())
    strategy = naive(one, [served, plugins])
    engine = Engine(MAKE[name]())
    for experience, (x, y) in zip(benchmark.train_stream, blobs(), strict=True):
        random = torch.get_rng_state()
        strategy.train(experience)
        torch.set_rng_state(random)
        avalanche_model_adaptation(other, experience)
        optimizer, task = torch.optim.SGD(other.parameters(), lr=0.1), experience.task_label
        engine.begin({task: y.unique().tolist()}, per_task=head is MultiHead, active=active_units(other))
        for bx, by, state in served.experiences[-1]:
            torch.set_rng_state(state)
            optimizer.zero_grad()
            tasks = torch.full_like(by, task)
            engine.loss(other, bx, by, tasks).backward()
            optimizer.step()
            engine.after_update(optimizer)
        engine.end((x, y, torch.full_like(y, task)))
    assert equal(one.state_dict(), other.state_dict())
    assert equal(plugins.engine.state_dict(), engine.state_dict())


def equal(one, other):
    """Whether two states are equal bit for bit; NaN is equal to NaN."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, torch.Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype
        floating = one.is_floating_point()
        return same and torch.equal(*(t.nan_to_num(nan=1e30) if floating else t for t in (one, other)))
    return one == other


def test_a_difference_would_be_seen(blobs, benchmark_of, network, naive):
    """Where the plain loop is given one batch less."""
    experiences, ends = blobs(), []
    for skipped in (0, 1):
        with torch.random.fork_rng():
            served, plugins = in_avalanche(built("der++")(), network(), benchmark_of(experiences), naive)
            served.experiences[1] = served.experiences[1][skipped:]
            engine = in_a_plain_loop(built("der++")(), network(), experiences, served)
        ends.append(equal(plugins.state_dict(), engine.state_dict()))
    assert ends == [True, False]
