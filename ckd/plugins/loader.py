"""Mini-batches from tensors that stay on the device, for any Avalanche strategy."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from avalanche.benchmarks.utils.data_loader import MultiDatasetDataLoader
from avalanche.core import SupervisedPlugin
from avalanche.distributed.distributed_helper import DistributedHelper
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from ckd.data.resident_loader import ResidentLoader, Source
from ckd.errors import ConfigError
from ckd.plugins.conflicts import REPLACE_THE_LOADER, refuse_two
from ckd.plugins.residency import read
from ckd.plugins.transforms import NotResidentError


class LoaderWarning(UserWarning):
    """A data loader was left as it is."""


class TensorLoader(SupervisedPlugin):  # type: ignore[misc]
    """Replaces the strategy's data loader, in training and evaluation, by one that gathers whole batches.

    Add it to the plugins of any strategy; the batches, their order and the global random state stay as they were,
    bit for bit, unless the transforms are random (crop and flip are then drawn for each sample from a generator of
    the loader's own; a RandomRotation by one fixed angle, as in RotatedMNIST, draws nothing). It reads ckd's
    benchmarks, TensorDataset, and torchvision's MNIST and CIFAR with ToTensor, Normalize, RandomCrop and
    RandomHorizontalFlip, so also Avalanche's SplitMNIST, PermutedMNIST and RotatedMNIST: pixels are permuted or
    rotated once for each experience. It converts the loader of a ReplayPlugin. What it cannot read it leaves to the
    old loader and says so once, with the reason (`LoaderWarning`).

    Args:
        seed: of the generator for augmentation.
        passes: how many times in a row each mini-batch of the training data is served, augmented anew: the updates
            that online protocols make with it (Soutif-Cormerais et al. 2023, arXiv:2308.10328). What follows the steps
            sees every pass: a reservoir is offered the batch each time.

    Raises:
        ConfigError: passes below 1; with more than one, when training starts, a data loader that cannot be replaced.
        LoaderConflictError: when training starts, if two plugins of the strategy both provide the data loader.
    """

    def __init__(self, seed: int = 0, *, passes: int = 1) -> None:
        super().__init__()
        if not isinstance(passes, int) or passes < 1:
            raise ConfigError("passes over a mini-batch", expected="1 or more", received=repr(passes), fix="Use 1.")
        self.passes = passes
        self.generator = torch.Generator().manual_seed(seed)
        self._said: set[str] = set()

    def state_dict(self) -> dict[str, Any]:
        """The generator for augmentation."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any], strategy: Any) -> None:
        """Restore what `state_dict` returned."""
        self.generator.set_state(state["generator"].cpu())

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse a second provider of mini-batches."""
        refuse_two(strategy.plugins, REPLACE_THE_LOADER, "Keep one; the last one's batches would silently win.")
        refuse_two(strategy.plugins, TensorLoader, "Keep one TensorLoader; it serves every plugin.")

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Take over after every plugin has had its say in before_training_exp."""
        self._take_over(strategy, self.passes)

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Take over the evaluation's loader."""
        self._take_over(strategy)

    def _take_over(self, strategy: Any, passes: int = 1) -> None:
        if isinstance(strategy.dataloader, ResidentLoader):
            return
        try:
            strategy.dataloader = convert(strategy.dataloader, strategy.device, self.generator)
            strategy.dataloader.passes = passes
        except NotResidentError as reason:
            if passes > 1:
                fix = "Repeat the mini-batches in your data loader."
                raise ConfigError(
                    "passes over a mini-batch", expected="data that can be read as tensors", received=reason, fix=fix
                ) from reason
            if str(reason) not in self._said:
                self._said.add(str(reason))
                warnings.warn(f"TensorLoader leaves a data loader as it is: {reason}", LoaderWarning, stacklevel=2)


def convert(loader: Any, device: torch.device, generator: torch.Generator) -> ResidentLoader:
    """A resident loader with the batches of `loader`.

    Raises:
        NotResidentError: with the reason, if it cannot be done.
    """
    if DistributedHelper.is_distributed:
        raise NotResidentError("training is distributed")
    if isinstance(loader, MultiDatasetDataLoader):
        resident = _from_avalanche(loader, device, generator)
        datasets, collate = loader.datasets, loader.loader_kwargs["collate_fn"]
    elif type(loader) is DataLoader:
        resident = _from_torch(loader, device, generator)
        datasets, collate = [loader.dataset], loader.collate_fn
    else:
        raise NotResidentError(f"a {type(loader).__name__} is not known")
    if any(source.data.preparation != resident.preparation for source in resident.sources):
        raise NotResidentError("its data sets have different transforms")
    for i, dataset in enumerate(datasets):
        _probe(resident, i, dataset, collate)
    return resident


def _from_avalanche(loader: Any, device: torch.device, generator: torch.Generator) -> ResidentLoader:
    if loader.never_ending:
        raise NotResidentError("it never ends")
    unknown = set(loader.loader_kwargs) & {"sampler", "batch_sampler", "generator", "worker_init_fn"}
    if unknown:
        raise NotResidentError(f"it was given a {unknown.pop()}")
    sources = [
        Source(read(data).to(device), size) for data, size in zip(loader.datasets, loader.batch_sizes, strict=True)
    ]
    return ResidentLoader(
        sources,
        shuffle=loader.loader_kwargs.get("shuffle", False),
        drop_last=loader.loader_kwargs.get("drop_last", False),
        ends=loader.termination_dataset,
        oversample=loader.oversample_small_datasets,
        generator=generator,
    )


def _from_torch(loader: DataLoader[Any], device: torch.device, generator: torch.Generator) -> ResidentLoader:
    sampler: Any = loader.sampler
    shuffled = type(sampler) is RandomSampler and not sampler.replacement and sampler.generator is None
    if not (shuffled or type(sampler) is SequentialSampler) or loader.batch_size is None:
        raise NotResidentError(f"its sampler, a {type(sampler).__name__}, is not known")
    source = Source(read(loader.dataset).to(device), loader.batch_size)
    return ResidentLoader(
        [source], shuffle=shuffled, drop_last=loader.drop_last, ends=0, oversample=False, generator=generator
    )


def _probe(resident: ResidentLoader, i: int, dataset: Any, collate: Any) -> None:
    """Compare a few samples with what the old loader serves, so that a misread data set is never trained on."""
    n = len(dataset)
    if not n:
        return
    index = torch.tensor(sorted({0, n // 2, n - 1}))
    before = resident.generator.get_state()
    with torch.random.fork_rng(devices=[]):
        wanted = collate([dataset[int(j)] for j in index])
    got = resident.batch([(i, index.to(resident.sources[i].data.columns[0].device))])
    resident.generator.set_state(before)
    same = len(wanted) == len(got) and all(
        w.shape == g.shape and w.dtype == g.dtype for w, g in zip(wanted, got, strict=True)
    )
    exact = zip(wanted[1:], got[1:], strict=True) if resident.preparation.random else zip(wanted, got, strict=True)
    equal = torch.equal if got[0].device.type == "cpu" else torch.allclose
    if not same or not all(equal(w.cpu(), g.cpu()) for w, g in exact):
        raise NotResidentError("its samples differ from what the batched reading gives")
