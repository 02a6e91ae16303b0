"""Batches on their way through a step."""

import pytest
import torch

from ckd.objective import Batch, join


def batch(inputs, tasks=None):
    return Batch(inputs, torch.arange(len(inputs)), tasks)


def test_what_lies_together_is_not_copied():
    whole = torch.randn(10, 3)
    joined = join([batch(whole[:4]), batch(whole[4:6]), batch(whole[6:9])])
    assert joined.inputs.data_ptr() == whole.data_ptr()
    assert torch.equal(joined.inputs, whole[:9])
    assert joined.targets.tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2]


WHOLE, FLAT, GAPS = torch.randn(10, 3), torch.randn(30), torch.randn(10, 6)[:, :3]
APART = {
    "a gap": [WHOLE[:4], WHOLE[5:]],
    "another order": [WHOLE[4:], WHOLE[:4]],
    "not from the beginning": [WHOLE[1:4], WHOLE[4:]],
    "twice": [WHOLE[:4], WHOLE[:4]],
    "other columns": [WHOLE[:4, :2], WHOLE[4:, :2]],
    "every other row": [WHOLE[:6:2], WHOLE[6:]],
    "every other row, and what follows so many": [WHOLE[:4:2], WHOLE[2:]],
    "of another shape": [FLAT.view(10, 3)[:4], FLAT.view(10, 3)[4:]],
    "of another shape, and what follows so many": [FLAT.view(10, 3)[:4], FLAT[4:10].view(2, 3)],
    "of a whole with gaps": [GAPS[:4], GAPS[4:]],
    "another tensor": [WHOLE[:4], torch.randn(2, 3)],
    "tensors of their own": [torch.randn(4, 3), torch.randn(2, 3)],
}


@pytest.mark.parametrize("parts", APART.values(), ids=APART)
def test_what_does_not_is(parts):
    joined = join([batch(part) for part in parts])
    assert torch.equal(joined.inputs, torch.cat(parts))
    assert joined.inputs.data_ptr() != WHOLE.data_ptr()


def test_tasks_are_joined_where_every_batch_has_them():
    x, tasks = torch.randn(2, 3), torch.tensor([1, 2])
    assert join([batch(x, tasks), batch(x, tasks)]).tasks.tolist() == [1, 2, 1, 2]
    assert join([batch(x, tasks), batch(x)]).tasks is None
