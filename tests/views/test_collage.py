"""Collages pixel by pixel: each tells by its value which sample it is from, and from where."""

import itertools
from dataclasses import replace

import pytest
import torch

from ckd import Memory, Objective, Snapshot, Term
from ckd.errors import ConfigError
from ckd.losses import cross_entropy
from ckd.objective import Batch, best_teacher, labels, old_probabilities, replay, stored_logits
from ckd.views import Chain, Collage, Mixup, Noise, anyone, patches, pixels, rectangle, same_class, same_experience

TARGETS, EXPERIENCES = [3, 1, 3, 3, 0, 1, 3, 2], [2, 0, 2, 0, 1, 0, 2, 5]
SHAPES = pytest.mark.parametrize("shape", [(30,), (3, 6, 8)], ids=["flat", "image"])


def batch_of(shape, known=True):
    """Sample i has the values i, i + 1/P, ... at its P places."""
    size = torch.Size(shape).numel()
    inputs = torch.arange(8.0)[:, None] + torch.arange(size) / size
    experiences = torch.tensor(EXPERIENCES) if known else None
    return Batch(inputs.view(8, *shape), torch.tensor(TARGETS), torch.arange(8), torch.randn(8, 4), experiences)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sources(mixed, batch):
    """Which sample each place is from, (B, ...), after a check that it kept its place."""
    found = mixed.inputs.double().floor()
    place = batch.inputs.double() - torch.arange(8.0).view(-1, *[1] * (batch.inputs.dim() - 1))
    assert torch.allclose(mixed.inputs.double() - found, place, atol=1e-6)
    return found.long()


def allowed(partners, i, known):
    keys = [0] * 8
    if known and partners is not anyone:
        keys = EXPERIENCES if partners is same_experience else list(zip(EXPERIENCES, TARGETS, strict=True))
    elif partners is same_class:
        keys = TARGETS
    return {j for j in range(8) if keys[j] == keys[i]}


@SHAPES
@pytest.mark.parametrize("of", [2, 3, 5])
@pytest.mark.parametrize("partners", [anyone, same_experience, same_class])
@pytest.mark.parametrize("known", [True, False], ids=["memory", "stream"])
def test_pixels_come_from_the_partners_that_are_allowed(shape, of, partners, known):
    batch, view, g = batch_of(shape, known), Collage(of, partners=partners), generator()
    met = [set() for _ in range(8)]
    for _ in range(60):
        found = sources(view(batch, g), batch)
        if len(shape) == 3:
            assert (found == found[:, :1]).all()  # the channels of a pixel together
        for i, row in enumerate(found.flatten(1)):
            others = set(row.tolist()) - {i}
            assert len(others) <= of - 1
            met[i] |= others
    assert all(met[i] == allowed(partners, i, known) - {i} for i in range(8))


def test_the_default_is_two_of_one_experience_pixel_by_pixel():
    assert Collage() == Collage(2, pixels, same_experience)


@pytest.mark.parametrize("of", [2, 3])
@pytest.mark.parametrize("mask", [pixels, patches(2)])
def test_each_further_sample_takes_half_of_what_there_is_on_average(of, mask):
    inputs = torch.ones(3000, 1, 8, 8).cumsum(0) - 1
    batch = Batch(inputs, torch.zeros(3000).long(), None)
    own = (Collage(of, mask)(batch, generator()).inputs == inputs).double().mean()
    assert own.item() == pytest.approx(0.5 ** (of - 1), abs=0.02)


@pytest.mark.parametrize("of", [2, 3])
def test_masks_and_partners_are_drawn_once_for_each_further_sample(of):
    """Against loops: where the k-th mask is true, the k-th partner as it was."""
    batch, g = batch_of((5, 4, 4)), generator()
    partners = [torch.randperm(8, generator=g) for _ in range(of - 1)]
    masks = [torch.rand(8, 1, 4, 4, generator=g) < 0.5 for _ in range(of - 1)]
    next_partners, next_masks = iter(partners), iter(masks)
    view = Collage(of, mask=lambda x, g: next(next_masks), partners=lambda b, g: next(next_partners))
    found = view(batch, generator()).inputs
    for i, c, y, x in itertools.product(range(8), range(5), range(4), range(4)):
        wanted = batch.inputs[i, c, y, x]
        for partner, mask in zip(partners, masks, strict=True):
            if mask[i, 0, y, x]:
                wanted = batch.inputs[partner[i], c, y, x]
        assert found[i, c, y, x] == wanted


@SHAPES
@pytest.mark.parametrize("mask", [pixels, patches(3), rectangle])
def test_what_is_known_stays_the_first_samples_but_for_its_logits(shape, mask):
    batch, same = batch_of(shape), batch_of(shape)
    if len(shape) == 1 and mask is not pixels:
        with pytest.raises(ConfigError, match="Use mask=pixels"):
            Collage(mask=mask)(batch, generator())
        return
    mixed = Collage(mask=mask)(batch, generator())
    assert mixed.logits is None
    assert mixed.samples == batch.samples == 8
    for name in ("targets", "tasks", "experiences"):
        assert torch.equal(getattr(mixed, name), getattr(same, name))
    assert not torch.equal(mixed.inputs, batch.inputs)
    assert torch.equal(batch.inputs, same.inputs)
    assert batch.logits is not None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64])
def test_the_type_of_the_inputs_is_kept(dtype):
    batch = Batch(torch.arange(8 * 48).view(8, 3, 4, 4).to(dtype), torch.tensor(TARGETS), None)
    mixed = Collage(3)(batch, generator())
    assert mixed.inputs.dtype == dtype
    assert mixed.inputs.shape == (8, 3, 4, 4)


@pytest.mark.parametrize("of", [1, 0, -2])
def test_one_sample_makes_no_collage(of):
    with pytest.raises(ConfigError, match=f"collage: expected 2 samples or more; received {of}"):
        Collage(of)


@SHAPES
@pytest.mark.parametrize("of", [2, 3])
def test_draws_come_from_the_generator_alone(shape, of):
    batch, state = batch_of(shape), torch.random.get_rng_state()
    one, same, other = (Collage(of)(batch, generator(seed)).inputs for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("view", [Collage(), Mixup(), Chain((Noise(0.1), Collage()))], ids=range(3))
@pytest.mark.parametrize(
    "target", [labels, stored_logits, best_teacher(("past",)), old_probabilities("past")], ids=repr
)
def test_what_is_known_of_one_sample_is_no_target_for_a_mixture(view, target):
    term = Term("mixed", replay("a"), target=target, loss=cross_entropy, view=view)
    with pytest.raises(ConfigError, match=r"mixed samples.*teacher\("):
        Objective("x", [term], memory=Memory(10), teachers={"past": Snapshot()})
    noisy = replace(term, view=Noise(0.1))
    Objective("x", [noisy], memory=Memory(10), teachers={"past": Snapshot()})
