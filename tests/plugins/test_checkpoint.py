"""A run that is killed at any step and taken up ends bit for bit as one that was not, with every recipe."""

import random
import warnings

import pytest
import torch
from avalanche.benchmarks.scenarios.online import split_online_stream
from avalanche.training import ER_ACE, Cumulative
from avalanche.training.plugins import EWCPlugin, LRSchedulerPlugin, ReplayPlugin
from models import Growing, MultiHead
from shared import equal_bits
from torch import nn

from ckd import AccuracyRecorder, Fixed, SelfDistillation, TensorLoader, recipes
from ckd.checkpoint import CheckpointError, Checkpoints
from ckd.errors import ConfigError
from ckd.plugins import Checkpoint, LearningRateDecay, MixedPrecision, MutualLearning, StepCounter, Stopped
from ckd.plugins.mixed_precision import SlowPrecision
from ckd.recipes import RECIPES
from ckd.teachers import Peer

LAYERED = {"hint", "attention", "similarity", "relational", "review"}


class Killed(BaseException):
    pass


class Dies:
    """In the place of a signal: raises in the middle of the n-th step of this process."""

    def __init__(self, at):
        self.left = at

    def before_update(self, strategy, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise Killed


def net(seed=0):
    """With maps, batch statistics and draws of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)
        return nn.Sequential(*body, nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(24, 6))


def learners(name, model):
    """The plugins of a recipe."""
    recipe = RECIPES[name]
    own = {"memory_size": 20} if "memory_size" in recipe.defaults else {}
    own |= {"steps": 10} if "steps" in recipe.defaults else {}
    own |= {"layers": "3=3, 5=5"} if name in LAYERED else {}
    if recipe.teacher == "peer":
        other = net(1)
        optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
        beside = MutualLearning(other, recipe.build(Peer(model)), optimizer)
        return [SelfDistillation(recipe.build(Peer(other))), beside]
    return [SelfDistillation(recipe.build(*([Fixed(net(1))] if recipe.teacher else []), **own))]


class Script:
    """What a user runs again and again; each call builds everything anew."""

    def __init__(self, folder, stream, naive, plugins, *, model=net, every=2, evaluate=True, **settings):
        self.folder, self.stream, self.naive, self.plugins = folder, stream, naive, plugins
        self.model, self.every, self.evaluate = model, every, evaluate
        self.settings = {"lr": 0.05, **settings}

    def __call__(self, die_at=0, checkpoint=True):
        torch.manual_seed(3)
        random.seed(3)
        (stream, test), model = self.stream(), self.model()
        saves = Checkpoint(self.folder, every=self.every)
        plugins = [*self.plugins(model), Dies(die_at), *([saves] if checkpoint else [])]
        recorder = AccuracyRecorder(keep_predictions=True)
        strategy = self.strategy = self.naive(model, plugins, evaluator=recorder, **self.settings)
        strategy.optimizer.param_groups[0]["momentum"] = 0.9
        for experience in saves.resume(strategy, stream) if checkpoint else stream:
            strategy.train(experience)
            if self.evaluate:
                strategy.eval(test)
        return self

    def killed(self, *steps):
        """Call it again after it died at each of these steps, counted anew in each call."""
        for at in steps:
            with pytest.raises(Killed):
                self(die_at=at)
        return self()

    def end(self):
        files = Checkpoints(self.folder)
        return files.read(files.names()[-1]).state()


@pytest.fixture
def script(tmp_path, benchmark_of, naive, blobs):
    """script(name, plugins, ...) -> a Script in a folder of that name."""

    def make(folder, plugins, labels="zero", stream=lambda benchmark: benchmark.train_stream, **given):
        def streams():
            benchmark = benchmark_of(blobs(), labels)
            return stream(benchmark), benchmark.test_stream

        return Script(tmp_path / folder, streams, naive, plugins, **given)

    return make


def assert_same_end(script, *steps, **given):
    """Killed at these steps, counted anew in each call, it ends as undisturbed; returns that end."""
    wanted = script("undisturbed", **given)().end()
    assert equal_bits(script("killed", **given).killed(*steps).end(), wanted)
    return wanted


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_ends_bit_for_bit_the_same(name, script):
    draw = random.Random(name)
    steps = [draw.randint(1, 7) for _ in range(2)]
    wanted = assert_same_end(script, *steps, plugins=lambda model: learners(name, model), every=4)
    without = script("without", plugins=lambda model: learners(name, model))(checkpoint=False)
    found = without.strategy.model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in wanted["model"]["tensors"].items())
    assert torch.equal(wanted["random"]["torch"], torch.get_rng_state())


def der(model):
    return [SelfDistillation(recipes.der_plus_plus(memory_size=20))]


@pytest.fixture(scope="module")
def ends():
    """What undisturbed runs that several tests compare with ended with, by name."""
    return {}


@pytest.mark.parametrize("at", [1, 5, 10, 11, 30])
def test_whatever_the_step(script, ends, at):
    """The first, the last of an epoch and of an experience, and the last of the stream, which has 30."""
    given = {"plugins": der, "epochs": 2, "every": 1}
    wanted = ends.get("der++") or ends.setdefault("der++", script("undisturbed", **given)().end())
    assert equal_bits(script("killed", **given).killed(at).end(), wanted)


@pytest.mark.parametrize("name", ["ballast", "self-distillation", "ewc"])
def test_an_online_stream_between_an_experiences_last_step_and_its_end(name, script):
    """The end looks at the last mini-batch, which no loader serves again."""
    left = [2]

    class DiesBeforeTheEnd:
        def after_training_exp(self, strategy, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise Killed

    def plugins(model):
        own = {"memory_size": 20} if "memory_size" in RECIPES[name].defaults else {}
        return [DiesBeforeTheEnd(), SelfDistillation(RECIPES[name].build(**own), online=True)]

    killed = script("killed", plugins=plugins, every=1)
    with pytest.raises(Killed):
        killed()
    assert equal_bits(killed().end(), script("undisturbed", plugins=plugins, every=1)().end())


def test_between_experiences_alone(script):
    assert_same_end(script, 8, 7, plugins=der, every=0)


@pytest.mark.parametrize("evaluate", [True, False])
@pytest.mark.parametrize(
    ("model", "labels"), [(Growing, "zero"), (MultiHead, "index"), (lambda: MultiHead(masking=False), "index")]
)
def test_heads_that_grow(script, model, labels, evaluate):
    """In evaluation they grow to all classes of the test stream, and have heads for tasks that come later."""
    given = {"plugins": der, "model": model, "labels": labels, "evaluate": evaluate}
    assert_same_end(script, 3, 8, **given)


def test_avalanches_own_loader_and_samples_stored_as_they_arrive(script):
    def plugins(model):
        return [SelfDistillation(recipes.er(memory_size=20), resident=False)]

    with pytest.warns(UserWarning, match="the memory stores samples"):
        assert_same_end(script, 3, 8, plugins=plugins)


def test_a_falling_rate_a_counter_and_a_loader_of_ones_own(script):
    def plugins(model):
        return [
            SelfDistillation(recipes.er(memory_size=20)),
            LearningRateDecay(0.1),
            StepCounter(),
            TensorLoader(seed=4),
        ]

    assert_same_end(script, 3, 8, plugins=plugins)


def test_adam_and_avalanches_scheduler(script):
    def with_adam(naive):
        def make(model, plugins, **given):
            strategy = naive(model, plugins, **given)
            strategy.optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            schedule = torch.optim.lr_scheduler.ExponentialLR(strategy.optimizer, 0.9)
            strategy.plugins.insert(0, LRSchedulerPlugin(schedule, reset_scheduler=False, reset_lr=False))
            return strategy

        return make

    ends = []
    for steps in ((), (3, 8)):
        one = script(f"adam{steps}", plugins=der)
        one.naive = with_adam(one.naive)
        ends.append(one.killed(*steps).end())
    assert equal_bits(*ends)


def test_cumulative_training(script):
    assert_same_end(script, 3, 14, plugins=lambda model: [], strategy=Cumulative)


def test_bfloat16_in_teachers_too(script):
    def plugins(model):
        return [SelfDistillation(recipes.lwf()), MixedPrecision()]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlowPrecision)
        assert_same_end(script, 8, 4, plugins=plugins)


def test_online_streams(script):
    def stream(benchmark):
        return split_online_stream(benchmark.train_stream, experience_size=10, access_task_boundaries=True)

    given = {"plugins": der, "stream": stream, "evaluate": False}
    assert_same_end(script, 1, 6, 9, **given)


# what is refused ---------------------------------------------------------------------------------------------------


def refused(script, error, match):
    with pytest.raises(error, match=match):
        script()


def began(script, folder="run", **given):
    one = script(folder, plugins=der, **given)
    with pytest.raises(Killed):
        one(die_at=8)
    return one


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"plugins": lambda model: [SelfDistillation(recipes.er(memory_size=20))]}, "objective"),
        ({"plugins": lambda model: [SelfDistillation(recipes.der_plus_plus(memory_size=30))]}, "memory size"),
        ({"plugins": lambda model: [SelfDistillation(recipes.der_plus_plus(memory_size=20, alpha=9.0))]}, "weights"),
        ({"plugins": lambda model: []}, "plugins"),
        ({"model": lambda: nn.Linear(6, 6)}, "model"),
        ({"epochs": 3}, "epochs"),
        ({"batch": 10}, "batch size"),
        ({"lr": 0.1}, "hyper-parameters"),
        ({"strategy": Cumulative}, "strategy"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_left_alone(script, change, match):
    files = began(script).folder
    before = {file: file.read_bytes() for file in files.iterdir()}
    refused(script("run", **{"plugins": der, **change}), CheckpointError, f"of another run, whose .*{match}")
    assert {file: file.read_bytes() for file in files.iterdir()} == before


def test_data_that_changed_are_refused(script, blobs, tmp_path, benchmark_of, naive):
    began(script)
    changed = blobs()
    changed[2][1][:] = changed[2][1].flip(0)

    def stream():
        benchmark = benchmark_of(changed)
        return benchmark.train_stream, benchmark.test_stream

    refused(Script(tmp_path / "run", stream, naive, der), CheckpointError, "whose experiences")


def test_of_a_damaged_one_the_one_before_is_used(script):
    wanted = script("undisturbed", plugins=der)().end()
    one = began(script)
    newest = one.folder / Checkpoints(one.folder).names()[-1]
    newest.write_bytes(newest.read_bytes()[:-5])
    with pytest.warns(UserWarning, match=f"passed over {newest.name}: it has .* bytes of"):
        one()
    assert equal_bits(one.end(), wanted)


def test_a_loop_that_does_not_ask_what_is_left_is_refused(script, naive, network, benchmark_of, blobs, tmp_path):
    strategy = naive(network(), [Checkpoint(tmp_path)])
    with pytest.raises(ConfigError, match="a loop over what is left"):
        strategy.train(benchmark_of(blobs()).train_stream)
    with pytest.raises(ConfigError, match="a strategy with this plugin"):
        Checkpoint(tmp_path).resume(naive(network()), [])


@pytest.mark.parametrize("plugin", [ReplayPlugin(mem_size=5), EWCPlugin(1.0)], ids=lambda plugin: type(plugin).__name__)
def test_plugins_whose_state_would_be_lost_are_refused(naive, network, tmp_path, plugin):
    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=f"received {type(plugin).__name__}"):
        checkpoint.resume(naive(network(), [plugin, checkpoint]), [])


def test_strategies_whose_state_would_be_lost_are_refused(naive, network, tmp_path):
    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(ConfigError, match="received ER_ACE"):
        checkpoint.resume(naive(network(), [checkpoint], strategy=ER_ACE, mem_size=10, batch_size_mem=2), [])


@pytest.mark.parametrize("given", [{"every": -1}, {"every": 1.5}, {"keep": 0}, {"budget": 2}])
def test_numbers_that_cannot_work_are_refused(tmp_path, given):
    with pytest.raises(ConfigError, match="checkpoints"):
        Checkpoint(tmp_path, **given)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({}, [1, 2, 3, 4, 5, 6]), ({"budget": 0.25}, [1, 5]), ({"budget": 0.25, "every": 1000}, [1, 2, 3, 4, 5, 6])],
)
def test_checkpoints_stay_within_their_budget(
    given, wanted, naive, benchmark_of, blobs, network, tmp_path, monkeypatch
):
    """An experience takes 3 seconds here, a checkpoint 2."""
    now, written = [0.0], []
    monkeypatch.setattr("ckd.plugins.checkpoint.time.perf_counter", lambda: now[0])
    checkpoint = Checkpoint(tmp_path, **given)

    def save(state, about):
        written.append(state["learnt"])
        now[0] += 2

    monkeypatch.setattr(checkpoint.files, "save", save)
    strategy = naive(network(), [checkpoint])
    for _ in checkpoint.resume(strategy, [*benchmark_of(blobs()).train_stream] * 2):
        now[0] += 3
    assert written == wanted


def test_stop_saves_at_the_end_of_the_step(script):
    class Asks(Dies):
        def before_update(self, strategy, **kwargs):
            self.left -= 1
            if self.left == 0:
                next(plugin for plugin in strategy.plugins if isinstance(plugin, Checkpoint)).stop()

    one = script("stopped", plugins=lambda model: [*der(model), asks], every=0)
    two = script("undisturbed2", plugins=lambda model: [*der(model), asks], every=0)
    asks = Asks(0)
    wanted = two().end()
    asks = Asks(8)
    with pytest.raises(Stopped):
        one()
    assert one.end()["clock"]["train_iterations"] == 8
    asks = Asks(0)
    assert equal_bits(one().end(), wanted)
