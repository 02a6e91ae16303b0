"""Reading an Avalanche data set as whole tensors: which it can, and for which it says why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from avalanche.benchmarks.datasets.external_datasets.mnist import TensorMNIST
from avalanche.benchmarks.utils.data import AvalancheDataset, _FlatDataWithTransform
from avalanche.benchmarks.utils.flat_data import ConstantSequence
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import CIFAR10, MNIST

from ckd.data.experience import TensorExperience
from ckd.data.preparation import Preparation, Scale
from ckd.data.resident import Resident
from ckd.plugins.transforms import NotResidentError, Transforms, transforms_of


@dataclass(frozen=True)
class Leaf:
    """A data set without Avalanche's wrapping: its tensors, and all that its samples go through."""

    owner: object
    raw: Callable[[], Tensor]
    targets: Tensor
    transforms: Transforms
    pil: bool = False  # whether its samples begin as PIL images

    def labels(self) -> Tensor:
        """The targets as they come out, (R,)."""
        if not self.transforms.relabel:
            return self.targets
        values, place = torch.unique(self.targets, return_inverse=True)
        return torch.tensor([self._label(int(v)) for v in values], dtype=torch.int64)[place]

    def _label(self, value: int) -> int:
        for relabel in self.transforms.relabel:
            value = relabel(value)
        return value


def read(dataset: AvalancheDataset[Any]) -> Resident:
    """The data set as tensors, with the transforms of its current group as batched steps.

    Raises:
        NotResidentError: with the reason, if a part of it is not known.
    """
    if not len(dataset):
        raise NotResidentError("the data set is empty")
    flat = dataset._flat_data
    leaves: list[Leaf] = []
    which, row = _walk(flat, flat._transform_groups.current_group, leaves, Transforms())
    parts = [Part(leaves[i], which == i, row[which == i]) for i in torch.unique(which).tolist()]
    if any(part.steps != parts[0].steps for part in parts):
        raise NotResidentError("its parts have different transforms")
    targets = torch.empty(len(row), dtype=parts[0].leaf.targets.dtype)
    for part in parts:
        targets[part.mine] = part.leaf.labels()[part.rows].to(targets.dtype)
    columns = [
        targets,
        *(_column(a, len(row)) for a in dataset._data_attributes.values() if a.use_in_getitem),
    ]
    preparation = Preparation(parts[0].steps)
    if len(parts) == 1 and not parts[0].changes:
        leaf = parts[0].leaf
        whole = len(row) == len(leaf.targets) and bool((row == torch.arange(len(row))).all())
        return Resident(leaf.raw, None if whole else row, columns, preparation)
    return Resident(_gathered(parts), None, columns, preparation)


class Part:
    """What a data set takes from one leaf: `rows`, which become the samples where `mine` (N,) is true."""

    def __init__(self, leaf: Leaf, mine: Tensor, rows: Tensor) -> None:
        self.leaf, self.mine, self.rows = leaf, mine, rows
        self.changes, self.steps = leaf.transforms.changes_first(pil=leaf.pil)

    def samples(self) -> Tensor:
        """Raw samples (R, ...), changed: a copy."""
        samples = self.leaf.raw()[self.rows].cpu()
        for change in self.changes:
            changed = torch.empty_like(samples, memory_format=torch.contiguous_format)
            change(samples, changed)
            samples = changed
        return samples


def _gathered(parts: list[Part]) -> Callable[[], Tensor]:
    """The samples of several parts as one tensor: a copy, as experiences may share a buffer."""
    first = parts[0].samples()
    if len(parts) == 1:
        return lambda: first
    gathered = torch.empty((len(parts[0].mine), *first.shape[1:]), dtype=first.dtype)
    for part in parts:
        samples = first if part is parts[0] else part.samples()
        if samples.shape[1:] != first.shape[1:] or samples.dtype != first.dtype:
            raise NotResidentError("its parts have samples of different kinds")
        gathered[part.mine] = samples
    return lambda: gathered


def _walk(node: Any, group: str, leaves: list[Leaf], outer: Transforms) -> tuple[Tensor, Tensor]:
    """Leaf number and row of every sample below `node`; `outer` are the transforms that follow."""
    if isinstance(node, AvalancheDataset):
        node = node._flat_data
    if isinstance(node, _FlatDataWithTransform):
        frozen, free = (g[group] for g in (node._frozen_transform_groups, node._transform_groups))
        outer = transforms_of(frozen).then(transforms_of(free)).then(outer)
        found = [_walk(child, group, leaves, outer) for child in node._datasets]
        which = torch.cat([w for w, _ in found])
        row = torch.cat([r for _, r in found])
        return _select(which, row, node._indices)
    if isinstance(node, Subset):
        which, row = _walk(node.dataset, group, leaves, outer)
        return _select(which, row, node.indices)
    leaf, row = _leaf(node, outer)
    same = (i for i, known in enumerate(leaves) if known.owner is leaf.owner and known.transforms == leaf.transforms)
    number = next(same, len(leaves))
    if number == len(leaves):
        leaves.append(leaf)
    return torch.full((len(row),), number), row


def _select(which: Tensor, row: Tensor, indices: Sequence[int] | None) -> tuple[Tensor, Tensor]:
    if indices is None:
        return which, row
    chosen = torch.tensor(list(indices), dtype=torch.int64)
    return which[chosen], row[chosen]


def _leaf(dataset: Dataset[Any], outer: Transforms) -> tuple[Leaf, Tensor]:
    """The tensors of a data set that is known, and its rows."""
    if isinstance(dataset, TensorExperience):
        rows = torch.arange(len(dataset)) if dataset.rows is None else dataset.rows
        return Leaf(dataset, dataset.raw, _by_row(dataset), outer), rows
    if isinstance(dataset, TensorDataset):
        if len(dataset.tensors) != 2:
            raise NotResidentError(f"a TensorDataset of {len(dataset.tensors)} tensors (expected inputs and labels)")
        inputs, targets = dataset.tensors
        return Leaf(dataset, lambda: inputs, targets.cpu(), outer), torch.arange(len(targets))
    if isinstance(dataset, MNIST | CIFAR10):
        relabel = () if dataset.target_transform is None else (dataset.target_transform,)
        own = Transforms(transforms_of(dataset.transform).steps, relabel).then(outer)
        pil = not isinstance(dataset, TensorMNIST)
        if not pil:
            own = Transforms((Scale(255.0),)).then(own)
        elif not any(isinstance(step, Scale) for step in own.steps):
            raise NotResidentError("its samples are PIL images that no ToTensor turns into tensors")
        images, targets = _images(dataset), torch.as_tensor(dataset.targets)
        return Leaf(dataset, lambda: images, targets, own, pil), torch.arange(len(targets))
    raise NotResidentError(f"it holds a {type(dataset).__name__}, whose tensors are not known")


def _by_row(experience: TensorExperience) -> Tensor:
    """Labels by row of the base tensor."""
    if experience.rows is None:
        return experience.targets
    targets = torch.zeros(len(experience.base), dtype=experience.targets.dtype)
    targets[experience.rows] = experience.targets
    return targets


def _images(dataset: Any) -> Tensor:
    """Raw images as (N, C, H, W), uint8."""
    data = torch.as_tensor(dataset.data)
    return data[:, None] if data.dim() == 3 else data.permute(0, 3, 1, 2).contiguous()


def _column(attribute: Any, n: int) -> Tensor:
    if isinstance(attribute.data, ConstantSequence):
        return torch.full((n,), attribute.data[0])
    return torch.as_tensor(list(attribute.data))
