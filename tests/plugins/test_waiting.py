"""A training step never makes Python wait for the device.

On the meta device tensors have no values, so that torch refuses to read one, and copies that block are refused here; so
no GPU is needed. Where there is one, CUDA's own check looks at the same steps.
"""

from contextlib import ExitStack, contextmanager

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ckd import SelfDistillation, recipes
from ckd.data.preparation import Normalise, Preparation, RandomCrop, RandomFlip, Scale
from ckd.engine.loss_record import LossRecord

WARM_UP, STEPS = 2, 4
EVERY_RECIPE_AND_BATCHNORM = pytest.mark.parametrize(
    ("recipe", "batchnorm"),
    [*((recipe, False) for recipe in ("naive", "lwf", "er", "er-las", "der++")), ("er", True), ("mean-er", True)],
)


class BlockingCopy(AssertionError):
    """A copy from one device to another that waits."""


class NoBlockingCopy(TorchDispatchMode):
    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = operator(*args, **kwargs)
        source = {"aten::_to_copy": 0, "aten::copy_": 1}.get(operator.name())
        blocking = not (kwargs.get("non_blocking") or (source == 1 and args[2:3] == (True,)))
        if source is not None and args[source].device != result.device and blocking:
            raise BlockingCopy(operator.name())
        return result


class NoTensorOfNumbers(TorchFunctionMode):
    """torch.tensor(numbers, device=...) copies and waits, where the dispatcher does not see it."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu").type != "cpu":
            raise BlockingCopy(function.__name__)
        return function(*args, **kwargs)


@contextmanager
def no_copies():
    with NoBlockingCopy(), NoTensorOfNumbers():
        yield


@contextmanager
def no_synchronisation():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Guard(SupervisedPlugin):
    """Runs some steps of the second experience, when memory and teacher are there, within a context."""

    def __init__(self, context, stack):
        super().__init__()
        self.context, self.stack = context, stack
        self.guarded = 0

    def before_training_exp(self, strategy, **kwargs):
        self.step = 0

    def before_training_iteration(self, strategy, **kwargs):
        if strategy.clock.train_exp_counter == 1 and self.step == WARM_UP:
            self.stack.enter_context(self.context)

    def after_training_iteration(self, strategy, **kwargs):
        self.step += 1
        if strategy.clock.train_exp_counter == 1 and WARM_UP < self.step <= WARM_UP + STEPS:
            self.guarded += 1
        if self.step == WARM_UP + STEPS:
            self.stack.close()


@pytest.fixture
def guarded_steps(blobs, benchmark_of, network, naive):
    """guarded_steps(recipe, batchnorm, device, context) trains; returns how many steps were guarded."""

    def act(recipe, batchnorm, device, context):
        size = {"memory_size": 200} if "memory_size" in recipes.get(recipe).defaults else {}  # never full: all enter
        plugin = SelfDistillation(recipes.get(recipe).build(**size))
        with ExitStack() as stack:
            guard = Guard(context, stack)
            strategy = naive(network(batchnorm=batchnorm).to(device), [guard, plugin], device=device)
            stream = benchmark_of(blobs(n_experiences=2, n_per_class=9, same_classes=True)).train_stream  # 7 steps each
            for experience in stream:
                strategy.train(experience)
        return guard.guarded

    return act


@pytest.fixture
def without_values(monkeypatch):
    """Leaves out what reads values between steps: comparisons of samples, means of losses, a look at weights."""
    monkeypatch.setattr("ckd.plugins.loader._probe", lambda *_: None)
    monkeypatch.setattr(LossRecord, "read", lambda self: None)
    monkeypatch.setattr("ckd.engine.engine.check_weights", lambda *_: None)


@pytest.mark.usefixtures("without_values")
@EVERY_RECIPE_AND_BATCHNORM
def test_no_step_reads_from_a_device_or_copies_to_it_and_waits(recipe, batchnorm, guarded_steps):
    assert guarded_steps(recipe, batchnorm, "meta", no_copies()) == STEPS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@EVERY_RECIPE_AND_BATCHNORM
def test_cuda_sees_no_synchronisation(recipe, batchnorm, guarded_steps):
    assert guarded_steps(recipe, batchnorm, "cuda", no_synchronisation()) == STEPS


def test_augmentation_does_not_wait():
    preparation = Preparation((Scale(), Normalise((0.5,) * 3, (0.25,) * 3), RandomCrop(4), RandomFlip()))
    images = torch.empty(8, 3, 32, 32, dtype=torch.uint8, device="meta")
    with no_copies():
        prepared = preparation(images, torch.Generator())
    assert prepared.shape == images.shape


@pytest.mark.parametrize(
    "waits",
    [
        lambda there: torch.arange(3).to(there.device),
        lambda there: there.copy_(torch.arange(3.0)),
        lambda there: torch.tensor([1, 2], device=there.device),
        lambda there: there.sum().item(),
        lambda there: there.cpu(),
        lambda there: there.tolist(),
        lambda there: there[there > 0],
        lambda there: bool((there > 0).all()),
    ],
)
def test_the_check_on_the_meta_device_sees_what_waits(waits):
    there = torch.zeros(3, device="meta")
    with pytest.raises((BlockingCopy, RuntimeError)), no_copies():
        waits(there)


def test_it_lets_pass_what_does_not_wait():
    there = torch.zeros(3, device="meta")
    with no_copies():
        there.copy_(torch.arange(3.0), non_blocking=True)
        there.index_select(0, torch.tensor([0, 1]).to(there.device, non_blocking=True))
        torch.arange(3, device=there.device)
