"""What holds whatever is given: sizes of 0 and 1, equal and infinite logits, other dtypes and layouts, any classes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from ckd import Engine, losses
from ckd.classes import ClassSet
from ckd.data import arrays
from ckd.errors import DataError, ModelError, NonFiniteLossError
from ckd.evaluation import AccuracyMatrix
from ckd.memory import Balanced, Memory, Reservoir
from ckd.recipes import RECIPES
from ckd.rows import Rows

quick = settings(derandomize=True, max_examples=6, deadline=None, database=None, phases=[Phase.generate])

FLOATS = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
WHOLE = st.sampled_from(["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", ">i4", "float32"])
PAIRS = [losses.kd, losses.symmetric_kl, losses.logit_mse, losses.hinge, losses.dist, losses.probability_mse]
ENGINE = ["naive", "er", "er-ace", "der++", "lwf", "self-distillation", "icarl", "x-der", "mean-er", "ss-il"]


def numbers(shape, seed, dtype=torch.float32, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def apart(tensor):
    """The same values with other strides: every second of a wider tensor, in reverse order of the dimensions."""
    wide = tensor.new_zeros([2 * n for n in reversed(tensor.shape)]).permute(*reversed(range(tensor.dim())))
    view = wide[tuple(slice(None, None, 2) for _ in tensor.shape)]
    view.copy_(tensor)
    return view


# losses ------------------------------------------------------------------------------------------------------------


@quick
@given(b=st.integers(0, 4), c=st.integers(1, 6), seed=st.integers(0, 99), dtype=FLOATS, same=st.booleans())
@pytest.mark.parametrize("loss", PAIRS, ids=lambda loss: loss.__name__)
def test_a_loss_of_two_outputs_is_finite_whatever_their_size_and_dtype(loss, b, c, seed, dtype, same):
    student = numbers((b, c), seed, dtype).requires_grad_()
    target = student.detach().clone() if same else numbers((b, c), seed + 1, dtype)
    found = loss(student, target)
    assert found.shape == (b,)
    assert bool(found.isfinite().all())
    assert bool((found >= -1e-2).all())
    assert not same or bool((found.abs() < 2e-2).all())
    found.sum().backward()
    assert bool(student.grad.isfinite().all())


@quick
@given(b=st.integers(1, 4), c=st.integers(1, 6), value=st.floats(-1e4, 1e4), other=st.floats(-1e4, 1e4), dtype=FLOATS)
@pytest.mark.parametrize("loss", PAIRS, ids=lambda loss: loss.__name__)
def test_equal_logits_give_finite_losses_and_gradients(loss, b, c, value, other, dtype):
    student = torch.full((b, c), value, dtype=dtype).requires_grad_()
    found = loss(student, torch.full((b, c), other, dtype=dtype))
    found.float().sum().backward()
    if loss is not losses.logit_mse:  # whose square of a difference of 20,000 is no float16
        assert bool(found.isfinite().all())
        assert bool(student.grad.isfinite().all())


@quick
@given(b=st.integers(1, 4), c=st.integers(2, 6), seed=st.integers(0, 99))
@pytest.mark.parametrize("loss", PAIRS, ids=lambda loss: loss.__name__)
def test_the_layout_in_memory_changes_no_loss(loss, b, c, seed):
    student, target = numbers((b, c), seed, torch.float64), numbers((b, c), seed + 1, torch.float64)
    assert torch.allclose(loss(student, target), loss(apart(student), apart(target)))


@quick
@given(b=st.integers(0, 4), c=st.integers(1, 6), seed=st.integers(0, 99), dtype=FLOATS)
def test_cross_entropy_is_that_of_its_formula(b, c, seed, dtype):
    logits, labels = numbers((b, c), seed, dtype), torch.arange(b) % c
    wanted = [math.log(sum(math.exp(z - row[y]) for z in row)) for row, y in zip(logits.tolist(), labels, strict=True)]
    assert losses.cross_entropy(logits, labels).tolist() == pytest.approx(wanted, abs=5e-2, rel=1e-2)


# data --------------------------------------------------------------------------------------------------------------


@quick
@given(n=st.integers(1, 9), classes=st.integers(1, 4), dtype=WHOLE, seed=st.integers(0, 99))
def test_labels_of_any_whole_dtype_are_the_same_labels(n, classes, dtype, seed):
    x, y = numbers((n * classes, 3), seed).numpy(), np.arange(n * classes) % classes
    found = arrays(x, y.astype(dtype), x[::-1], y[::-1].astype(dtype))
    assert found.y_train.tolist() == y.tolist()
    assert found.y_test.tolist() == y[::-1].tolist()
    assert found.n_classes == classes
    assert found.y_train.dtype == torch.int64


@quick
@given(data=st.data(), kind=st.sampled_from(["uint8", "float16", "float32", "float64", ">f4"]))
def test_samples_are_kept_as_they_are_whatever_their_layout(data, kind):
    shape = data.draw(st.sampled_from([(2, 1), (2, 5), (3, 4, 4), (2, 3, 5, 5), (2, 5, 5, 3), (1, 2, 2, 2)]))
    x = np.random.default_rng(0).integers(0, 200, shape).astype(kind)
    turned = np.asfortranarray(x) if data.draw(st.booleans()) else x[::-1][::-1]
    y = np.zeros(len(x), int)
    found = arrays(turned, y, x, y)
    assert torch.equal(found.x_train, found.x_test)
    assert found.x_train.is_contiguous()
    assert sorted(found.x_train.flatten().tolist()) == sorted(x.astype("float64").ravel().tolist())


# memory ------------------------------------------------------------------------------------------------------------


@quick
@given(
    size=st.integers(0, 12),
    batches=st.lists(st.integers(0, 7), max_size=6),
    n=st.integers(0, 20),
    policy=st.sampled_from([Reservoir, Balanced]),
)
def test_a_memory_holds_copies_of_what_it_was_offered_and_no_more(size, batches, n, policy):
    memory, offered = Memory(size, policy=policy()), []
    for batch in batches:
        values = torch.arange(len(offered), len(offered) + batch)
        zeros = torch.zeros_like(values)
        memory.add(Rows(values[:, None].float(), values % 3, zeros, zeros))
        offered += values.tolist()
    assert len(memory) == min(size, len(offered))
    if not len(memory):
        return
    held = memory.rows.raw[:, 0].int().tolist()
    assert len(set(held)) == len(held)
    assert set(held) <= set(offered)
    drawn = memory.sample(n)
    assert len(drawn) == min(n, len(memory))
    assert set(drawn.raw[:, 0].int().tolist()) <= set(held)
    assert drawn.targets.tolist() == [int(v) % 3 for v in drawn.raw[:, 0]]


# runs --------------------------------------------------------------------------------------------------------------

STREAMS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True), min_size=1, max_size=4)
"""The classes of each experience: out of order, one alone, some that come back."""


def small(batchnorm=False):
    torch.manual_seed(0)
    norm = [nn.BatchNorm1d(5)] if batchnorm else []
    return nn.Sequential(nn.Linear(4, 5), *norm, nn.ReLU(), nn.Linear(5, 6))


@quick
@given(stream=STREAMS, batch=st.integers(1, 6), steps=st.integers(0, 2), memory=st.integers(0, 40))
@pytest.mark.parametrize("name", ENGINE)
def test_a_run_keeps_its_promises_whatever_the_classes(name, stream, batch, steps, memory):
    recipe, model = RECIPES[name], small()
    engine = Engine(recipe.build(**({"memory_size": memory} if "memory_size" in recipe.defaults else {})))
    optimizer, met = torch.optim.SGD(model.parameters(), lr=0.05), set()
    for i, classes in enumerate(stream):
        engine.begin(classes)
        met |= set(classes)
        for k in range(steps):
            x, y = numbers((batch, 4), 10 * i + k, scale=1.0), torch.tensor(classes).repeat(batch)[:batch]
            found = engine.loss(model, x, y)
            assert math.isfinite(found.item())
            assert sum(part.item() for part in found.parts.values()) == pytest.approx(found.item(), rel=1e-4, abs=1e-5)
            optimizer.zero_grad()
            found.backward()
            optimizer.step()
            engine.after_update(optimizer)
        assert model.training
        assert set(engine.moment.classes.seen.indices) == met
        if steps:  # one without is refused
            engine.end((numbers((2, 4), i), torch.tensor(classes * 2)[:2]))
        held = engine.objective.memory
        assert held is None or len(held) <= memory
    assert engine.evaluation_model(model).eval()(numbers((3, 4), 1)).shape == (3, 6)


@quick
@given(dtype=st.sampled_from([torch.uint8, torch.int8, torch.int16, torch.int32]), seed=st.integers(0, 9))
@pytest.mark.parametrize("name", ["naive", "er", "er-ace", "der++"])
def test_labels_of_any_integer_dtype_are_the_same_to_an_engine(name, dtype, seed):
    found = []
    for kind in (torch.int64, dtype):
        model, engine = small(), Engine(RECIPES[name].build())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        engine.begin([0, 1, 2])
        for k in range(2):
            loss = engine.loss(model, numbers((6, 4), seed + k), (torch.arange(6) % 3).to(kind))
            loss.backward()
            engine.after_update(optimizer)
        found.append(loss.item())
    assert found[0] == found[1]


@quick
@given(label=st.sampled_from([6, 7, 10**6, 2**31, 2**62]))
@pytest.mark.parametrize("name", ["er", "lwf", "der++"])
def test_a_label_in_the_millions_is_refused_where_the_head_is_not_as_wide(name, label):
    engine = Engine(RECIPES[name].build())
    engine.begin([0, label])
    with pytest.raises(DataError, match=f"a label {label}"):
        engine.loss(small(), numbers((2, 4), 0), torch.tensor([0, label]))


@quick
@given(value=st.sampled_from([math.inf, -math.inf, math.nan, 1e38]))
@pytest.mark.parametrize("name", ["naive", "er", "der++", "mean-er"])
def test_an_input_that_is_no_number_ends_in_an_error_that_names_the_loss(name, value):
    model, engine = small(), Engine(RECIPES[name].build())
    engine.begin([0, 1])
    try:
        found = engine.loss(model, torch.full((2, 4), value), torch.tensor([0, 1])).item()
    except NonFiniteLossError as error:
        found = "criterion" in str(error)
    assert math.isfinite(found)
    assert found


@quick
@given(shape=st.sampled_from([(2, 3, 4, 4), (1, 3, 4, 4), (5, 3, 2, 6)]), seed=st.integers(0, 9))
@pytest.mark.parametrize("name", ["er", "der++", "lwf"])
def test_images_in_channels_last_give_the_same_losses(name, shape, seed):
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).double()
        model, engine = model.to(memory_format=layout), Engine(RECIPES[name].build())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for i in range(2):
            engine.begin([0, 1])
            for k in range(2):
                x = numbers(shape, seed + 2 * i + k, torch.float64).contiguous(memory_format=layout)
                loss = engine.loss(model, x, torch.arange(len(x)) % 2)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                engine.after_update(optimizer)
            engine.end((x, torch.arange(len(x)) % 2))
        found.append(loss.item())
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@quick
@given(memory=st.integers(0, 3), batch=st.integers(2, 5))
@pytest.mark.parametrize("name", ["er", "der++", "mean-er", "er-ace"])
def test_a_memory_of_one_sample_is_explained_beside_batch_normalisation(name, memory, batch):
    model, engine = small(batchnorm=True), Engine(RECIPES[name].build(memory_size=memory))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    engine.begin([0, 1])
    for k in range(3):
        try:
            loss = engine.loss(model, numbers((batch, 4), k), torch.arange(batch) % 2)
        except ModelError:
            assert memory == 1
            return
        loss.backward()
        engine.after_update(optimizer)
    assert math.isfinite(loss.item())


# bookkeeping -------------------------------------------------------------------------------------------------------

SETS = st.dictionaries(st.integers(0, 3), st.frozensets(st.integers(0, 10**7), max_size=4), max_size=3)


@quick
@given(one=SETS, other=SETS, width=st.integers(0, 12))
def test_sets_of_classes_are_sets(one, other, width):
    a, b = ClassSet(one), ClassSet(other)
    every, others = set().union(*one.values()), set().union(*other.values())
    assert set((a | b).indices) == every | others
    assert set((a - b).indices) == every - others
    assert ClassSet.of_state(a.state_dict()).indices == a.indices
    mask = a.mask(width, None, torch.device("cpu"))
    wanted = [c in every for c in range(width)]
    assert all(wanted) if mask is None else mask.tolist() == wanted


@quick
@given(t=st.integers(1, 5), seed=st.integers(0, 99))
def test_every_measure_of_an_accuracy_matrix_stays_in_its_range(t, seed):
    random = np.random.default_rng(seed)
    matrix = AccuracyMatrix(random.random((t, t)), random.random(t))
    assert 0 <= matrix.average_accuracy() <= 1
    assert all(0 <= value <= 1 for value in matrix.average_accuracies())
    assert 0 <= matrix.learning_accuracy() <= 1
    assert all(
        -1 <= value <= 1 for value in (matrix.forgetting(), matrix.backward_transfer(), matrix.forward_transfer())
    )
    assert np.array_equal(AccuracyMatrix.from_json(matrix.to_json()).values, matrix.values)
