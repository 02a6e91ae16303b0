"""One forward pass for stream and memory: which rows it has, and that nothing but rounding depends on them."""

from dataclasses import replace

import pytest
import torch
from avalanche.models.batch_renorm import BatchRenorm2D
from torch import nn

from ckd import Memory, Objective, SelfDistillation, Term, recipes
from ckd.data import as_benchmark, tensor_stream
from ckd.data.preparation import Preparation, RandomFlip
from ckd.losses import cross_entropy
from ckd.objective import replay

BATCH, SIZE = 16, 20


def digits(extra=()):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), *extra, nn.ReLU(), nn.Linear(12, 10))


def images(*extra):
    return nn.Sequential(nn.Conv2d(1, 4, 3), *extra, nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def few_digits():
    return tensor_stream("split-digits", samples_per_class=60)  # 8 steps an experience


def trained(model, naive, objective=None, *, experiences=1, stream=None, unique=True, **settings):
    """Rows of every forward pass while the model trains, and the strategy."""
    rows = []
    model.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    plugin = SelfDistillation(objective or recipes.der_plus_plus(memory_size=SIZE), **settings)
    plugin.engine.unique = unique
    strategy = naive(model, [plugin], batch=BATCH)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for experience in as_benchmark(stream or few_digits()).train_stream[:experiences]:
            strategy.train(experience)
    return rows, strategy


def test_a_sample_that_two_draws_took_is_shown_once(naive):
    rows, _ = trained(digits(), naive)
    assert rows[0] == BATCH
    assert max(rows) <= BATCH + SIZE < 3 * BATCH
    assert len(set(rows)) > 2


def test_switched_off_every_draw_is_shown(naive):
    rows, _ = trained(digits(), naive, unique=False)
    assert set(rows[2:-1]) == {3 * BATCH}


class RandomLstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.LSTM(8, 6, num_layers=2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(6, 10)

    def forward(self, x):
        return self.head(self.body(x.view(-1, 8, 8))[0][:, -1])


class RunningScale(nn.Module):
    """A normalisation that is no BatchNorm and keeps running statistics."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_scale", torch.ones(()))

    def forward(self, x):
        self.running_scale.lerp_(x.detach().abs().mean(), 0.1)
        return x / x.detach().abs().mean()


BATCH_STATISTICS = {
    "BatchNorm": lambda: digits([nn.BatchNorm1d(12)]),
    "BatchRenorm": lambda: images(BatchRenorm2D(4)),
    "InstanceNorm with running statistics": lambda: images(nn.InstanceNorm2d(4, track_running_stats=True)),
    "a module of one's own": lambda: digits([RunningScale()]),
}
RANDOM = {
    "dropout": lambda: digits([nn.Dropout(0.1)]),
    "random slopes": lambda: digits([nn.RReLU()]),
    "dropout within a module": RandomLstm,
}
NOT_ALONE = {**BATCH_STATISTICS, **RANDOM}


@pytest.mark.parametrize("make", NOT_ALONE.values(), ids=NOT_ALONE)
def test_where_an_output_depends_on_more_than_its_sample_every_draw_is_shown(make, naive):
    rows, _ = trained(make(), naive, joint=True)
    assert rows[5] == 3 * BATCH


@pytest.mark.parametrize("make", BATCH_STATISTICS.values(), ids=BATCH_STATISTICS)
def test_batch_statistics_are_of_one_draw_unless_the_objective_or_the_user_joins_them(make, naive):
    joining = recipes.der_plus_plus(memory_size=SIZE).extend(joint_with_batchnorm=True)
    assert trained(make(), naive)[0][3:6] == [BATCH] * 3
    assert trained(make(), naive, joining)[0][5] == 3 * BATCH


@pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM)
def test_networks_that_are_merely_random_see_everything_in_one_forward_pass(make, naive):
    assert trained(make(), naive)[0][5] == 3 * BATCH


def test_a_norm_without_running_statistics_is_of_each_sample(naive):
    rows, _ = trained(images(nn.InstanceNorm2d(4)), naive)
    assert BATCH < rows[5] < 3 * BATCH


def test_compiled_code_sees_one_size_of_batch(naive):
    model = digits()
    model.compile(backend="eager")
    rows, _ = trained(model, naive)
    assert set(rows[1:-1]) == {3 * BATCH}


def test_separate_passes_are_separate(naive):
    rows, _ = trained(digits(), naive, joint=False)
    assert rows[3:6] == [BATCH] * 3


def test_augmented_samples_are_all_different(naive):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    stream = few_digits()
    stream = replace(stream, prepare_train=Preparation((RandomFlip(), *stream.prepare_train.steps)))
    rows, _ = trained(model, naive, stream=stream)
    assert rows[5] == 3 * BATCH


def as_it_is(batch, generator):
    return batch


OBJECTIVES = {
    "der++": lambda: recipes.der_plus_plus(memory_size=SIZE),
    "er": lambda: recipes.er(memory_size=SIZE),
    "a view": lambda: Objective(
        "x",
        [
            Term("plain", replay("a"), loss=cross_entropy),
            Term("shown", replay("b"), loss=cross_entropy, view=as_it_is),
        ],
        memory=Memory(SIZE),
    ),
    "three draws": lambda: Objective(
        "x", [Term(name, replay(name), loss=cross_entropy) for name in "abc"], memory=Memory(SIZE)
    ),
    "more than the stream": lambda: recipes.der_plus_plus(memory_size=50, memory_batch_size=30),
    "bfp": lambda: recipes.bfp(memory_size=SIZE),
}


@pytest.mark.parametrize("make", OBJECTIVES.values(), ids=OBJECTIVES)
def test_unique_rows_change_nothing_but_rounding(make, naive):
    quick, slow = (trained(digits(), naive, make(), experiences=2, unique=unique)[1].model for unique in (True, False))
    for mine, wanted in zip(quick.parameters(), slow.parameters(), strict=True):
        assert torch.allclose(mine, wanted, rtol=1e-4, atol=1e-5)


def test_networks_in_double_precision_stay_so(blobs, benchmark_of, network, naive):
    plugin = SelfDistillation(recipes.der_plus_plus(memory_size=SIZE))
    strategy = naive(network(torch.float64), [plugin])
    for experience in benchmark_of(blobs(dtype=torch.float64)).train_stream:
        strategy.train(experience)
    assert strategy.model[0].weight.dtype == torch.float64
    assert plugin.objective.memory.rows.logits.dtype == torch.float64
