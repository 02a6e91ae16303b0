"""Fixed views: the preparation's own augmentation, the same whatever the order, the batches and the process."""

import numpy as np
import pytest
import torch

from ckd.data import FixedViews
from ckd.data.experience import Permutation, TensorExperience
from ckd.data.fixed_views import PIECE
from ckd.data.preparation import Normalise, Preparation, RandomCrop, RandomFlip, Scale
from ckd.errors import ConfigError

PREPARE = Preparation((RandomCrop(2), RandomFlip(), Scale(), Normalise((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))))


def images(n=12):
    return torch.randint(256, (n, 3, 6, 5), dtype=torch.uint8)


def test_a_view_is_what_the_preparation_draws_with_its_seed_for_a_thousand_samples_at_a_time():
    x = images(PIECE + 3)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(5, spawn_key=(1,)).generate_state(1)[0]))
    wanted = torch.cat([PREPARE(x[:PIECE], generator), PREPARE(x[PIECE:], generator)])
    assert torch.equal(FixedViews(x, PREPARE, views=2, seed=5).inputs(1), wanted)


def test_order_batches_and_what_was_asked_before_play_no_part():
    x, rows = images(), torch.randperm(12)
    views = FixedViews(x, PREPARE, views=3)
    whole = [views.inputs(v).clone() for v in range(3)]
    for v in (2, 0, 1, 1):
        for some in torch.split(rows, 5):
            assert torch.equal(views.inputs(v, some), whole[v][some])
            torch.rand(3)
    assert torch.equal(FixedViews(x, PREPARE, views=3).inputs(2), whole[2])
    assert torch.equal(torch.cat(list(views.batches(5))), torch.cat(whole))


def test_views_and_seeds_differ_and_the_samples_stay():
    x = images()
    before = x.clone()
    shown = [FixedViews(x, PREPARE, views=2, seed=seed).inputs(v) for seed in (0, 1, 2**32, -1) for v in (0, 1)]
    assert not any(torch.equal(a, b) for i, a in enumerate(shown) for b in shown[:i])
    assert torch.equal(x, before)


def test_no_global_random_number_is_used():
    x = images()
    state = torch.get_rng_state()
    list(FixedViews(x, PREPARE, views=2).batches())
    assert torch.equal(torch.get_rng_state(), state)


def test_an_experience_shows_its_own_rows_as_it_changes_them():
    base, rows = images(), torch.tensor([7, 2, 4])
    change = Permutation(torch.randperm(90))
    changed = torch.empty_like(base)
    change(base, changed)
    for experience, wanted in (
        (TensorExperience(base, torch.zeros(12), rows=rows), base[rows]),
        (TensorExperience(base, torch.zeros(12), change=change), changed),
    ):
        views = FixedViews(experience, PREPARE, views=2)
        assert len(views) == len(wanted)
        assert torch.equal(views.inputs(1), FixedViews(wanted, PREPARE, views=2).inputs(1))


def test_what_draws_nothing_has_one_view():
    x = images()
    views = FixedViews(x, PREPARE.deterministic)
    assert torch.equal(views.inputs(0), PREPARE.deterministic(x))
    with pytest.raises(ConfigError, match="views: expected 1, as the preparation draws nothing; received 2"):
        FixedViews(x, PREPARE.deterministic, views=2)


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_view_are_refused(count):
    with pytest.raises(ConfigError, match="views: expected 1 or more"):
        FixedViews(images(), PREPARE, views=count)


@pytest.mark.parametrize("view", [-1, 2])
def test_a_view_that_is_not_there_is_refused(view):
    with pytest.raises(ConfigError, match=r"view: expected 0 to 1; received .*epoch % views"):
        FixedViews(images(), PREPARE, views=2).inputs(view)
