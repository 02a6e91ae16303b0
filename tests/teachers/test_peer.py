"""Another student as teacher: asking it leaves it as it was, and two that teach each other are a plain loop."""

import copy

import pytest
import torch
from shared import classes_in
from torch import nn
from torch.nn import functional as F

from ckd import Engine, Objective, Term
from ckd.errors import ConfigError
from ckd.losses import kd
from ckd.objective import teacher
from ckd.outputs import features, logits, tap
from ckd.teachers import Peer


def network(seed=0, width=6):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 3))


def batches(n=4, size=8):
    g = torch.Generator().manual_seed(1)
    return [(torch.randn(size, 4, generator=g), torch.randint(3, (size,), generator=g)) for _ in range(n)]


def learning(seed=0):
    """A network in the middle of a step: gradients, mixed modes, one frozen layer."""
    given = network(seed)
    given[3].bias.requires_grad_(False)
    given(batches()[0][0]).sum().backward()
    given[2].eval()
    return given


def noted(module):
    return {
        "tensors": {name: value.clone() for name, value in module.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        "learns": [p.requires_grad for p in module.parameters()],
        "modes": [m.training for m in module.modules()],
    }


def same(one, other):
    gradients = zip(one["gradients"], other["gradients"], strict=True)
    return (
        all(torch.equal(value, other["tensors"][name]) for name, value in one["tensors"].items())
        and all(a is b is None or torch.equal(a, b) for a, b in gradients)
        and (one["learns"], one["modes"]) == (other["learns"], other["modes"])
    )


@pytest.mark.parametrize("wanted", [[logits], [logits, features, tap("0", "1")]], ids=["logits", "features"])
def test_asking_it_leaves_it_as_it_was(wanted):
    given, x = learning(), batches()[0][0]
    before, state = noted(given), torch.random.get_rng_state()
    found = Peer(given).outputs(x, None, wanted)
    assert same(before, noted(given))
    assert torch.equal(state, torch.random.get_rng_state())
    own = copy.deepcopy(given).eval()
    assert torch.equal(found[logits], own(x))
    assert not found[logits].requires_grad
    if features in found:
        assert torch.equal(found[features], own[:3](x))
        assert torch.equal(found[tap("0", "1")][1], own[:2](x))


def test_it_is_put_back_after_an_error_too():
    given = learning()
    before = noted(given)
    with pytest.raises(RuntimeError):
        Peer(given).outputs(torch.zeros(2, 5))
    assert same(before, noted(given))


def test_what_it_has_become_since_counts():
    given, x = network(), batches()[0][0]
    peer = Peer(given)
    first = peer.outputs(x)[logits]
    with torch.no_grad():
        given[3].bias += 1
    torch.testing.assert_close(peer.outputs(x)[logits], first + 1)


def engines(one, other, temperature=1.0):
    """An engine for each, with the other as teacher."""

    def loss(student, target, *, classes=None):
        return kd(student, target, temperature=temperature, classes=classes)

    made = []
    for peer in (other, one):
        term = Term("peer", target=teacher("peer"), loss=loss)
        engine = Engine(Objective("mutual", [term], teachers={"peer": Peer(peer)}))
        engine.begin(range(3))
        made.append(engine)
    return made


def test_a_step_of_one_leaves_the_other_as_it_was():
    one, other = network(0), learning(1)
    engine, before = engines(one, other)[0], noted(other)
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    for x, y in batches():
        optimizer.zero_grad()
        engine.loss(one, x, y).backward()
        optimizer.step()
        engine.after_update(optimizer)
    engine.end()
    assert same(before, noted(other))
    assert one.training


def mutual(one, other):
    """Algorithm 1 in plain torch: for each batch, each student in turn on labels and on what the other says now."""
    pair = [(one, other), (other, one)]
    optimizers = [torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9) for student, _ in pair]
    for x, y in batches():
        for (student, peer), optimizer in zip(pair, optimizers, strict=True):
            peer.eval()
            with torch.no_grad():
                log_p = peer(x).log_softmax(1)
            peer.train()
            z = student(x)
            divergence = (log_p.exp() * (log_p - z.log_softmax(1))).sum(1).mean()
            optimizer.zero_grad()
            (F.cross_entropy(z, y) + divergence).backward()
            optimizer.step()


def test_two_that_teach_each_other_are_algorithm_1_bit_for_bit():
    students, wanted = [network(0), network(1, 9)], [network(0), network(1, 9)]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        mutual(*wanted)
    both = engines(*students)
    optimizers = [torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9) for student in students]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for x, y in batches():
            for student, engine, optimizer in zip(students, both, optimizers, strict=True):
                optimizer.zero_grad()
                engine.loss(student, x, y).backward()
                optimizer.step()
                engine.after_update(optimizer)
    for mine, its in zip(students, wanted, strict=True):
        assert all(torch.equal(value, its.state_dict()[name]) for name, value in mine.state_dict().items())


def test_it_is_ready_known_by_its_classes_counted_and_has_no_state():
    peer = Peer(network(), classes=[0, 2])
    assert peer.ready
    assert peer.valid(3, None, torch.device("cpu")).tolist() == [True, False, True]
    assert peer.nbytes() == {"teachers": 4 * (4 * 6 + 6 + 4 * 6 + 6 * 3 + 3) + 8}
    assert peer.state_dict() == {}
    peer.load_state_dict({}, network(1))


def test_it_computes_in_its_own_dtype():
    found = Peer(network().double()).outputs(batches()[0][0])[logits]
    assert found.dtype == torch.float32


def test_the_student_itself_and_what_is_no_module_are_refused():
    student = network()
    with pytest.raises(ConfigError, match=r"Peer teacher: expected a network of its own"):
        Peer(student).begin(student, classes_in([0, 1]))
    with pytest.raises(ConfigError, match=r"Peer teacher: expected a torch\.nn\.Module"):
        Peer("resnet18")
