"""Terms whose loss wants the samples' labels too, and relations between samples as terms."""

from functools import partial

import pytest
import torch
from torch import nn

from ckd import Engine, Fixed, Memory, Objective, Term, tap
from ckd.errors import ConfigError
from ckd.losses import Standardised, attention, dkd, kd, relational_distance, similarity
from ckd.objective import replay, teacher
from ckd.views import Mixup


def network(width=8, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 4))


def batch(size=10):
    g = torch.Generator().manual_seed(1)
    return torch.randn(size, 6, generator=g), torch.randint(4, (size,), generator=g)


def value(loss, **given):
    """The term's value at a first step, of a student and a large teacher."""
    student, large = network(), network(20, seed=3)
    objective = Objective(
        "distilled",
        [Term("kd", target=teacher("large", **given.pop("of", {})), loss=loss, **given)],
        teachers={"large": Fixed(large)},
    )
    engine = Engine(objective)
    engine.begin(classes=range(4))
    x, y = batch()
    parts = engine.loss(student, x, y).parts
    return parts["kd"], student, large, x, y


@pytest.mark.parametrize("loss", [dkd, partial(dkd, temperature=2.0), Standardised(dkd)])
def test_a_loss_with_labels_gets_those_of_its_samples(loss):
    found, student, large, x, y = value(loss)
    torch.testing.assert_close(found, loss(student(x), large(x), labels=y).mean())


def test_remembered_samples_bring_their_own_labels():
    large = network(20, seed=3)
    term = Term("kd", draw=replay("a"), target=teacher("large"), loss=dkd)
    engine, student = Engine(Objective("d", [term], memory=Memory(10), teachers={"large": Fixed(large)})), network()
    x, y = batch()
    engine.begin(classes=range(4))
    engine.loss(student, x, y)
    engine.after_update()
    engine.end((x, y))
    engine.begin(classes=range(4))
    parts = engine.loss(student, x + 1, torch.zeros_like(y)).parts
    order = torch.argsort(y, stable=True)
    rows = engine.objective.memory.rows
    assert torch.equal(rows.targets.sort().values, y[order])
    wanted = dkd(student(rows.raw), large(rows.raw), labels=rows.targets).mean()
    torch.testing.assert_close(parts["kd"], wanted)


def test_dense_logits_have_a_label_at_each_place():
    dense = nn.Conv2d(2, 3, 1)
    large = nn.Conv2d(2, 3, 1)
    objective = Objective("d", [Term("kd", target=teacher("large"), loss=dkd)], teachers={"large": Fixed(large)})
    engine = Engine(objective)
    engine.begin(classes=range(3))
    x, y = torch.randn(2, 2, 4, 4), torch.randint(3, (2, 4, 4))
    found = engine.loss(dense, x, y).parts["kd"]
    by_place = [z.movedim(1, -1).flatten(0, -2) for z in (dense(x), large(x))]
    torch.testing.assert_close(found, dkd(*by_place, labels=y.flatten()).mean())


def test_mixed_samples_have_no_label_to_give():
    with pytest.raises(ConfigError, match="without labels"):
        value(dkd, view=Mixup())


@pytest.mark.parametrize("loss", [relational_distance, similarity])
def test_relations_compare_features_of_other_widths_without_an_adaptor(loss):
    found, student, large, x, _ = value(loss, output=tap("1"), of={"output": tap("1")})
    torch.testing.assert_close(found, loss(student[:2](x), large[:2](x)).mean())


def test_attention_compares_maps_of_other_depths():
    student, large = (
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.LazyLinear(4)),
        nn.Sequential(nn.Conv2d(1, 7, 3), nn.Flatten(), nn.LazyLinear(4)),
    )
    x, y = torch.randn(5, 1, 6, 6), torch.randint(4, (5,))
    student(x), large(x)
    term = Term("maps", target=teacher("large", output=tap("0")), loss=attention, output=tap("0"))
    engine = Engine(Objective("d", [term], teachers={"large": Fixed(large)}))
    engine.begin(classes=range(4))
    torch.testing.assert_close(engine.loss(student, x, y).parts["maps"], attention(student[0](x), large[0](x)).mean())


def test_a_loss_without_labels_is_called_as_before():
    found, student, large, x, _ = value(kd)
    torch.testing.assert_close(found, kd(student(x), large(x)).mean())
