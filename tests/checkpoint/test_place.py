"""The place within an epoch: batches known by their labels, generators found, nothing passed over too much."""

import zlib

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from ckd.checkpoint import Rest, labels_of
from ckd.checkpoint.place import own_generators

INPUTS, LABELS = torch.randn(2, 3), torch.tensor([3, 1])


@pytest.mark.parametrize(
    "batch", [(INPUTS, LABELS), [INPUTS, LABELS], {"x": INPUTS, "y": LABELS}, LABELS, (LABELS.flip(0).flip(0), "text")]
)
def test_a_batch_is_known_by_its_labels_however_they_are_packed(batch):
    assert labels_of(batch) == zlib.crc32(LABELS.numpy().tobytes())


@pytest.mark.parametrize("batch", [INPUTS, (INPUTS, LABELS.int()), {}, "text", None])
def test_a_batch_without_labels_is_not_known(batch):
    assert labels_of(batch) is None


def test_every_whole_number_of_a_batch_counts():
    tasks = torch.tensor([0, 0])
    assert len({labels_of((LABELS, tasks)), labels_of((LABELS, tasks + 1)), labels_of((LABELS,))}) == 3


def test_of_an_epoch_of_which_nothing_was_learnt_all_is_served():
    assert list(Rest([(LABELS,)], 0, 77, lambda: None)) == [(LABELS,)]


def test_batches_that_are_not_known_are_passed_over_by_their_number():
    assert list(Rest([1, 2, 3], 2, None, lambda: None)) == [3]


def test_a_loader_s_own_generators_are_found_once_each():
    data = TensorDataset(LABELS)
    of_loader, of_sampler = torch.Generator(), torch.Generator()
    shuffled = DataLoader(data, shuffle=True, generator=of_loader)
    assert [id(one) for one in own_generators(shuffled)] == [id(of_loader)]
    both = DataLoader(data, sampler=RandomSampler(data, generator=of_sampler), generator=of_loader)
    assert {id(one) for one in own_generators(both)} == {id(of_loader), id(of_sampler)}
    in_batches = DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data, generator=of_sampler), 2, False))
    assert [id(one) for one in own_generators(in_batches)] == [id(of_sampler)]
    assert own_generators(DataLoader(data)) == own_generators([1, 2]) == []
