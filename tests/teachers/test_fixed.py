"""A given network as teacher: it stays as it is, in its own dtype, and never becomes the student."""

import copy

import pytest
import torch
from shared import classes_in
from torch import nn

from ckd.errors import ConfigError
from ckd.outputs import features, logits, tap
from ckd.part import Ending, Update
from ckd.teachers import Fixed

CPU = torch.device("cpu")


def network(dtype=torch.float32, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2)
    return model.to(dtype)


def inputs(n=8, dtype=torch.float32):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1)).to(dtype)


def bits(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_is_the_network_itself_ready_at_once_in_eval_mode_without_gradients():
    given = network().train()
    weights = bits(given)
    teacher = Fixed(given)
    assert teacher.ready
    assert teacher.model.module is given
    assert not any(m.training for m in given.modules())
    assert not any(p.requires_grad for p in given.parameters())
    assert same_bits(bits(given), weights)
    found = teacher.outputs(inputs())[logits]
    assert torch.equal(found, given(inputs()))
    assert not found.requires_grad


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("own", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_it_computes_in_its_own_dtype_and_its_outputs_are_in_that_of_the_inputs_never_in_half_precision(own, dtype):
    given, seen = network(own), []
    given.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    taps = tap("0", "3")
    found = Fixed(given).outputs(inputs(dtype=dtype), None, [logits, taps, features])
    wanted = dtype if dtype in (torch.float32, torch.float64) else torch.float32
    assert {x.dtype for x in seen} == {own}
    assert [v.dtype for v in (found[logits], found[features], *found[taps])] == [wanted] * 4
    assert {p.dtype for p in given.parameters()} == {own}
    x = inputs(dtype=dtype).to(own)
    assert torch.equal(found[logits], given(x).to(wanted))
    assert torch.equal(found[features], given[:3](x).to(wanted))
    assert torch.equal(found[taps][0], given[0](x).to(wanted))


@pytest.mark.parametrize("own", [torch.float64, torch.float32, torch.bfloat16])
def test_inputs_that_are_whole_numbers_stay_so(own):
    given = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3)).to(own)
    found = Fixed(given).outputs(torch.tensor([[0, 4], [2, 1]]))[logits]
    assert found.dtype == (torch.float32 if own == torch.bfloat16 else own)
    assert torch.equal(found, given(torch.tensor([[0, 4], [2, 1]])).to(found.dtype))


def test_a_network_without_parameters_computes_where_the_inputs_are():
    assert torch.equal(Fixed(nn.Identity()).outputs(inputs())[logits], inputs())


def test_classes_that_it_knows_are_those_given_or_all():
    assert Fixed(network()).classes is None
    assert Fixed(network()).valid(9, None, CPU) is None
    for given in ([0, 2], {2, 0}, torch.tensor([2, 0]), iter([0, 2])):
        assert Fixed(network(), classes=given).valid(4, None, CPU).tolist() == [True, False, True, False]
    per_task = Fixed(network(), classes=[0, 2]).valid(4, torch.tensor([1, 0]), CPU)
    assert per_task.expand(2, -1).tolist() == [[True, False, True, False]] * 2


LOOSE = {
    "the teacher's train()": lambda teacher, given: teacher.model.train(),
    "the network's train()": lambda teacher, given: given.train(),
    "a layer's train()": lambda teacher, given: given[2].train(),
    "train() from above": lambda teacher, given: nn.ModuleList([teacher.model]).train(),
}


@pytest.mark.parametrize("happens", LOOSE.values(), ids=LOOSE)
def test_it_computes_in_eval_mode_whatever_anyone_calls(happens):
    given = network()
    teacher = Fixed(given)
    before, first = bits(given), teacher.outputs(inputs())[logits]
    happens(teacher, given)
    assert torch.equal(teacher.outputs(inputs())[logits], first)
    assert not any(m.training for m in given.modules())
    assert same_bits(bits(given), before)


def test_nothing_that_happens_in_a_run_changes_it():
    given, student = network(), network(seed=1)
    teacher, before = Fixed(given, classes=[1]), bits(given)
    classes = classes_in([0, 1], [2])
    teacher.begin(student, classes)
    teacher.after_update(Update(student, inputs(), torch.zeros(8).long(), None, student(inputs()), 0, lr=0.1))
    teacher.end(Ending(student, classes))
    assert teacher.model.module is given
    assert teacher.classes.indices == [1]
    assert same_bits(bits(given), before)


def test_the_students_own_parameters_are_refused():
    student = network()
    others = [student, nn.Sequential(nn.Flatten(), student[3]), copy.copy(student)]
    for shared in others:
        with pytest.raises(ConfigError, match=r"Fixed teacher: expected a network of its own.*copy\.deepcopy"):
            Fixed(shared).begin(student, classes_in([0, 1]))
    Fixed(copy.deepcopy(student)).begin(student, classes_in([0, 1]))


@pytest.mark.parametrize("given", [None, "resnet18", torch.zeros(3), lambda x: x, nn.Linear], ids=range(5))
def test_what_is_no_module_is_refused(given):
    with pytest.raises(ConfigError, match=r"Fixed teacher: expected a torch\.nn\.Module"):
        Fixed(given)


def test_there_is_nothing_to_save_and_loading_changes_nothing():
    given = network()
    teacher, before = Fixed(given, classes=[0]), bits(given)
    assert teacher.state_dict() == {}
    teacher.load_state_dict({}, network(seed=3))
    assert teacher.model.module is given
    assert teacher.classes.indices == [0]
    assert same_bits(bits(given), before)


def test_its_bytes_are_counted():
    assert Fixed(nn.Linear(4, 3).double()).nbytes() == {"teachers": 8 * (4 * 3 + 3)}


def test_task_labels_go_to_a_network_that_takes_them_and_to_no_other():
    class ByTask(nn.Module):
        def forward(self, x, task_labels):
            return x + task_labels[:, None]

    x, tasks = torch.zeros(2, 3), torch.tensor([1, 2])
    assert Fixed(ByTask()).outputs(x, tasks)[logits].tolist() == [[1.0] * 3, [2.0] * 3]
    assert torch.equal(Fixed(nn.Identity()).outputs(x, tasks)[logits], x)


def test_features_of_a_named_head():
    class Summed(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(2, 3), nn.Linear(2, 3)

        def forward(self, x):
            return self.one(x) + self.other(2 * x)

    x = torch.randn(4, 2)
    assert torch.equal(Fixed(Summed(), head="other").outputs(x, None, [features])[features], 2 * x)
