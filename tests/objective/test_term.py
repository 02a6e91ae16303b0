"""What a term refuses, and its value where a loss, a target or an output is of an unusual form."""

import sys

import pytest
import torch
from torch import nn

from ckd import Adaptor, Engine, Fixed, Objective, Term, tap
from ckd.errors import ConfigError
from ckd.losses import cross_entropy, feature_distance, kd
from ckd.objective import features, labels, old, stream, teacher


@pytest.mark.parametrize("wrong", [{"groups": "old"}, {"loss": "kd"}, {"view": 1}])
def test_what_is_called_must_be_a_function(wrong):
    with pytest.raises(ConfigError, match="expected a function"):
        Term("mine", **{"draw": stream, "loss": cross_entropy, **wrong})


@pytest.mark.parametrize(
    ("wrong", "fix"),
    [
        ({"draw": "a"}, r'draw=replay\("a"\)'),
        ({"target": "labels"}, "target=labels"),
        ({"target": lambda: None}, "target=labels"),
        ({"output": "layer3"}, r'output=tap\("layer3"\)'),
    ],
)
def test_a_draw_a_target_and_an_output_are_of_their_kind(wrong, fix):
    with pytest.raises(ConfigError, match=fix):
        Term("mine", loss=cross_entropy, **wrong)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), "1", None])
def test_a_weight_is_a_finite_number_or_a_function(weight):
    with pytest.raises(ConfigError, match="a finite number or a function of the moment"):
        Term("mine", weight=weight)


@pytest.mark.parametrize(
    ("output", "adaptor", "expected"),
    [
        (tap("1"), nn.Linear(2, 2), "an Adaptor"),
        (tap("1"), [Adaptor(), Adaptor()], "an Adaptor"),
        (tap("1", "2"), Adaptor(), "2 Adaptors, one for each tap"),
        (tap("1", "2"), [Adaptor(), "a"], "2 Adaptors, one for each tap"),
        (tap("1", "2"), [], "2 Adaptors, one for each tap"),
    ],
)
def test_there_is_one_adaptor_for_each_tap(output, adaptor, expected):
    with pytest.raises(ConfigError, match=expected):
        Term("mine", target=teacher("t"), loss=feature_distance, output=output, adaptor=adaptor)


@pytest.mark.parametrize("output", [tap("1"), features])
def test_groups_choose_among_logits_only(output):
    with pytest.raises(ConfigError, match="choose among logits"):
        Term("mine", loss=feature_distance, output=output, groups=old)


def step_of(term, width=4, model=None):
    engine = Engine(Objective("x", [term], teachers={"t": Fixed(nn.Linear(3, width))}))
    engine.begin(range(4))
    student = model or nn.Linear(3, 4)
    x, y = torch.randn(5, 3), torch.arange(5) % 4
    return engine.loss(student, x, y), student, engine.objective.teachers["t"].model.module, x, y


@pytest.mark.parametrize("wrong", [lambda z, t: z.mean(), lambda z, t: z, lambda z, t: z.sum(1, keepdim=True)])
def test_a_loss_that_does_not_give_one_value_for_each_sample_is_refused(wrong):
    def loss(student, target, *, classes=None):
        return wrong(student, target)

    for output in ({}, {"output": tap("0")}):
        with pytest.raises(ConfigError, match=r"one value for each sample, \(5,\).*reduction='none'"):
            step_of(Term("mine", loss=loss, **output), model=nn.Sequential(nn.Linear(3, 4)))


@pytest.mark.parametrize("width", [2, 9])
def test_of_a_narrower_or_wider_teacher_the_classes_of_both_are_compared(width):
    found, student, network, x, _ = step_of(Term("kd", target=teacher("t"), loss=kd), width=width)
    both = min(4, width)
    p, q = ((model(x)[:, :both] / 2).log_softmax(1) for model in (network, student))
    assert found.parts["kd"].item() == pytest.approx(4 * (p.exp() * (p - q)).sum(1).mean().item(), rel=1e-4)


def test_a_loss_of_torch_without_reduction_will_do():
    class Mine:
        def __call__(self, student, target, *, classes=None):
            return nn.functional.cross_entropy(student, target, reduction="none")

    found, student, _, x, y = step_of(Term("ce", target=labels, loss=Mine()))
    assert found.parts["ce"].item() == pytest.approx(nn.functional.cross_entropy(student(x), y).item())


def test_a_weight_may_be_negative():
    found, student, _, x, y = step_of(Term("ce", loss=cross_entropy, weight=-0.5))
    wanted = nn.functional.cross_entropy(student(x), y).item()
    assert found.parts["ce"].item() == pytest.approx(-0.5 * wanted)
    assert found.total.item() == pytest.approx(0.5 * wanted)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(reduction="none"), lambda s, t: (s - t).square().mean(1)])
def test_a_loss_of_logits_that_takes_no_classes_is_refused(loss):
    with pytest.raises(ConfigError, match=r"loss of term 'x': expected a loss of logits.*classes=None.*output=tap"):
        Term("x", loss=loss)
    Term("x", loss=loss, output=tap("0"))


def test_a_loss_that_does_not_tell_what_it_takes_is_asked_when_it_is_called():
    class Compiled:
        __signature__ = "not told"  # inspect.signature raises a TypeError; for a built-in function a ValueError

        def __call__(self, student, target, *, classes=None):
            return cross_entropy(student, target, classes=classes)

    found, student, _, x, y = step_of(Term("ce", loss=Compiled()))
    assert found.parts["ce"].item() == pytest.approx(nn.functional.cross_entropy(student(x), y).item())
    assert Term("x", loss=torch.dist).loss is torch.dist


class Odd:
    def __repr__(self):
        return "odd"


LOSS_OF_LOGITS = (
    "loss: expected a loss of logits, loss(student, target, classes=None); received CrossEntropyLoss(). "
    "Give it that argument, or compare the output of a module: output=tap(...)."
)
FUNCTION = "expected a function; received odd. Take one of ckd.objective, ckd.losses or ckd.views."
ADAPTOR = "For example adaptor=Adaptor(), or Adaptor(module) for a map of your own."


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"draw": Odd()}, 'draw: expected a draw of ckd.objective; received odd. For example draw=replay("a").'),
        (
            {"target": Odd()},
            "target: expected a target of ckd.objective; received odd. "
            'For example target=labels or target=teacher("past").',
        ),
        (
            {"output": Odd()},
            'output: expected an output of ckd.objective; received odd. For example output=tap("layer3").',
        ),
        ({"groups": Odd()}, f"groups: {FUNCTION}"),
        ({"loss": Odd()}, f"loss: {FUNCTION}"),
        ({"view": Odd()}, f"view: {FUNCTION}"),
        ({"loss": nn.CrossEntropyLoss()}, LOSS_OF_LOGITS),
        (
            {"weight": "much"},
            "weight: expected a finite number or a function of the moment; received 'much'. "
            "Use 0 to switch the term off.",
        ),
        ({"output": tap("0"), "adaptor": Odd()}, f"adaptor: expected an Adaptor; received odd. {ADAPTOR}"),
        (
            {"output": tap("0", "1"), "adaptor": Odd()},
            f"adaptor: expected 2 Adaptors, one for each tap, or one for all such as Fusion(); received odd. {ADAPTOR}",
        ),
        (
            {"output": tap("0"), "groups": old},
            f"groups: expected none, as they choose among logits; received {old!r}. Leave them out.",
        ),
    ],
    ids=lambda value: (
        value.split(" at 0x")[0] if isinstance(value, str) else None
    ),  # no address: equal in all processes
)
def test_it_says_what_is_wrong(given, said):
    with pytest.raises(ConfigError) as error:
        Term("x", **given)
    what, rest = said.split(":", 1)
    assert str(error.value) == f"{what} of term 'x':{rest}"


def test_the_largest_number_is_a_weight():
    assert Term("x", loss=cross_entropy, weight=sys.float_info.max).weight == sys.float_info.max


def test_what_is_meant_is_suggested():
    with pytest.raises(ConfigError, match=r'target of term .*target=teacher\("past"\)'):
        Term("x", target="past", loss=cross_entropy)
    with pytest.raises(ConfigError, match=r"Adaptor\(module\)"):
        Term("x", output=tap("0"), adaptor=nn.Linear(2, 2), loss=cross_entropy)
