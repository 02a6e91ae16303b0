"""Experiences that share one buffer, and what they do to their samples."""

import pickle

import numpy as np
import pytest
import torch
from shared import named
from torchvision.transforms.functional import rotate

from ckd.data.experience import Permutation, Rotation, TensorExperience, Workspace


def images(n=7, channels=2, side=6, dtype=torch.uint8):
    g = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, channels, side, side), generator=g).to(dtype)


LABELS = torch.tensor([3, 1, 2, 0, 3, 1, 2])


def order(pixels=72, seed=0):
    return torch.randperm(pixels, generator=torch.Generator().manual_seed(seed))


class Brighter:
    """Adds a number to every value, and counts how often it is called."""

    def __init__(self, by):
        self.by, self.calls = by, 0

    def __call__(self, base, out):
        self.calls += 1
        torch.add(base, self.by, out=out)


def stream(n=2):
    """`n` experiences over the same samples, with one workspace."""
    base, workspace = images(), Workspace()
    return [TensorExperience(base, LABELS, change=Brighter(i + 1), workspace=workspace) for i in range(n)]


# changes -----------------------------------------------------------------------------------------------------------


def test_changes_that_do_the_same_are_equal():
    assert Permutation(order()) == Permutation(order())
    assert hash(Permutation(order())) == hash(Permutation(order()))
    assert Permutation(order()) != Permutation(order(seed=1))
    assert Rotation(30.0) == Rotation(30.0)
    assert Rotation(30.0) not in {Rotation(31.0), Permutation(order())}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_a_permutation_is_fancy_indexing(dtype):
    base = images(dtype=dtype)
    out = torch.empty_like(base)
    Permutation(order())(base, out)
    expected = base.numpy().reshape(7, 72)[:, order().numpy()].reshape(base.shape)
    assert np.array_equal(out.numpy(), expected)


def test_a_permutation_takes_flat_samples():
    base = torch.arange(12.0).view(3, 4)
    out = torch.empty_like(base)
    Permutation(torch.tensor([2, 0, 3, 1]))(base, out)
    assert out[0].tolist() == [2.0, 0.0, 3.0, 1.0]


@pytest.mark.parametrize("degrees", [0.0, 17.3, 90.0, 135.0, 179.9])
def test_a_rotation_turns_each_image_as_torchvision_does(degrees):
    base = images(side=9)
    out = torch.empty_like(base)
    Rotation(degrees)(base, out)
    assert torch.equal(out, torch.stack([rotate(image, degrees) for image in base]))


@pytest.mark.parametrize(("degrees", "quarters"), [(90.0, 1), (180.0, 2)])
def test_a_rotation_is_counter_clockwise(degrees, quarters):
    base = images()
    out = torch.empty_like(base)
    Rotation(degrees)(base, out)
    assert np.array_equal(out.numpy(), np.rot90(base.numpy(), quarters, axes=(2, 3)))


def test_a_rotation_reaches_the_last_of_many_images():
    base = images(n=1, channels=1, side=3).repeat(10_001, 1, 1, 1)
    base[-1] = 255 - base[-1]
    out = torch.zeros_like(base)
    Rotation(180.0)(base, out)
    assert torch.equal(out, base.flip(2, 3))


# the workspace -----------------------------------------------------------------------------------------------------


def test_experiences_share_one_buffer():
    first, second = stream()
    assert first.raw().data_ptr() == second.raw().data_ptr() != first.base.data_ptr()


def test_the_buffer_is_filled_again_after_another_experience_asked():
    first, second = stream()
    for experience, by in ((first, 1), (second, 2), (first, 1)):
        assert torch.equal(experience.raw(), images() + by)
    assert (first.change.calls, second.change.calls) == (2, 1)


def test_what_is_in_the_buffer_is_not_computed_again():
    first, _ = stream()
    for _ in range(3):
        first.raw()
    assert first.change.calls == 1


def test_reading_single_samples_leaves_the_buffer_to_its_owner():
    first, second = stream()
    held = first.raw().clone()
    second[0]
    assert torch.equal(first.raw(), held)
    assert first.change.calls == 1


def test_experiences_without_a_common_workspace_do_not_disturb_each_other():
    first, second = (TensorExperience(images(), LABELS, change=Brighter(i)) for i in (1, 2))
    held = first.raw()
    second.raw()
    assert torch.equal(held, images() + 1)


def test_one_workspace_serves_samples_of_different_shapes():
    workspace = Workspace()
    one = TensorExperience(images(), LABELS, change=Brighter(1), workspace=workspace)
    other = TensorExperience(images(n=3), LABELS[:3], change=Brighter(2), workspace=workspace)
    for experience, expected in ((one, images() + 1), (other, images(n=3) + 2), (one, images() + 1)):
        assert torch.equal(experience.raw(), expected)


# the experience ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [None, Brighter(1), Permutation(order()), Rotation(31.0)], ids=named)
@pytest.mark.parametrize("rows", [None, torch.tensor([5, 0, 3])], ids=["all", "some"])
def test_a_sample_is_a_row_of_raw(change, rows):
    experience = TensorExperience(images(), LABELS, rows=rows, change=change)
    where = range(7) if rows is None else rows.tolist()
    assert len(experience) == len(where)
    for i, row in enumerate(where):
        sample, label = experience[i]
        assert torch.equal(sample, experience.raw()[row])
        assert label == LABELS[row].item()
        assert isinstance(label, int)


def test_without_a_change_nothing_is_copied():
    experience = TensorExperience(images(), LABELS, rows=torch.tensor([1]))
    assert experience.raw() is experience.base


def test_rows_choose_the_labels():
    assert TensorExperience(images(), LABELS, rows=torch.tensor([5, 0, 3])).targets.tolist() == [1, 3, 0]


ALL_OR_SOME = pytest.mark.parametrize("rows", [None, torch.tensor([5, 0])], ids=["all", "some"])


def permuted(rows):
    return TensorExperience(images(), LABELS, rows=rows, change=Permutation(order()))


@ALL_OR_SOME
def test_a_loop_over_the_samples_stops_at_the_end(rows):
    experience = permuted(rows)
    assert len(list(experience)) == len(experience)


@ALL_OR_SOME
def test_samples_are_counted_from_the_end_too(rows):
    experience = permuted(rows)
    (last, label), (same, same_label) = experience[-1], experience[len(experience) - 1]
    assert torch.equal(last, same)
    assert label == same_label


def test_a_pickle_leaves_the_buffer_out():
    base = torch.zeros(1000, 10)
    experience = TensorExperience(base, torch.zeros(1000, dtype=torch.int64), change=Brighter(1))
    before = len(pickle.dumps(experience))
    experience.raw()
    assert len(pickle.dumps(experience)) == before
    again = pickle.loads(pickle.dumps(experience))
    assert torch.equal(again.raw(), base + 1)


def test_unpickled_experiences_still_share_one_buffer():
    first, second = pickle.loads(pickle.dumps(stream()))
    assert first.raw().data_ptr() == second.raw().data_ptr()
    assert torch.equal(first.raw(), images() + 1)


def test_within_its_budget_a_workspace_changes_nothing_twice():
    base, change = images(), [Brighter(i) for i in range(3)]
    workspace = Workspace(budget=2 * base.numel() * base.element_size())
    experiences = [TensorExperience(base, LABELS, change=c, workspace=workspace) for c in change]
    for _ in range(4):
        for i, experience in enumerate(experiences):
            assert torch.equal(experience.raw(), base + i)
    assert [c.calls for c in change] == [1, 1, 1]


def test_beyond_its_budget_it_takes_the_buffer_that_was_asked_for_longest_ago():
    base, change = images(), [Brighter(i) for i in range(3)]
    workspace = Workspace(budget=base.numel() * base.element_size())
    experiences = [TensorExperience(base, LABELS, change=c, workspace=workspace) for c in change]
    for i in (0, 1, 0, 2, 0, 1):
        assert torch.equal(experiences[i].raw(), base + i)
    assert [c.calls for c in change] == [1, 2, 1]
