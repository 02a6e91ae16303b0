"""A loop of one's own that is killed at any step and run again ends bit for bit as one that was not."""

import random
from itertools import islice

import pytest
import torch
from shared import equal_bits
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from ckd import Engine, recipes
from ckd.checkpoint import CheckpointError, Checkpoints, LoopCheckpoint
from ckd.errors import ConfigError, ModelError, NonFiniteLossError


class Killed(BaseException):
    pass


def net(width=6):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, width))


def script(folder, data, *, die_at=0, own=False, every=3, model=net, epochs=2, size=20, workers=0, **settings):
    """What a user runs: two epochs, a scheduler, a note, a draw before the batches."""
    random.seed(1)
    model = model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    engine = Engine(recipes.der_plus_plus(memory_size=size))
    given = {"model": model, "optimizer": optimizer, "engine": engine, "schedule": schedule, "settings": settings}
    loop = LoopCheckpoint(folder, every=every, **given)
    left = die_at
    for x, y in loop.experiences(data):
        engine.begin(y.unique().tolist())
        kept = torch.rand(len(x)) < 0.9  # drawn again after a kill
        generator = torch.Generator().manual_seed(5) if own else None
        loader = DataLoader(TensorDataset(x[kept], y[kept]), batch_size=8, shuffle=True, generator=generator)
        for _ in range(epochs):
            for bx, by in loop.batches(loader):
                optimizer.zero_grad()
                engine.loss(model, bx, by).backward()
                optimizer.step()
                engine.after_update(optimizer)
                left -= 1
                if left == 0:
                    raise Killed
            schedule.step()
        engine.end((x, y))
        loop.notes.setdefault("accuracies", []).append(random.random())
    files = Checkpoints(folder)
    return files.read(files.names()[-1]).state()


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kills", [(1,), (5, 1), (6,), (10, 4), (13, 2, 5)])
def test_it_ends_the_same(tmp_path, blobs, kills, own):
    wanted = script(tmp_path / "undisturbed", blobs(), own=own)
    for at in kills:
        with pytest.raises(Killed):
            script(tmp_path / "killed", blobs(), own=own, die_at=at)
    assert equal_bits(script(tmp_path / "killed", blobs(), own=own), wanted)
    assert len(wanted["notes"]["accuracies"]) == 3


def test_checkpoints_change_no_number(tmp_path, blobs):
    ends = [script(tmp_path / f"every{every}", blobs(), every=every) for every in (0, 1)]
    assert equal_bits(ends[0], ends[1])


@pytest.mark.parametrize("batch_sampler", [False, True])
@pytest.mark.parametrize("stop", [-1, 4, 5, 6, 10, 11])  # of 5 steps an experience; -1 is before the second
@pytest.mark.parametrize("every", [0, 2])
def test_a_generator_that_the_loaders_share_goes_on(tmp_path, blobs, stop, every, batch_sampler):
    def learn(folder, stop=None):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        loop = LoopCheckpoint(folder, model=model, optimizer=optimizer, every=every)
        generator, steps = torch.Generator().manual_seed(7), 0
        for x, y in loop.experiences(blobs()):
            data = TensorDataset(x, y)
            loader = DataLoader(data, batch_size=8, shuffle=True, generator=generator)
            if batch_sampler:
                sampler = RandomSampler(data, generator=generator)
                loader = DataLoader(data, batch_sampler=BatchSampler(sampler, 8, False))
            if stop == -1 and loop.notes.get("ended"):
                break
            for bx, by in loop.batches(loader):
                if steps == stop:
                    return None
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(bx), by).backward()
                optimizer.step()
                steps += 1
            loop.notes["ended"] = True
        return model.state_dict()

    learn(tmp_path / "stopped", stop)
    assert equal_bits(learn(tmp_path / "stopped"), learn(tmp_path / "undisturbed"))


@pytest.mark.parametrize("learnt", [0, 1])
def test_a_stream_that_draws_random_numbers_is_refused(tmp_path, blobs, learnt):
    def drawing():
        for i, (x, y) in enumerate(blobs()):
            if i >= learnt:
                random.random()
            yield x, y

    model = net()
    given = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    with pytest.raises(CheckpointError, match=f"received draws before experience {learnt + 1}. Make a list of it"):
        list(LoopCheckpoint(tmp_path, **given).experiences(drawing()))
    assert len(list(LoopCheckpoint(tmp_path, **given).experiences(list(drawing())))) == 3 - learnt


def test_draws_while_what_was_learnt_is_passed_over_are_refused(tmp_path, blobs):
    model = net()
    given = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    next_two = LoopCheckpoint(tmp_path, **given).experiences(blobs())
    next(next_two), next(next_two)
    with pytest.raises(CheckpointError, match="draws before experience 2"):
        next(LoopCheckpoint(tmp_path, **given).experiences((x + torch.rand(1), y) for x, y in blobs()))


def test_what_was_restored_is_in_the_notes_that_one_holds(tmp_path, blobs):
    def learn(steps):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loop = LoopCheckpoint(tmp_path, model=model, optimizer=optimizer, every=2)
        notes = loop.notes
        for x, y in loop.experiences(blobs(n_experiences=1)):
            notes["begun"] = notes.get("begun", 0) + 1  # done again, and overwritten
            for _ in islice(loop.batches(DataLoader(TensorDataset(x, y), batch_size=8)), steps):
                notes["steps"] = notes.get("steps", 0) + 1
            if steps == 3:
                break
        return notes

    assert learn(3) == {"begun": 1, "steps": 3}
    assert learn(None) == {"begun": 1, "steps": 5}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"model": lambda: net(7)}, CheckpointError, "whose model"),
        ({"size": 30}, CheckpointError, "whose memory size is 20 and not 30"),
        ({"rate": 3}, CheckpointError, "whose rate"),
    ],
)
def test_other_settings_are_refused(tmp_path, blobs, change, error, match):
    with pytest.raises(Killed):
        script(tmp_path, blobs(), die_at=5)
    with pytest.raises(error, match=match):
        script(tmp_path, blobs(), **change)


def test_other_data_are_refused(tmp_path, blobs):
    with pytest.raises(Killed):
        script(tmp_path, blobs(), die_at=5)
    with pytest.raises(CheckpointError, match="those that were learnt before"):
        script(tmp_path, [(x, y.flip(0)) for x, y in blobs()])


def test_a_head_that_has_not_grown_again_is_refused(tmp_path):
    model = nn.Linear(2, 3)
    given = {"optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    loop = LoopCheckpoint(tmp_path, model=model, **given)
    for _ in loop.experiences([1]):
        model.weight = nn.Parameter(torch.ones(4, 2))
    model.weight = nn.Parameter(torch.ones(3, 2))
    with pytest.raises(ModelError, match=r"expected weight \[4, 2\]; received \[3, 2\]"):
        list(LoopCheckpoint(tmp_path, model=model, **given).experiences([1]))


def test_a_number_that_cannot_work_is_refused(tmp_path):
    model = nn.Linear(2, 3)
    with pytest.raises(ConfigError, match="steps between checkpoints"):
        LoopCheckpoint(tmp_path, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), every=-2)


def test_every_so_many_steps_there_is_one(tmp_path, blobs):
    data = blobs(n_experiences=1)
    said = []

    class Counted(LoopCheckpoint):
        def _save(self, place):
            said.append(None if place is None else place["steps"])
            super()._save(place)

    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loop = Counted(tmp_path, model=model, optimizer=optimizer, every=2)
    for x, y in loop.experiences(data):
        for _ in loop.batches(DataLoader(TensorDataset(x, y), batch_size=8)):
            pass
    assert said == [2, 4, None]  # of 5 mini-batches
    assert Checkpoints(tmp_path).names() == ["checkpoint-00000002.safetensors", "checkpoint-00000003.safetensors"]


@pytest.mark.parametrize("keep", [1, 3])
def test_so_many_are_kept_as_one_wants(keep, tmp_path, blobs):
    model, folder = net(), tmp_path / "made" / "with its parents"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in LoopCheckpoint(folder, model=model, optimizer=optimizer, keep=keep).experiences(
        blobs(n_experiences=4, per_experience=1)
    ):
        pass
    assert len(Checkpoints(folder).names()) == keep


def test_unless_one_says_how_often_there_is_one_after_each_experience(tmp_path, blobs):
    model = net()
    loop = LoopCheckpoint(tmp_path, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), keep=99)
    for x, y in loop.experiences(blobs()):
        for _ in loop.batches(DataLoader(TensorDataset(x, y), batch_size=8)):
            pass
    assert len(Checkpoints(tmp_path).names()) == 3


def test_weights_that_are_no_numbers_are_not_saved_and_the_place_is_told(tmp_path, blobs):
    model = net()
    loop = LoopCheckpoint(tmp_path, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), every=1)
    x, y = next(loop.experiences(blobs()))
    batches = loop.batches(DataLoader(TensorDataset(x, y), batch_size=8))
    for _ in range(3):
        next(batches)
    model[0].weight.data.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="after 3 mini-batches of experience 1"):
        next(batches)


def test_what_is_passed_over_is_said_to_whom_one_names(tmp_path, blobs):
    said = []
    for _ in range(2):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loop = LoopCheckpoint(tmp_path, model=model, optimizer=optimizer, say=said.append)
        left = list(loop.experiences(blobs()))
        (tmp_path / Checkpoints(tmp_path).names()[-1]).write_bytes(b"")
    assert len(left) == 1  # from the one before
    assert len(said) == 1
    assert "checkpoint-00000003" in said[0]
