"""Faults of a training loop, each of which once ended in a traceback, or went on and said nothing."""

import errno
import io
import os
import pickle
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from avalanche.models.batch_renorm import BatchRenorm2D
from shared import learn_experience
from torch import nn
from torch.nn import functional as F

from ckd import Engine, Objective, SelfDistillation, Term, recipes
from ckd.anchors import Anchor, Diagonal, Kronecker
from ckd.cli import main
from ckd.errors import ConfigError, DataError, NonFiniteLossError
from ckd.losses import cross_entropy
from ckd.memory import Memory
from ckd.plugins import StepCounter
from ckd.recipes import RECIPES
from ckd.rows import Rows
from ckd.teachers import Snapshot

X, Y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def learn(objective, model, steps=3, **settings):
    """Two experiences in one's own loop; returns the engine."""
    engine = Engine(objective)
    optimizer = torch.optim.SGD(model.parameters(), **{"lr": 0.1, **settings})
    for _ in range(2):
        learn_experience(engine, model, X, Y, [(X, Y)] * steps, optimizer)
    return engine


# anchors -----------------------------------------------------------------------------------------------------------


def test_a_saturated_softmax_has_no_fisher_and_is_not_held():
    model = mlp()
    for parameter in model.parameters():
        parameter.data.mul_(1e4)
    free = [parameter.clone() for parameter in model.parameters()]
    engine = learn(recipes.ewc(), model, lr=0.0)
    assert engine.parts.nbytes()["curvature"] == 0
    assert all(torch.equal(a, b) for a, b in zip(free, model.parameters(), strict=True))


class Counting(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.net = mlp()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.net(x)


def fisher(model, seed=0):
    anchor = Anchor(Snapshot(), curvature := Diagonal(), seed=seed)
    learn(Objective("o", teachers={"past": anchor.teacher}, anchor=anchor), model, lr=0.0)
    return curvature.state_dict()["fisher"]


def test_a_buffer_that_counts_calls_changes_no_fisher():
    torch.manual_seed(0)
    counting = Counting()
    plain = fisher(counting.net)
    found = fisher(counting)
    assert counting.calls > 0
    assert {name.removeprefix("net."): pytest.approx(value) for name, value in found.items()} == plain


def test_a_curvature_of_nan_is_named():
    broken = nn.Sequential(mlp(), nn.LayerNorm(2, elementwise_affine=False, eps=float("nan")))
    objective = Objective("o", teachers={"past": (past := Snapshot())}, anchor=Anchor(past, Kronecker()))
    engine = Engine(objective)
    engine.begin([0, 1])
    engine.step(broken, X, Y)
    engine.receive(mlp()(X))
    engine.after_update(torch.optim.SGD(broken.parameters(), lr=0.1))
    with pytest.raises(NonFiniteLossError, match="curvature of"):
        engine.end((X, Y))


@pytest.mark.parametrize("momentum", [1.0, 1.5])
def test_a_momentum_that_never_rests_is_refused_beside_an_anchor_alone(momentum):
    learn(recipes.er(memory_size=4), mlp(), momentum=momentum)
    with pytest.raises(ConfigError, match="a momentum below 1"):
        learn(recipes.ewc(), mlp(), momentum=momentum)


# copies ------------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """Keeps its last output, with the graph, as a state; and a list of those before."""

    def __init__(self):
        super().__init__()
        self.net, self.state, self.history = mlp(), None, []

    def forward(self, x):
        past = 0 if self.state is None or len(self.state) != len(x) else 0.1 * self.state.detach()
        self.state = self.net(x) + past
        self.history = [self.state]
        return self.state


@pytest.mark.parametrize("name", ["lwf", "ewc", "tether", "mean-er", "cls-er", "self-distillation", "bic"])
def test_what_a_network_keeps_of_its_last_step_is_copied_as_values(name):
    learn(RECIPES[name].build(), Recurrent())


@pytest.mark.parametrize("name", ["lwf", "mean-er", "tether", "ewc", "self-distillation"])
def test_batch_renormalisation_gives_finite_numbers_or_is_explained(name):
    torch.manual_seed(0)
    layers = nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 1), BatchRenorm2D(4), nn.ReLU(), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(24, 2))
    try:
        engine = learn(RECIPES[name].build(), model, steps=10)
    except NonFiniteLossError:
        return
    assert engine.evaluation_model(model).eval()(X).isfinite().all()


# terms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("returned", [None, "much", 1j, [1.0], torch.ones(2)], ids=str)
def test_a_weight_function_that_returns_no_number_is_refused_by_name(returned):
    term = Term("mine", loss=cross_entropy, weight=lambda moment: returned)
    with pytest.raises(ConfigError, match=r"weight of term 'mine': expected a number from its function"):
        learn(Objective("o", [term]), mlp())


@pytest.mark.parametrize("weight", [True, "1", float("nan"), float("inf"), None, 10**400], ids=lambda w: str(w)[:9])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(ConfigError, match="weight of term"):
        Term("mine", loss=cross_entropy, weight=weight)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (F.cross_entropy, "classes=None"),
        (nn.CrossEntropyLoss(), "classes=None"),
        (lambda s, t, **_: F.cross_entropy(s, t), "reduction='none'"),
        (lambda s, t, classes=None: None, "received None"),
        (lambda s, t, classes=None: 1.0, r"received 1\.0"),
    ],
)
def test_a_loss_of_another_kind_is_refused(loss, said):
    with pytest.raises(ConfigError, match=said):
        learn(Objective("o", [Term("mine", loss=loss)]), mlp())


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_one_objective_serves_one_run(name):
    recipe = RECIPES[name]
    if recipe.teacher or not (objective := recipe.build()).parts or recipe.strategy != "Naive":
        return
    one, other = Engine(objective), Engine(objective)
    one.begin([0, 1])
    one.loss(mlp(), X, Y)
    if not any(part.owner for part in objective.parts.values()):  # nothing in it has a state
        return
    with pytest.raises(ConfigError, match="one that was trained"):
        other.begin([0, 1])


@pytest.mark.parametrize("size", [10**13, 10**17, 2**62])
def test_a_memory_without_room_is_explained(size):
    memory = Memory(size)
    with pytest.raises(ConfigError, match=r"memory size: expected room on cpu; received \d+ samples of 48 bytes"):
        memory.add(Rows(X, Y, torch.zeros_like(Y), torch.zeros_like(Y)))


# plugins -----------------------------------------------------------------------------------------------------------


def test_a_pickled_plugin_knows_its_student(blobs, benchmark_of, network, naive):
    stream = benchmark_of(blobs()).train_stream
    strategy = naive(network(), [SelfDistillation(recipes.lwf())])
    strategy.train(stream[0])
    content = pickle.dumps((strategy.plugins[0], strategy.model))
    plugin, _ = pickle.loads(content)
    with pytest.raises(ConfigError, match="the student that it was pickled beside"):
        naive(network(seed=1), [plugin]).train(stream[1])
    plugin, model = pickle.loads(pickle.dumps(pickle.loads(content)))
    naive(model, [plugin]).train(stream[1])


def test_a_plugin_that_was_pickled_goes_on_where_the_head_has_grown():
    model = mlp()
    engine = pickle.loads(pickle.dumps(learn(recipes.lwf(), model)))
    grown = nn.Linear(8, 4)
    grown.weight.data[:2], grown.bias.data[:2] = model[2].weight.data, model[2].bias.data
    model[2] = grown
    engine.begin([2, 3])
    engine.loss(model, X, Y + 2)


class Interrupt(Exception):
    pass


def test_an_interrupt_before_the_criterion_leaves_the_next_evaluation_its_own(blobs, benchmark_of, network, naive):
    stream, seen = benchmark_of(blobs()), []
    plugin = SelfDistillation(recipes.er_ace(memory_size=10))
    strategy = naive(network(), [plugin])
    strategy.train(stream.train_stream[0])
    own = strategy._criterion

    def interrupted(*_):
        raise Interrupt

    strategy.criterion = interrupted  # what follows the forward pass
    with pytest.raises(Interrupt):
        strategy.train(stream.train_stream[1])
    del strategy.criterion
    assert strategy._criterion is not own
    after = SimpleNamespace(after_eval_iteration=lambda s, **_: seen.append((s.loss.item(), s.mb_output, s.mb_y)))
    strategy.plugins.append(after)
    strategy.eval(stream.test_stream)
    assert strategy._criterion is own
    assert all(loss == pytest.approx(F.cross_entropy(output, y).item()) for loss, output, y in seen)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("empty", [0, 1])
@pytest.mark.filterwarnings("ignore::ckd.plugins.loader.LoaderWarning")
def test_a_test_experience_without_samples_has_no_accuracy(blobs, benchmark_of, network, naive, resident, empty):
    experiences = blobs(2)
    x, y = experiences[empty]
    train, test = (
        benchmark_of(experiences, "none"),
        benchmark_of([(x[:0], y[:0]) if i == empty else experiences[i] for i in (0, 1)], "none"),
    )
    strategy = naive(network(), [SelfDistillation(recipes.er(memory_size=5), resident=resident)])
    for experience in train.train_stream:
        strategy.train(experience)
        strategy.eval(test.test_stream)
    found = np.isnan(strategy.evaluator.matrix().values)
    assert found[:, empty].all()
    assert not found[:, 1 - empty].any()


# output ------------------------------------------------------------------------------------------------------------


def test_a_terminal_of_ascii_shows_what_it_can(monkeypatch):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    assert main(["list"]) == 0
    shown.flush()
    assert b"split-digits" in shown.buffer.getvalue()


def test_output_that_cannot_be_written_is_explained(monkeypatch, capsys):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "ckd: [Errno 28] No space left on device\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no such device")
def test_a_full_disk_behind_the_script(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "ckd.cli", "list"], stdout=full, stderr=-1, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert done.stderr.startswith(b"ckd: [Errno 28]")


# studies -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path, monkeypatch):
    """study(trials) -> the states of its trials afterwards; accuracy is the learning rate."""
    import optuna

    from ckd.bench import Range, tune
    from ckd.bench.tuning import _storage

    class Found:
        def __init__(self, spec, **_):
            self.matrix, self.value = self, spec.lr

        def average_accuracy(self):
            return self.value

    monkeypatch.setattr(sys.modules["ckd.bench.tuning"], "run", Found)

    def opened():
        storage = _storage(optuna, tmp_path / "study.db")
        return optuna.load_study(study_name=optuna.get_all_study_names(storage)[0], storage=storage)

    def act(trials):
        tune("split-digits", "er", {"lr": Range(0.1, 0.3)}, tmp_path, trials=trials)
        return [trial.state.name for trial in opened().trials]

    act.opened = opened
    return act


def begun_by(study, host, process):
    trial = study.opened().ask()
    trial.suggest_float("lr", 0.1, 0.3)
    trial.set_user_attr("process", [host, process])


def test_a_trial_whose_process_was_killed_is_run_by_another(study):
    assert study(1) == ["COMPLETE"]
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    begun_by(study, socket.gethostname(), ended.pid)
    assert study(3) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


TINY = {"n_experiences": 2, "epochs": 1, "samples_per_class": 20, "batch_size": 15, "memory_size": 20}


class Killed(BaseException):
    pass


def test_a_trial_that_was_killed_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    """No run is repeated, none is lost, and the accuracy is that of a trial that was not killed."""
    import optuna

    from ckd.bench import Range, run, tune
    from ckd.bench.tuning import _storage

    module, hook, seen = sys.modules["ckd.bench.tuning"], StepCounter.after_training_iteration, []
    monkeypatch.setattr(module, "run", lambda spec, **given: seen.append(spec) or run(spec, **given))

    def count(self, strategy, **given):
        hook(self, strategy, **given)
        if len(seen) == 2 and self.steps == 5:
            raise Killed

    monkeypatch.setattr(StepCounter, "after_training_iteration", count)

    def act():
        space = {"lr": Range(0.01, 0.3)}
        return tune("split-digits", "er", space, tmp_path, trials=2, seeds=2, checkpoint_every=2, **TINY)

    with pytest.raises(Killed):
        act()
    assert list(tmp_path.rglob("checkpoint-*"))
    storage = _storage(optuna, tmp_path / "study.db")
    study = optuna.load_study(study_name=optuna.get_all_study_names(storage)[0], storage=storage)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    storage.set_trial_user_attr(study.trials[0]._trial_id, "process", [socket.gethostname(), ended.pid])
    act()
    assert "goes on after 4 steps" in capsys.readouterr().err
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[0].params == study.trials[1].params
    assert [spec.seed for spec in seen] == [1000, 1001, 1001, 1000, 1001]
    wanted = np.mean([run(spec).matrix.average_accuracy() for spec in seen[:2]])
    assert study.trials[1].value == wanted
    assert not list(tmp_path.rglob("trials"))


def test_a_trial_that_was_interrupted_is_the_next_one(study, monkeypatch):
    run, rates = sys.modules["ckd.bench.tuning"].run, []

    def interrupted_at_first(spec, **given):
        rates.append(spec.lr)
        if len(rates) == 1:
            raise KeyboardInterrupt
        return run(spec, **given)

    monkeypatch.setattr(sys.modules["ckd.bench.tuning"], "run", interrupted_at_first)
    with pytest.raises(KeyboardInterrupt):
        study(2)
    assert study(2) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert rates[0] == rates[1] != rates[2]


def test_two_processes_do_not_run_one_trial_too_many(study):
    assert study(1) == ["COMPLETE"]
    begun_by(study, socket.gethostname(), os.getppid())  # still running
    begun_by(study, "elsewhere", 1)
    assert study(4) == ["COMPLETE", "RUNNING", "RUNNING", "COMPLETE", "PRUNED"]
    assert study(3)[-1] == "PRUNED"


def test_a_study_that_others_run_has_no_best_yet(study, tmp_path):
    study(1)
    opened = study.opened()
    storage = opened._storage
    storage.delete_study(opened._study_id)
    import optuna

    fresh = optuna.create_study(storage=storage, study_name=opened.study_name, direction="maximize")
    fresh.ask().set_user_attr("process", [socket.gethostname(), os.getppid()])
    with pytest.raises(DataError, match="one that another process runs"):
        study(1)
