"""Terms over what modules inside the networks put out, against plain torch."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckd import (
    AccuracyRecorder,
    Adaptor,
    Engine,
    Fixed,
    Memory,
    Objective,
    SelfDistillation,
    Snapshot,
    Term,
    recipes,
    tap,
)
from ckd.errors import ConfigError, ModelError, UnknownNameError
from ckd.losses import cross_entropy, feature_distance, kd, logit_mse
from ckd.memory import Rows
from ckd.objective import features, labels, replay, stored_logits, stream, teacher, union

CLASSES = 4


class Net(nn.Module):
    """Two convolutions and two linear layers, of a width of one's own; `layer3` works in place on `layer2`."""

    def __init__(self, width, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer1 = nn.Conv2d(1, width, 3)
            self.layer2 = nn.Conv2d(width, 2 * width, 3, stride=2)
            self.layer3 = nn.ReLU(inplace=True)
            self.layer4 = nn.Linear(2 * width * 4, 3 * width)
            self.classifier = nn.Linear(3 * width, CLASSES)
        self.double()

    def parts(self, x):
        """All outputs, by hand."""
        one = self.layer1(x).tanh()
        two = self.layer2(one)
        four = self.layer4(two.relu().flatten(1))
        return {"layer1": self.layer1(x), "layer2": two, "layer4": four, "": self.classifier(four.tanh())}

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(x).tanh()))
        return self.classifier(self.layer4(x.flatten(1)).tanh())


def batches(n=4, size=6):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, size, 1, 7, 7, generator=generator, dtype=torch.float64)
    return [(one, torch.randint(CLASSES, (size,), generator=generator)) for one in x]


def linear_map(student, target, seed=0):
    """The map that an Adaptor starts with, and its optimiser."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kind = partial(nn.Conv2d, kernel_size=1) if student.dim() == 4 else nn.Linear
        made = kind(student.shape[1], target.shape[1]).double()
    return made, torch.optim.SGD(made.parameters(), lr=0.1, momentum=0.9)


def reference(student, fixed, pairs, loss, weight):
    """Losses and gradients of each step, with one learned map for each pair of paths; no line of ckd in it."""
    optimizer, maps, found = torch.optim.SGD(student.parameters(), lr=0.1), [], []
    for x, y in batches():
        mine = student.parts(x)
        with torch.no_grad():
            its = fixed.parts(x)
        maps = maps or [linear_map(mine[a], its[b]) for a, b in pairs]
        mapped = [made(mine[a]) for (a, _), (made, _) in zip(pairs, maps, strict=True)]
        term = loss(mapped, [its[b] for _, b in pairs]).mean()
        total = F.cross_entropy(mine[""], y) + weight * term
        optimizer.zero_grad()
        for _, own in maps:
            own.zero_grad()
        total.backward()
        found.append((total.item(), weight * term.item(), [p.grad.clone() for p in student.parameters()]))
        optimizer.step()
        for _, own in maps:
            own.step()
    return found


def learn(engine, student, data=None, lr=0.1):
    """The same of an engine."""
    optimizer, found = torch.optim.SGD(student.parameters(), lr=lr), []
    for x, y in data or batches():
        optimizer.zero_grad()
        loss = engine.loss(student, x, y)
        loss.backward()
        parts = {name: value.item() for name, value in loss.parts.items() if name != "criterion"}
        found.append((loss.total.item(), parts, [p.grad.clone() for p in student.parameters()]))
        optimizer.step()
        engine.after_update(optimizer)
    return found


def assert_same_steps(found, wanted):
    for (total, parts, gradients), (wanted_total, wanted_term, wanted_gradients) in zip(found, wanted, strict=True):
        assert total == pytest.approx(wanted_total, rel=1e-10)
        assert list(parts.values()) == pytest.approx([wanted_term], rel=1e-10)
        for mine, its in zip(gradients, wanted_gradients, strict=True):
            assert torch.allclose(mine, its, rtol=1e-9, atol=1e-12)


def distance(mine, its):
    return (mine[0] - its[0]).flatten(1).norm(dim=1)


def of_several(mine, its):
    """A loss of one's own that takes a tuple from each network."""
    gaps = [(a - b).flatten(1).square().mean(1) for a, b in zip(mine, its, strict=True)]
    return sum((i + 1) * gap for i, gap in enumerate(gaps))


@pytest.mark.parametrize(("mine", "its"), [("layer4", "layer4"), ("layer2", "layer2"), ("layer1", "layer1")])
def test_a_tap_on_another_networks_tap_is_a_plain_torch_loop(mine, its):
    student, fixed = Net(2, 0), Net(3, 1)
    wanted = reference(copy.deepcopy(student), fixed, [(mine, its)], distance, 0.7)
    term = Term(
        "hint",
        output=tap(mine),
        target=teacher("t", output=tap(its)),
        adaptor=Adaptor(),
        loss=feature_distance,
        weight=0.7,
    )
    engine = Engine(Objective("x", [term], teachers={"t": Fixed(copy.deepcopy(fixed))}))
    engine.begin(range(CLASSES))
    assert_same_steps(learn(engine, student), wanted)


def test_a_tap_may_be_compared_with_another_layer():
    student, fixed = Net(2, 0), Net(3, 1)
    pairs = [("layer4", "layer2")]

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = linear_map(torch.zeros(1, 6), torch.zeros(1, 24))[0]

        def forward(self, x):
            return self.map(x).view(-1, 6, 2, 2)

    term = Term(
        "hint",
        output=tap("layer4"),
        target=teacher("t", output=tap("layer2")),
        adaptor=Adaptor(Flat(), lr=0.3),
        loss=feature_distance,
    )
    engine = Engine(Objective("x", [term], teachers={"t": Fixed(fixed)}))
    engine.begin(range(CLASSES))
    (x, y), own = batches(1)[0], Flat()
    found = engine.loss(student, x, y)
    gap = own(student.parts(x)[pairs[0][0]]) - fixed.parts(x)[pairs[0][1]]
    assert found.parts["hint"].item() == pytest.approx(gap.flatten(1).norm(dim=1).mean().item(), rel=1e-10)


def test_several_taps_with_a_map_each():
    student, fixed = Net(2, 0), Net(3, 1)
    pairs = [("layer1", "layer1"), ("layer2", "layer2"), ("layer4", "layer4")]
    wanted = reference(copy.deepcopy(student), fixed, pairs, of_several, 0.4)
    several = tap("layer1", "layer2", "layer4")
    term = Term(
        "hints",
        output=several,
        target=teacher("t", output=several),
        adaptor=[Adaptor(), Adaptor(), Adaptor()],
        loss=of_several,
        weight=0.4,
    )
    engine = Engine(Objective("x", [term], teachers={"t": Fixed(fixed)}))
    engine.begin(range(CLASSES))
    assert_same_steps(learn(engine, student), wanted)
    assert list(engine.objective.parts) == ["teacher t", *(f"adaptor {i} of hints" for i in range(3))]


def test_what_a_module_puts_out_is_kept_from_a_later_one_that_works_in_place():
    student, fixed = Net(2, 0), Net(2, 1)
    term = Term("hint", output=tap("layer2"), target=teacher("t", output=tap("layer2")), loss=feature_distance)
    engine = Engine(Objective("x", [term], teachers={"t": Fixed(fixed)}))
    engine.begin(range(CLASSES))
    (x, y) = batches(1)[0]
    gap = student.parts(x)["layer2"] - fixed.parts(x)["layer2"]
    assert (student.parts(x)["layer2"] < 0).any()
    wanted = gap.flatten(1).norm(dim=1).mean().item()
    assert engine.loss(student, x, y).parts["hint"].item() == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("output", [features, tap("classifier", inputs=True)], ids=["found", "named"])
def test_features_are_what_the_head_takes_in(output):
    student, fixed = Net(2, 0), Net(2, 1)
    term = Term("features", target=teacher("t", output=output), output=output, loss=feature_distance)
    engine = Engine(Objective("x", [term], teachers={"t": Fixed(fixed)}))
    engine.begin(range(CLASSES))
    (x, y) = batches(1)[0]
    gap = student.parts(x)["layer4"].tanh() - fixed.parts(x)["layer4"].tanh()
    found = engine.loss(student, x, y).parts["features"].item()
    assert found == pytest.approx(gap.norm(dim=1).mean().item(), rel=1e-10)
    assert engine.head == ("classifier" if output is features else None)


# losses that compare samples -----------------------------------------------------------------------------------------


def contrastive(found, target, temperature=0.5):
    """Supervised contrastive loss: to each sample those of its label are near, compared with all others."""
    z = F.normalize(found, dim=1)
    alike = z @ z.T / temperature
    alike = alike.masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    positive = (target[:, None] == target) & ~torch.eye(len(z), dtype=torch.bool)
    log_p = alike.log_softmax(1).masked_fill(~positive, 0)
    return -log_p.sum(1) / positive.sum(1).clamp(min=1)


@pytest.mark.parametrize("joint", [True, False])
def test_a_contrastive_loss_of_features_and_labels_over_stream_and_memory(joint):
    """It needs labels and pairs; against two loops over the samples of both."""
    term = Term("pairs", union(replay("a")), labels, contrastive, weight=0.3, output=features)
    student = Net(2, 0)
    engine = Engine(Objective("x", [term], memory=Memory(10)), joint=joint)
    engine.begin(range(CLASSES))
    learn(engine, student, batches(3))
    x, y = batches()[3]
    step = engine.step(student, x, y)
    engine.receive(student(step.inputs))
    both = step.batch(union(replay("a")))
    assert len(both.targets) == 12
    z = [v / v.norm() for v in student.parts(both.inputs)["layer4"].tanh()]
    wanted = 0.0
    for i in range(12):
        logits = {j: (z[i] @ z[j] / 0.5).item() for j in range(12) if j != i}
        total = torch.tensor(list(logits.values()), dtype=torch.float64).logsumexp(0).item()
        alike = [j for j in logits if both.targets[j] == both.targets[i]]
        wanted += sum(total - logits[j] for j in alike) / max(1, len(alike)) / 12
    weight, value = step.values()["pairs"]
    assert weight == 0.3
    assert value.item() == pytest.approx(wanted, rel=1e-10)


def relational(student, target):
    """Distances among the samples of the batch (Park et al. 2019), each in units of their mean."""

    def distances(x):
        d = torch.cdist(x.flatten(1), x.flatten(1))
        return d / d[d > 0].mean()

    return (distances(student) - distances(target)).square().mean(1)


@pytest.mark.parametrize("joint", [True, False])
def test_a_relational_loss_needs_no_adaptor_whatever_the_widths(joint):
    student, fixed = Net(2, 0), Net(5, 1)
    term = Term(
        "relations",
        union(replay("a")),
        teacher("t", output=tap("layer4")),
        relational,
        output=tap("layer4"),
    )
    engine = Engine(Objective("x", [term], memory=Memory(10), teachers={"t": Fixed(fixed)}), joint=joint)
    engine.begin(range(CLASSES))
    learn(engine, student, batches(3))
    x, y = batches()[3]
    step = engine.step(student, x, y)
    engine.receive(student(step.inputs))
    both = step.batch(union(replay("a"))).inputs
    mine, its = student.parts(both)["layer4"], fixed.parts(both)["layer4"]
    n, scaled = len(both), []
    for z in (mine, its):
        d = [[(z[i] - z[j]).norm().item() for j in range(n)] for i in range(n)]
        mean = sum(map(sum, d)) / (n * (n - 1))
        scaled.append([[one / mean for one in row] for row in d])
    wanted = sum((a - b) ** 2 for r, s in zip(*scaled, strict=True) for a, b in zip(r, s, strict=True)) / n**2
    value = step.values()["relations"][1]
    assert value.item() == pytest.approx(wanted, rel=1e-9)


# joint, separate, unique ---------------------------------------------------------------------------------------------


def objective_of(what):
    filled, n = Memory(8, keep_logits=True), torch.arange(8)
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(8, 1, 7, 7, generator=generator, dtype=torch.float64)
    filled.add(Rows(rows, n % CLASSES, 0 * n, 0 * n, torch.zeros(8, CLASSES, dtype=torch.float64)))
    both = tap("layer1", "layer4")
    terms = {
        "one tap": [Term("1", replay("a"), teacher("t", output=tap("layer2")), feature_distance, output=tap("layer2"))],
        "several taps and logits": [
            Term("1", replay("a"), teacher("t", output=both), of_several, output=both),
            Term("2", replay("b"), stored_logits, logit_mse),
            Term("3", stream, teacher("t"), kd),
        ],
        "several draws of several taps": [
            Term("1", replay("a"), teacher("t", output=both), of_several, output=both),
            Term("2", replay("b"), teacher("t", output=both), of_several, output=both),
            Term("3", union(replay("a")), labels, contrastive, output=features),
            Term("4", union(replay("c")), teacher("t", output=both), of_several, output=both),
        ],
        "the whole as a union": [
            Term("1", union(replay("a")), labels, contrastive, output=features),
            Term("2", union(replay("a")), teacher("t", output=both), of_several, output=both),
        ],
        "a view": [
            Term("1", replay("a"), labels, cross_entropy),
            Term("2", union(replay("a")), labels, contrastive, output=features, view=brighter),
        ],
    }[what]
    return Objective(what, terms, memory=filled, teachers={"t": Fixed(Net(2, 1))})


def brighter(batch, generator):
    changed = copy.copy(batch)
    changed.inputs = 1.5 * batch.inputs
    return changed


TERMS = ["one tap", "several taps and logits", "several draws of several taps", "the whole as a union", "a view"]


@pytest.mark.parametrize("what", TERMS)
def test_tapped_outputs_are_the_same_in_joint_separate_and_merged_passes(what):
    runs = []
    for settings in ({"joint": False}, {"joint": True, "unique": False}, {"joint": True, "unique": True}):
        engine, student = Engine(objective_of(what), **settings), Net(2, 0)
        engine.begin(range(CLASSES))
        runs.append(learn(engine, student))
    for run in runs[1:]:
        for (total, parts, gradients), (wanted, wanted_parts, wanted_gradients) in zip(run, runs[0], strict=True):
            assert total == pytest.approx(wanted, rel=1e-9)
            assert parts == pytest.approx(wanted_parts, rel=1e-9)
            for mine, its in zip(gradients, wanted_gradients, strict=True):
                assert torch.allclose(mine, its, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(("unique", "rows"), [(True, 6 + 8), (False, 6 + 12)])
def test_rows_that_two_draws_took_are_tapped_once_where_that_is_allowed(unique, rows):
    shown = []
    engine, student = Engine(objective_of("several taps and logits"), unique=unique), Net(2, 0)
    student.register_forward_pre_hook(lambda module, inputs: shown.append(len(inputs[0])))
    engine.begin(range(CLASSES))
    learn(engine, student)
    assert max(shown) <= rows
    assert set(shown) == {18} or unique


# hooks ---------------------------------------------------------------------------------------------------------------


def hooks(model):
    return [m for m in model.modules() if m._forward_pre_hooks or m._forward_hooks]


@pytest.mark.parametrize("joint", [True, False])
def test_no_hook_is_left_on_the_student_or_the_teacher(joint):
    objective = objective_of("several draws of several taps")
    engine, student = Engine(objective, joint=joint), Net(2, 0)
    engine.begin(range(CLASSES))
    learn(engine, student)
    assert hooks(student) == []
    assert hooks(objective.teachers["t"].model) == []


class Sometimes(Net):
    """Fails, or returns something else, once told to."""

    wrong = None

    def forward(self, x):
        if self.wrong == "shape":
            return super().forward(x[:, :, :5])
        logits = super().forward(x)
        return (logits, x) if self.wrong == "tuple" else logits


@pytest.mark.parametrize(("wrong", "error"), [("shape", RuntimeError), ("tuple", ModelError)])
def test_no_hook_is_left_after_a_forward_pass_that_failed(wrong, error):
    engine, student = Engine(objective_of("one tap")), Sometimes(2, 0)
    engine.begin(range(CLASSES))
    (x, y), student.wrong = batches(1)[0], wrong
    with pytest.raises(error):
        engine.loss(student, x, y)
    assert hooks(student) == []
    student.wrong = None
    assert engine.loss(student, x, y).total.isfinite()
    assert hooks(student) == []


def test_a_path_that_is_not_there_is_refused_with_near_ones_before_anything_is_trained():
    term = Term("hint", output=tap("layer5"), target=teacher("t", output=tap("layer4")), loss=feature_distance)
    engine, student = Engine(Objective("x", [term], teachers={"t": Fixed(Net(2, 1))})), Net(2, 0)
    engine.begin(range(CLASSES))
    with pytest.raises(UnknownNameError, match="Did you mean 'layer4'"):
        engine.loss(student, *batches(1)[0])
    assert hooks(student) == []


def test_of_outputs_that_differ_in_more_than_width_an_adaptor_must_be_given():
    term = Term("hint", output=tap("layer1"), target=teacher("t", output=tap("layer2")), loss=feature_distance)
    for adaptor, message in ((None, "Give the term an adaptor"), (Adaptor(), "layers of the same resolution")):
        objective = Objective("x", [replace(term, adaptor=adaptor)], teachers={"t": Fixed(Net(2, 1))})
        engine, student = Engine(objective), Net(2, 0)
        engine.begin(range(CLASSES))
        with pytest.raises(ConfigError, match=message):
            engine.loss(student, *batches(1)[0])


def test_a_head_for_each_task_is_refused():
    engine = Engine(recipes.bfp())
    with pytest.raises(ModelError, match="feature distillation"):
        engine.begin({0: [0, 1]}, per_task=True)


# in a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("adapted", [True, False])
def test_in_avalanche_the_term_is_the_mean_length_of_the_difference(
    joint, adapted, blobs, benchmark_of, network, naive
):
    """Two experiences with one feature term on the stream; against the same by hand from the hidden layer."""
    by_hand = []
    adaptor = Adaptor(lr=0.05, seed=3) if adapted else None
    target = teacher("past", output=features)
    term = Term("features", stream, target, feature_distance, output=features, adaptor=adaptor)
    objective = Objective("x", [term], teachers={"past": Snapshot()})

    class Watch:
        def before_backward(self, strategy, **kwargs):
            past = objective.teachers["past"]
            if past.ready:
                with torch.no_grad():
                    pair = (strategy.model, past.model.module)
                    mine, its = (nn.Sequential(*list(model)[:-1])(strategy.mb_x) for model in pair)
                    mapped = mine if adaptor is None else adaptor(mine, its)
                    by_hand.append((mapped - its).square().sum(1).sqrt().mean().item())

    recorder = AccuracyRecorder()
    plugin = SelfDistillation(objective, joint=joint, log_every=1)
    naive(network(), [plugin, Watch()], evaluator=recorder).train(benchmark_of(blobs()).train_stream[:2])
    found = [value for _, value in recorder.losses["CKD_Loss/train_phase/train_stream/features"]]
    assert len(found) == 5
    assert found[1:] == pytest.approx(by_hand[1:], rel=1e-5)
    assert max(found[1:]) > 0


def test_the_term_of_bfp_is_the_root_mean_square_of_the_difference_on_stream_and_memory():
    """As in the authors' code: the Frobenius norm of each sample over the square root of the number of features."""
    objective = recipes.bfp(memory_size=20, seed=1)
    term = objective.terms[-1]
    engine, student = Engine(objective), nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4))
    x, y = torch.randn(10, 6), torch.arange(10) % 2
    engine.begin([0, 1])
    engine.loss(student, x, y)
    engine.after_update()
    engine.end((x, y))
    engine.begin([2, 3])
    step = engine.step(student, x, y + 2)
    engine.receive(student(step.inputs))
    drawn = step.batch(term.draw).inputs
    weight, found = step.values()["features"]
    mine, its = student[:2](drawn), objective.teachers["snapshot"].model.module[:2](drawn)
    gap = term.adaptors[0](mine, its) - its
    assert len(drawn) > len(x)
    assert weight == 1
    torch.testing.assert_close(found, gap.square().mean(1).sqrt().mean())


def test_bfp_without_its_term_is_der_plus_plus_bit_for_bit(blobs, benchmark_of, network, naive, train, same):
    one = train(naive(network(), [SelfDistillation(recipes.bfp(memory_size=20))]), benchmark_of(blobs()))
    idle, plain = recipes.bfp(memory_size=20, feature_weight=0.0), recipes.der_plus_plus(memory_size=20)
    runs = [train(naive(network(), [SelfDistillation(o)]), benchmark_of(blobs())) for o in (idle, plain)]
    assert same(*runs)
    assert one[1] == runs[0][1]
    assert not same(one, runs[0])


def test_joint_and_separate_passes_of_bfp_agree(blobs, benchmark_of, network, naive, train):
    states = [
        train(naive(network(), [SelfDistillation(recipes.bfp(memory_size=20), joint=joint)]), benchmark_of(blobs()))[0]
        for joint in (True, False)
    ]
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-5) for name in states[0])
