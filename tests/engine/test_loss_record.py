"""Named losses, summed without waiting for the device."""

import pytest
import torch

from ckd.engine.loss_record import LossRecord
from ckd.errors import NonFiniteLossError


class Elsewhere(torch.Tensor):
    """A scalar on the CPU that says it is on another device, and counts how often it is read there."""

    @property
    def device(self):
        return torch.device("meta")


def losses(*values, names="ab", elsewhere=False, weights=None):
    kind = Elsewhere if elsewhere else torch.Tensor
    scalars = [torch.tensor(float(value)).as_subclass(kind) for value in values]
    return dict(zip(names, zip(weights or [1.0] * len(values), scalars, strict=True), strict=True))


BOTH = pytest.mark.parametrize("elsewhere", [False, True])


@BOTH
def test_means_are_of_the_weighted_losses_since_the_last_call(elsewhere):
    record = LossRecord()
    for i in range(5):
        record.add(losses(i, 2 * i, weights=[0.5, -1.0], elsewhere=elsewhere), i)
    assert record.means() == pytest.approx({"a": 1.0, "b": -4.0})
    assert record.means() == {}
    record.add(losses(7, 8, elsewhere=elsewhere), 5)
    assert record.means() == {"a": 7.0, "b": 8.0}


@BOTH
def test_a_loss_that_comes_and_goes_has_the_mean_of_its_own_steps(elsewhere):
    record = LossRecord()
    for i in range(6):
        record.add(losses(i, 10, elsewhere=elsewhere) if i % 2 else losses(i, names="a", elsewhere=elsewhere), i)
    assert record.means() == pytest.approx({"a": 2.5, "b": 10.0})


def test_on_an_accelerator_the_losses_of_many_steps_are_read_together(monkeypatch):
    reads, stack = [], torch.stack
    monkeypatch.setattr(torch, "stack", lambda rows, *rest: reads.append(len(rows)) or stack(rows, *rest))
    record = LossRecord(every=4)
    for i in range(10):
        record.add(losses(i, 1, elsewhere=True), i)
    assert reads.count(4) == 2
    assert record.means()["a"] == pytest.approx(4.5)


@BOTH
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_found_with_its_name_and_iteration(value, elsewhere):
    record = LossRecord(every=3)
    record.add(losses(1, 2, elsewhere=elsewhere), 10)

    def three_more():
        for i in range(11, 14):
            record.add(losses(1, value if i == 11 else 2, elsewhere=elsewhere), i, 4)

    with pytest.raises(NonFiniteLossError, match=r"loss 'b' at iteration 11 in experience 5: .*Lower the learning"):
        three_more()


def test_a_weight_that_makes_it_infinite_counts_too():
    with pytest.raises(NonFiniteLossError, match="loss 'a'"):
        LossRecord().add(losses(1e38, 1, weights=[float("inf"), 1.0]), 0)


def test_on_the_cpu_it_is_found_at_once():
    with pytest.raises(NonFiniteLossError, match="iteration 0"):
        LossRecord().add(losses(float("nan"), 0), 0)


def test_losses_that_are_no_plain_scalars_are_read_as_such():
    """Avalanche's loss has one axis."""
    record = LossRecord()
    record.add({"criterion": (1.0, torch.tensor([3.0])), "b": (2.0, torch.tensor(1.0))}, 0)
    assert record.means() == {"criterion": 3.0, "b": 2.0}
