"""The engine beside a plain PyTorch loop: what it computes, what it stores, what it refuses and with which words."""

import gc
import pickle
import warnings

import pytest
import torch
from shared import named
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from ckd import Adaptor, Engine, Fixed, Memory, Objective, Snapshot, Term, recipes, tap
from ckd.anchors import Anchor, Diagonal
from ckd.engine.given import BoundaryWarning
from ckd.errors import CkdError, ConfigError, DataError, ModelError, NonFiniteLossError, UnknownNameError
from ckd.losses import cross_entropy, kd
from ckd.objective import replay, stream, teacher
from ckd.rows import Rows


def learn(engine, experiences, student, optimizer=None, *, end=True):
    """A plain loop; the losses of every step."""
    optimizer = optimizer or torch.optim.SGD(student.parameters(), lr=0.1)
    losses = []
    for x, y in experiences:
        engine.begin(y.unique().tolist())
        for bx, by in zip(x.split(8), y.split(8), strict=True):
            optimizer.zero_grad()
            loss = engine.loss(student, bx, by)
            loss.backward()
            optimizer.step()
            engine.after_update(optimizer)
            losses.append({name: value.item() for name, value in loss.parts.items()})
        if end:
            engine.end((x, y))
    return losses


def reference(model, experiences, *, size, alpha, beta, weight, seed):
    """DER++ and distillation from a snapshot as a person would write it in plain torch; the losses of every step."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    g = torch.Generator().manual_seed(seed)
    kept, offered, losses, past = [], 0, [], None
    for x, y in experiences:
        for bx, by in zip(x.split(8), y.split(8), strict=True):
            logits = model(bx)
            step = {"criterion": F.cross_entropy(logits, by)}
            if kept:
                a = [kept[i] for i in torch.randperm(len(kept), generator=g)[: len(bx)]]
                b = [kept[i] for i in torch.randperm(len(kept), generator=g)[: len(bx)]]
                step["logits"] = alpha * F.mse_loss(
                    model(torch.stack([s[0] for s in a])), torch.stack([s[2] for s in a])
                )
                z = model(torch.stack([s[0] for s in b]))
                step["labels"] = beta * F.cross_entropy(z, torch.stack([s[1] for s in b]))
            if past is not None:
                network, known = past
                p, q = ((m(bx)[:, known] / 2).log_softmax(1) for m in (network, model))
                step["past"] = weight * 4 * (p.exp() * (p - q)).sum(1).mean()
            optimiser.zero_grad()
            sum(step.values()).backward()
            optimiser.step()
            losses.append({name: float(value.detach()) for name, value in step.items()})
            draws = torch.rand(len(bx), generator=g, dtype=torch.float64)
            for sample, u in zip(zip(bx, by, logits.detach(), strict=True), draws, strict=True):
                slot = offered if offered < size else int(u * (offered + 1))
                offered += 1
                if len(kept) < size:
                    kept.append(sample)
                elif slot < size:
                    kept[slot] = sample
        frozen = pickle.loads(pickle.dumps(model)).requires_grad_(False)
        past = frozen, sorted({*y.tolist(), *(past[1] if past else ())})
    return losses


@pytest.mark.parametrize("joint", [True, False])
def test_a_run_is_a_plain_torch_loop_step_by_step(joint, blobs, network):
    experiences = blobs(dtype=torch.float64)
    settings = {"alpha": 0.3, "beta": 0.7, "seed": 5}
    wanted = reference(network(torch.float64), experiences, size=30, weight=0.6, **settings)
    past = Term("past", target=teacher("snapshot"), loss=kd, weight=0.6)
    objective = recipes.der_plus_plus(memory_size=30, **settings).extend(past, teachers={"snapshot": Snapshot()})
    found = learn(Engine(objective, joint=joint), experiences, network(torch.float64))
    assert len(found) == len(wanted) == 15
    for mine, its in zip(found, wanted, strict=True):
        assert mine == pytest.approx(its, rel=1e-12)


def test_the_loss_is_the_sum_of_its_weighted_parts_and_tells_the_logits():
    terms = [
        Term("double", loss=cross_entropy, weight=2.0),
        Term("minus", loss=cross_entropy, weight=-0.25),
        Term("off", loss=cross_entropy, weight=0),
    ]
    engine, student = Engine(Objective("x", terms)), nn.Linear(3, 4)
    engine.begin(range(4))
    x, y = torch.randn(8, 3), torch.arange(8) % 4
    found = engine.loss(student, x, y)
    one = F.cross_entropy(student(x), y)
    assert {name: value.item() for name, value in found.parts.items()} == pytest.approx(
        {"criterion": one.item(), "double": 2 * one.item(), "minus": -0.25 * one.item()}
    )
    assert found.total.item() == pytest.approx(2.75 * one.item(), rel=1e-6)
    assert torch.equal(found.logits, student(x))
    assert not any(value.requires_grad for value in found.parts.values())
    found.backward()
    wanted = torch.autograd.grad(2.75 * F.cross_entropy(student(x), y), student.weight)[0]
    assert torch.allclose(student.weight.grad, wanted, atol=1e-6)


def test_the_criterion_of_the_loop_takes_the_place_of_cross_entropy():
    engine, student = Engine(Objective("x"), criterion=nn.CrossEntropyLoss(label_smoothing=0.3)), nn.Linear(3, 4)
    engine.begin(range(4))
    x, y = torch.randn(8, 3), torch.arange(8) % 4
    wanted = F.cross_entropy(student(x), y, label_smoothing=0.3)
    assert engine.loss(student, x, y).total.item() == pytest.approx(wanted.item())


def test_mean_losses_are_those_of_the_steps_since_the_last_call(blobs, network):
    engine = Engine(recipes.der_plus_plus(memory_size=20))
    losses = learn(engine, blobs()[:1], network())
    means = engine.mean_losses()
    for name, mean in means.items():
        values = [step[name] for step in losses if name in step]
        assert mean == pytest.approx(sum(values) / len(values), rel=1e-5)
    assert set(means) == {"criterion", "logits", "labels"}
    assert engine.mean_losses() == {}


def test_the_moment_counts_experiences_and_iterations(blobs, network):
    seen = []

    def weight(moment):
        classes = moment.classes
        seen.append((moment.experience, moment.iteration, classes.old.indices, classes.current.indices))
        return 1.0

    engine = Engine(Objective("x", [Term("1", loss=cross_entropy, weight=weight)]))
    learn(engine, blobs()[:2], network())
    assert seen == [(i // 5, i, [0, 1] if i >= 5 else [], [2, 3] if i >= 5 else [0, 1]) for i in range(10)]


# what is stored ------------------------------------------------------------------------------------------------------


def halved(raw, generator):
    return raw.float() / 2


def test_samples_are_stored_raw_and_prepared_when_they_are_drawn():
    objective = Objective("x", [Term("r", replay("a"), loss=cross_entropy)], memory=Memory(8))
    engine, student = Engine(objective, prepare=halved), nn.Linear(3, 4)
    engine.begin(range(4))
    for _ in range(2):
        raw, y = torch.randint(256, (8, 3), dtype=torch.uint8), torch.arange(8) % 4
        step = engine.step(student, raw.float(), y, raw=raw)
        engine.receive(student(step.inputs))
        drawn = step.batch(replay("a")).inputs if step.plan.replays else None
        stored = objective.memory.rows.raw.clone() if drawn is not None else None
        engine.after_update()
    assert objective.memory.rows.raw.dtype == torch.uint8
    assert sorted(drawn.tolist()) == sorted((stored.float() / 2).tolist())


def test_without_a_preparation_raw_samples_are_shown_as_they_are_stored():
    objective = Objective("x", [Term("r", replay("a"), loss=cross_entropy)], memory=Memory(8))
    engine, student = Engine(objective), nn.Linear(3, 4)
    engine.begin(range(4))
    engine.loss(student, X, Y)
    engine.after_update()
    assert torch.equal(objective.memory.rows.raw, X)
    step = engine.step(student, X, Y)
    assert sorted(step.batch(replay("a")).inputs.tolist()) == sorted(X.tolist())


def test_at_the_end_samples_are_prepared_without_augmentation():
    """By the preparation's `deterministic`, if it has one."""

    class Prepare:
        random = True

        def __call__(self, raw, generator):
            return raw + torch.randn(raw.shape, generator=generator)

        @staticmethod
        def deterministic(raw, generator):
            return 10 * raw

    seen = []

    class Watching(Memory):
        def end(self, ending):
            seen.append(ending.prepare(ending.stored().raw))

    objective = Objective("x", [Term("r", replay("a"), loss=cross_entropy)], memory=Watching(8))
    engine, student = Engine(objective, prepare=Prepare()), nn.Linear(3, 4)
    engine.begin(range(4))
    engine.loss(student, torch.randn(8, 3), torch.arange(8) % 4)
    engine.after_update()
    engine.end()
    assert torch.equal(seen[0], 10 * objective.memory.rows.raw)


def rows_of_a_generator(x, y):
    def rows():
        zeros = torch.zeros_like(y)
        yield Rows(x[:5], y[:5], zeros[:5], zeros[:5])
        yield Rows(x[5:], y[5:], zeros[5:], zeros[5:])

    return rows


FORMS = {
    "a pair": lambda x, y: (x, y),
    "a loader": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=7),
    "batches": lambda x, y: list(zip(x.split(3), y.split(3), strict=True)),
    "a function of rows": rows_of_a_generator,
}


@pytest.mark.parametrize("recipe", ["ewc", "tether", "icarl"])
def test_the_experiences_data_may_come_in_any_form(recipe, blobs, network):
    ends = []
    for form in FORMS.values():
        objective, student = recipes.get(recipe).build(), network()
        engine, optimizer = Engine(objective), torch.optim.SGD(student.parameters(), lr=0.1)
        for x, y in blobs()[:2]:
            learn(engine, [(x, y)], student, optimizer, end=False)
            engine.end(form(x, y))
        ends.append((engine, student))
    (first, weights), *others = ends
    for engine, student in others:
        assert all(torch.equal(a, b) for a, b in zip(student.parameters(), weights.parameters(), strict=True))
        assert first.nbytes() == engine.nbytes()
        if recipe == "icarl":
            assert torch.equal(engine.objective.memory.rows.raw, first.objective.memory.rows.raw)
            assert len(engine.objective.memory)


# what is refused, each before anything is trained --------------------------------------------------------------------


def refused(kind, message, act, student=None):
    """An error of ckd that says how to mend it; the student is as it was."""
    before = None if student is None else pickle.loads(pickle.dumps(student.state_dict()))
    with pytest.raises(kind, match=message) as caught:
        act()
    assert isinstance(caught.value, CkdError)
    assert caught.value.fix.endswith((".", "!", "?"))
    if student is not None:
        after = student.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
        assert all(p.grad is None for p in student.parameters())


X, Y = torch.randn(8, 3), torch.arange(8) % 4


def begun(objective=None, student=None, **settings):
    engine = Engine(objective or recipes.er(memory_size=8), **settings)
    engine.begin(range(4))
    return engine, student or nn.Linear(3, 4)


@pytest.mark.parametrize(
    ("wrong", "fix"),
    [
        (None, r"such as Engine\(recipes.er\(memory_size=200\)\)"),
        ("er", r"recipes.get\('er'\).build\(memory_size=200\)"),
        (recipes.er, r"Call it: Engine\(er\(...\)\)"),
        (Memory(3), "Give it a recipe"),
    ],
    ids=named,
)
def test_something_else_than_an_objective(wrong, fix):
    refused(ConfigError, fix, lambda: Engine(wrong))


def test_a_loss_before_an_experience_has_begun():
    engine, student = Engine(recipes.er()), nn.Linear(3, 4)
    refused(ConfigError, r"Call engine.begin\(classes\)", lambda: engine.loss(student, X, Y), student)


def test_a_loss_after_an_experience_has_ended():
    engine, student = begun()
    engine.loss(student, X, Y)
    engine.after_update()
    engine.end()
    refused(ConfigError, r"Call engine.begin\(classes\)", lambda: engine.loss(student, X, Y), student)
    engine.begin([4])  # a class too many is seen at once
    refused(DataError, "Widen the head", lambda: engine.loss(student, X, Y), student)


def test_an_end_before_a_step():
    engine, student = begun()
    refused(ConfigError, r"Call engine.begin\(classes\), and engine.loss\(student", engine.end)
    refused(ConfigError, r"engine.loss\(student", Engine(recipes.er()).end)
    engine.loss(student, X, Y)
    engine.after_update()
    engine.end()
    refused(ConfigError, r"engine.loss\(student", engine.end)
    engine.begin(range(4))
    refused(ConfigError, r"engine.loss\(student", engine.end)
    assert engine.moment.experience == 1


def test_an_update_without_a_step():
    engine, student = begun()
    refused(ConfigError, r"Call engine.loss\(...\) first", engine.after_update)
    engine.loss(student, X, Y)
    engine.after_update()
    refused(ConfigError, "once for each optimizer.step", engine.after_update)
    assert len(engine.objective.memory) == 8
    assert engine.moment.iteration == 1


def test_an_anchor_without_an_optimiser():
    engine, student = begun(recipes.ewc())
    engine.loss(student, X, Y)
    refused(ConfigError, r"Call engine.after_update\(optimizer\)", engine.after_update, student)
    engine.after_update(torch.optim.SGD(student.parameters(), lr=0.1))


def test_another_student():
    engine, student = begun()
    engine.loss(student, X, Y)
    engine.after_update()
    other = nn.Linear(3, 4)
    refused(ConfigError, "Build a new one for each run", lambda: engine.loss(other, X, Y), other)
    refused(ConfigError, "Build a new one for each run", lambda: engine.step(other, X, Y))
    engine.loss(student, X, Y)


def test_an_objective_that_was_used():
    engine, student = begun()
    refused(ConfigError, "Build a new one for each run", lambda: Engine(engine.objective))
    engine.loss(student, X, Y)
    refused(ConfigError, "a new one; received one that was trained", lambda: Engine(engine.objective))


class Tuple(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        return self.head(x), x


class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)[0]


@pytest.mark.parametrize("recipe", ["er", "mean-er", "bfp", "icarl", "tether"])
def test_a_model_that_returns_a_tuple_until_it_is_wrapped_as_the_message_says(recipe):
    engine, student = begun(recipes.get(recipe).build(), Tuple())
    refused(ModelError, "Wrap the model", lambda: engine.loss(student, X, Y), student)
    wrapped = Wrapped(student)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    for _ in range(2):
        engine.loss(wrapped, X, Y).backward()
        optimizer.step()
        engine.after_update(optimizer)
    engine.end((X, Y))
    assert engine.evaluation_model(wrapped)(X).shape == (8, 4)


@pytest.mark.parametrize("recipe", ["wa", "icarl", "bfp"])
def test_a_head_that_is_not_there(recipe):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = nn.Linear(3, 4)

        def forward(self, x):
            return self.classifier(x)

    engine, student = begun(recipes.get(recipe).build(), Net(), head="clasifier")
    refused(UnknownNameError, "Did you mean 'classifier'", lambda: engine.loss(student, X, Y), student)


@pytest.mark.parametrize("criterion", [None, nn.CrossEntropyLoss()])
def test_a_label_beyond_the_head(criterion):
    settings = {} if criterion is None else {"criterion": criterion}
    engine = Engine(recipes.er(), **settings)
    engine.begin(range(5))
    student = nn.Linear(3, 4)
    message = "expected class indices from 0 to 3, the width of the head; received a label 4"
    refused(DataError, message, lambda: engine.loss(student, X, Y), student)
    engine, student = begun(**settings)
    for _ in range(2):  # at the first step as at any other, of a class that was not announced
        refused(DataError, message, lambda s=student, e=engine: e.loss(s, X, Y + 1), student)
        engine.loss(student, X, Y)


def test_another_index_error_is_not_taken_for_a_label():
    def criterion(logits, targets):
        raise IndexError("my own")

    engine, student = begun(criterion=criterion)
    with pytest.raises(IndexError, match="my own"):
        engine.loss(student, X, Y)


def test_a_negative_class():
    engine = Engine(recipes.er())
    refused(DataError, "Number the classes 0, 1, 2", lambda: engine.begin([-1, 0]))


@pytest.mark.parametrize(("recipe", "part"), [("ewc", "Anchor"), ("tether", "Anchor"), ("icarl", "HerdedMemory")])
def test_data_that_are_missing(recipe, part):
    """The experience has not ended, and does so once they are given."""
    engine, student = begun(recipes.get(recipe).build())
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    engine.loss(student, X, Y)
    engine.after_update(optimizer)
    refused(ConfigError, rf"none, and {part} looks at it. Call engine.end\(\(inputs, labels\)\)", engine.end, student)
    assert engine.moment.experience == 0
    assert not engine.objective.teachers["snapshot"].ready
    engine.end((X, Y))
    assert engine.moment.experience == 1
    assert engine.objective.teachers["snapshot"].ready


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False), (True, True)])
def test_with_the_state_of_an_online_engine_or_in_one_the_stream_is_online(before, after):
    def learnt(engine, student, classes):
        engine.begin(classes)
        y = torch.tensor(classes).repeat(4)
        engine.loss(student, torch.randn(len(y), 4), y).backward()
        engine.after_update(torch.optim.SGD(student.parameters(), lr=0.1))
        return engine

    student = nn.Linear(4, 4)
    engine = learnt(Engine(recipes.ballast(memory_size=8), online=before), student, [0, 1])
    engine.end((torch.randn(2, 4), torch.tensor([0, 1])))
    other = Engine(recipes.ballast(memory_size=8), online=after)
    other.load_state_dict(engine.state_dict(), student)
    learnt(other, student, [2, 3]).end()
    assert set(other.objective.memory.rows.targets.tolist()) == {0, 1, 2, 3}


def test_in_an_online_stream_a_recipe_that_needs_whole_experiences_is_refused_and_others_end_without_data():
    message = (
        "objective 'icarl', memory: expected experiences whose data is at hand as a whole; received an online stream"
    )
    with pytest.raises(ConfigError, match=message):
        Engine(recipes.icarl(memory_size=10), online=True)
    student = nn.Linear(4, 3)
    x, y = torch.randn(9, 4), torch.arange(9) % 3
    for recipe, ends in ((recipes.ballast, True), (recipes.tether, False)):
        engine = Engine(recipe(memory_size=6), online=True)
        engine.begin(range(3))
        engine.loss(student, x, y).backward()
        engine.after_update(torch.optim.SGD(student.parameters(), lr=0.1))
        if not ends:
            with pytest.raises(
                ConfigError, match=r"Give those of the last mini-batch: engine.end\(\(inputs, labels\)\)"
            ):
                engine.end()
        engine.end(None if ends else (x, y))
        assert len(engine.objective.memory) == 6


@pytest.mark.parametrize("recipe", ["ewc", "icarl"])
def test_data_of_another_kind(recipe):
    engine, student = begun(recipes.get(recipe).build())
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    engine.loss(student, X, Y)
    engine.after_update(optimizer)
    refused(DataError, "Give engine.end tensors or a DataLoader", lambda: engine.end(X), student)
    engine.end((X, Y))
    assert engine.moment.experience == 1


def test_a_loss_that_is_not_finite():
    engine, student = begun(recipes.der_plus_plus(memory_size=8))
    engine.loss(student, X, Y)
    engine.after_update()
    refused(
        NonFiniteLossError, "loss 'criterion' at iteration 1", lambda: engine.loss(student, X * torch.nan, Y), student
    )
    assert engine.loss(student, X, Y).total.isfinite()


@pytest.mark.parametrize("value", [-float("inf"), float("inf")])
def test_weights_that_the_last_update_ruined_do_not_end_an_experience(value):
    engine, student = begun(recipes.er(memory_size=8))
    engine.loss(student, X, Y)
    engine.after_update()
    broken = next(student.parameters())
    sound = broken.detach().clone()
    broken.data.flatten()[0] = value
    refused(NonFiniteLossError, "after 1 steps, at the end of experience 1", engine.end, student)
    broken.data.copy_(sound)
    engine.end()


def test_a_frozen_weight_may_be_what_it_likes():
    engine, student = begun(recipes.er(memory_size=8))
    engine.loss(student, X, Y)
    engine.after_update()
    student.mask = torch.nn.Parameter(torch.full((2,), -torch.inf), requires_grad=False)
    engine.end()


def test_after_an_error_of_the_model_the_next_step_is_as_if_there_had_been_none():
    engine, student = begun(recipes.der_plus_plus(memory_size=8))
    with pytest.raises(RuntimeError):
        engine.loss(student, torch.randn(8, 5), Y)
    engine.loss(student, X, Y).backward()
    engine.after_update()
    assert len(engine.objective.memory) == 8


# where it can go --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["der++", "tether", "bic", "icarl"])
def test_a_pickled_engine_goes_on_with_its_pickled_student(name, blobs, network):
    experiences, student, engine = blobs(), network(), Engine(recipes.get(name).build(memory_size=20))
    learn(engine, experiences[:2], student)
    again, other = pickle.loads(pickle.dumps((engine, student)))
    assert again.student is None
    wanted = learn(engine, experiences[2:], student)
    assert learn(again, experiences[2:], other) == wanted


def test_the_stream_alone_is_a_term_too():
    """A term on the stream, without a criterion to speak of."""
    engine, student = begun(Objective("x", [Term("1", stream, loss=cross_entropy)]), criterion=lambda z, y: 0 * z.sum())
    assert engine.loss(student, X, Y).total.item() == pytest.approx(F.cross_entropy(student(X), Y).item())


class Tagger(nn.Module):
    """Logits (B, T, C) for sequences (B, T, D)."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.inner(x).relu())


@pytest.mark.parametrize(
    ("recipe", "part"),
    [
        (recipes.icarl(memory_size=20), "HerdedMemory"),
        (recipes.lwf_mc(), "OldProbabilities"),
        (recipes.fdr(memory_size=20), "RefreshedMemory"),
        (recipes.bic(memory_size=20), "Memory"),
        (recipes.cls_er(memory_size=20), "BestTeacher"),
        (recipes.ewc(), "Anchor"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_label_for_each_place_is_refused_at_once_by_methods_that_need_one_for_each_sample(recipe, part):
    engine = Engine(recipe)
    engine.begin([0, 1])
    with pytest.raises(
        ModelError, match=rf"expected logits \(batch, classes\): {part} .*received.*\(8, 5, 4\).*er, der"
    ):
        engine.loss(Tagger(), torch.randn(8, 5, 6), torch.zeros(8, 5, dtype=torch.int64))


def test_a_generator_of_the_experiences_data_serves_every_part(blobs, network):
    recipe = recipes.icarl(memory_size=20)
    recipe = recipe.extend(teachers={"s": (anchored := Snapshot())}, anchor=Anchor(anchored, Diagonal()))
    engine, student = Engine(recipe), network()
    x, y = blobs()[0]
    learn(engine, [(x, y)], student, end=False)
    engine.end((x[i : i + 8], y[i : i + 8]) for i in range(0, len(x), 8))
    assert len(engine.objective.memory)
    assert engine.objective.anchor.state_dict()["measured"]


class Summed(nn.Module):
    """Two linear layers give the logits: which is the head must be said."""

    def __init__(self):
        super().__init__()
        self.inner, self.one, self.other = nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x):
        hidden = self.inner(x).relu()
        return self.one(hidden) + self.other(hidden)


def test_a_named_head_is_that_of_the_snapshot_too(blobs):
    engine = Engine(recipes.bfp(memory_size=20), head="other")
    learn(engine, blobs(2), Summed())
    assert "other" in {teacher.head for teacher in engine.objective.teachers.values()}


# what belongs to one run ---------------------------------------------------------------------------------------------


def hint():
    return Term("hint", output=tap("0"), target=teacher("snapshot", output=tap("0")), adaptor=Adaptor(), loss=feature)


def feature(student, target):
    return (student - target).square().mean(1)


@pytest.mark.parametrize("shared", ["objective", "adaptor", "memory", "extended"])
def test_what_holds_state_is_refused_by_a_second_run(shared, blobs, network):
    term, memory = hint(), Memory(10)
    first = (recipes.lwf() + term).extend(memory=memory)
    second = {
        "objective": lambda: first,
        "adaptor": lambda: recipes.lwf() + term,
        "memory": lambda: recipes.lwf().extend(memory=memory),
        "extended": lambda: first.extend(name="more"),
    }[shared]()
    engine, other = Engine(first), Engine(second)  # both before either run begins
    learn(engine, blobs(1), network())
    with pytest.raises(ConfigError, match="expected a new one; received one that was trained"):
        other.begin([0, 1])
    with pytest.raises(ConfigError, match="expected a new one; received one that was trained"):
        Engine(second)


def test_a_given_network_may_teach_several_runs(blobs, network):
    given = Fixed(network())
    for _ in range(2):
        term = Term("kd", target=teacher("given"), loss=kd)
        learn(Engine(Objective("x", [term], teachers={"given": given})), blobs(1), network())


def test_another_student_after_the_first_is_gone(blobs, network):
    engine = Engine(recipes.er(memory_size=10))
    learn(engine, blobs(1), network())
    gc.collect()
    with pytest.raises(ConfigError, match="expected the student that it trained before; received another one"):
        learn(engine, blobs(1), network())


def test_a_loop_without_after_update(blobs, network):
    (x, y), student = blobs()[0], network()
    engine = Engine(recipes.er(memory_size=10))
    engine.begin([0, 1])
    engine.loss(student, x, y).backward()
    with pytest.raises(ConfigError, match=r"engine.end: expected engine.after_update\(optimizer\) after each"):
        engine.end()


@pytest.mark.parametrize("recipe", [recipes.lwf, recipes.er])
def test_a_loop_without_an_end_is_warned_of_where_a_boundary_matters(recipe, blobs, network):
    engine, student = Engine(recipe()), network()
    learn(engine, blobs(1), student, end=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        engine.begin([0, 1])
        engine.begin([4], piece=True)
        assert not told
        engine.begin([2, 3])
    assert [one.category for one in told] == ([BoundaryWarning] if recipe is recipes.lwf else [])


def test_the_loss_reads_as_a_number(blobs, network):
    engine = Engine(recipes.naive())
    engine.begin([0, 1])
    loss = engine.loss(network(), *blobs()[0])
    assert float(loss) == loss.item() == loss.total.item()


def test_classes_may_come_from_a_generator():
    engine = Engine(recipes.er(memory_size=10))
    engine.begin(c for c in (0, 1))
    assert list(engine.moment.classes.current.indices) == [0, 1]


def test_a_loss_without_gradients_may_be_looked_at(blobs, network):
    engine, (x, y), student = Engine(recipes.tether(memory_size=10)), blobs()[0], network()
    engine.begin([0, 1])
    with torch.no_grad():
        assert engine.loss(student, x, y).item() > 0
