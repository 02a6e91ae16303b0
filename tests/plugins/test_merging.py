"""One forward pass for stream and memory: what it is asked about, and that nothing but rounding depends on how."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ckd import Memory, Objective, SelfDistillation, Term, recipes
from ckd.data import as_benchmark, tensor_stream
from ckd.data.preparation import Preparation, RandomFlip
from ckd.losses import cross_entropy
from ckd.objective import memory
from ckd.plugins import distillation
from ckd.plugins.resident_loader import ResidentLoader

BATCH, SIZE = 16, 20


def digits(extra=()):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), *extra, nn.ReLU(), nn.Linear(12, 10))


def asked(model, naive, objective=None, experiences=1, stream=None, **settings):
    """Rows of every forward pass while the model learns, and the strategy."""
    rows = []
    model.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    objective = objective or recipes.der_plus_plus(memory_size=SIZE)
    strategy = naive(model, [SelfDistillation(objective, **settings)], batch=BATCH)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for experience in as_benchmark(stream or tensor_stream("split-digits")).train_stream[:experiences]:
            strategy.train(experience)
    return rows, strategy


def test_a_sample_that_two_draws_took_is_asked_about_once(naive):
    rows, _ = asked(digits(), naive)
    assert rows[0] == BATCH
    assert max(rows) <= BATCH + SIZE < 3 * BATCH
    assert len(set(rows)) > 2


class RandomLstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.LSTM(8, 6, num_layers=2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(6, 10)

    def forward(self, x):
        return self.head(self.body(x.view(-1, 8, 8))[0][:, -1])


NOT_ALONE = {
    "dropout": lambda: digits([nn.Dropout(0.1)]),
    "batch statistics": lambda: digits([nn.BatchNorm1d(12)]),
    "random slopes": lambda: digits([nn.RReLU()]),
    "dropout within a module": RandomLstm,
}


@pytest.mark.parametrize("make", NOT_ALONE.values(), ids=NOT_ALONE)
def test_where_the_answer_depends_on_more_than_the_sample_every_draw_is_asked_about(make, naive):
    rows, _ = asked(make(), naive, joint=True)
    assert rows[5] == 3 * BATCH


def test_compiled_code_sees_one_size_of_batch(naive):
    model = digits()
    model.compile(backend="eager")
    rows, _ = asked(model, naive)
    assert set(rows[1:-1]) == {3 * BATCH}


def test_separate_passes_are_separate(naive):
    rows, _ = asked(digits(), naive, joint=False)
    assert rows[3:6] == [BATCH] * 3


def test_augmented_samples_are_all_different(naive):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    stream = tensor_stream("split-digits")
    stream = replace(stream, prepare_train=Preparation((RandomFlip(), *stream.prepare_train.steps)))
    rows, _ = asked(model, naive, stream=stream)
    assert rows[5] == 3 * BATCH


def as_it_is(batch, generator):
    return batch


OBJECTIVES = {
    "der++": lambda: recipes.der_plus_plus(memory_size=SIZE),
    "er": lambda: recipes.er(memory_size=SIZE),
    "a view": lambda: Objective(
        "x",
        [
            Term("plain", memory("a"), loss=cross_entropy),
            Term("shown", memory("b"), loss=cross_entropy, view=as_it_is),
        ],
        memory=Memory(SIZE),
    ),
    "more than the stream": lambda: recipes.der_plus_plus(memory_size=50, memory_batch_size=30),
    "bfp": lambda: recipes.bfp(memory_size=SIZE),
}


@pytest.mark.parametrize("make", OBJECTIVES.values(), ids=OBJECTIVES)
def test_neither_merging_nor_room_behind_the_stream_changes_what_is_learnt(make, naive, monkeypatch):
    quick = asked(digits(), naive, make(), experiences=2)[1].model
    monkeypatch.setattr(distillation, "answers_each_alone", lambda model: False)
    monkeypatch.setattr(ResidentLoader, "leave_room", lambda *_: None)
    _, slow = asked(digits(), naive, make(), experiences=2)
    for mine, wanted in zip(quick.parameters(), slow.model.parameters(), strict=True):
        assert torch.allclose(mine, wanted, rtol=1e-4, atol=1e-5)


def test_room_is_behind_the_batch_served_last_and_no_other(naive):
    seen = []

    class Look(distillation.SupervisedPlugin):
        def before_forward(self, strategy, **kwargs):
            loader, inputs = strategy.dataloader, strategy.mb_x
            room = loader.room(inputs)
            assert len(room) == 2 * BATCH
            assert room.data_ptr() == inputs.data_ptr() + inputs.numel() * inputs.element_size()
            assert loader.room(inputs.clone()) is None
            assert loader.room(inputs[3:]) is None  # what lies behind it is not all free
            seen.append(1)

    plugins = [Look(), SelfDistillation(recipes.der_plus_plus(memory_size=SIZE))]
    naive(digits(), plugins, batch=BATCH).train(as_benchmark(tensor_stream("split-digits")).train_stream[0])
    assert seen


def test_data_that_are_not_scaled_leave_no_room(blobs, benchmark_of, network, naive):
    """Room is float32, which only scaling makes sure of."""
    plugin = SelfDistillation(recipes.der_plus_plus(memory_size=SIZE))
    strategy = naive(network(torch.float64), [plugin])
    for experience in benchmark_of(blobs(dtype=torch.float64)).train_stream:
        strategy.train(experience)
    assert strategy.model[0].weight.dtype == torch.float64
