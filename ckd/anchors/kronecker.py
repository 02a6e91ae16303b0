"""A Fisher matrix of Kronecker factors: for each layer, which directions of its input and output matter to predictions.

Ritter et al. 2018, Online Structured Laplace Approximations for Overcoming Catastrophic Forgetting, arXiv:1805.07810;
the factors are those of Martens & Grosse 2015 (KFAC), arXiv:1503.05671, and for convolutions of Grosse & Martens 2016
(KFC), arXiv:1602.01407.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ckd.anchors.curvature import Displacement
from ckd.anchors.diagonal import Diagonal
from ckd.anchors.factors import Factors
from ckd.anchors.fisher_samples import FisherSamples
from ckd.errors import ConfigError, NonFiniteLossError

CHUNK = 100
"""Samples of one forward pass: a convolution has a row for each of their pixels."""


class Kronecker:
    """F ≈ G ⊗ A for the weight (O, I) and bias of each linear or convolutional layer; a diagonal for all the rest.

    A is the second moment of the layer's inputs with a 1 appended if it has a bias, (I + 1, I + 1), averaged over
    experiences; G, of the gradients at its outputs, (O, O), is summed. Both are kept as eigenvectors and eigenvalues,
    in whose basis the pull is one division. The rest is what belongs to other kinds of layers, and layers that share a
    weight, are called more than once in a forward pass, or whose weight is not used by calling them.

    Args:
        rank: eigenvectors of A kept for each layer; the rest of the space gets their eigenvalues' mean. None keeps all.
        dtype: of the eigenvectors. bfloat16 halves their bytes and loses nothing that was seen
            (benchmarks/results/tether.md).

    Raises:
        ConfigError: a rank below 1.
    """

    def __init__(self, *, rank: int | None = None, dtype: torch.dtype = torch.bfloat16) -> None:
        if rank is not None and (not isinstance(rank, int) or rank < 1):
            raise ConfigError("rank of the Kronecker factors", expected="1 or more", received=rank, fix="Try 100.")
        self.rank, self.dtype = rank, dtype
        self._layers: dict[str, Factors] = {}
        self._rest = Diagonal()

    def add(self, samples: FisherSamples, decay: float) -> None:
        """Add the factors of each layer that was called; the diagonal of what belongs to no such layer."""
        fresh = _factors(samples)
        covered = {name for path in fresh for name in _names(path)}
        for path, known in self._layers.items():
            self._layers[path] = (
                known.joined(path, *fresh.pop(path), decay, self.rank, self.dtype)
                if path in fresh
                else known.decayed(decay)
            )
        for path, (a, g) in fresh.items():
            self._layers[path] = Factors.of(a, g, 1.0, self.rank, self.dtype)
        self._rest.only = {name for name, _ in samples.model.named_parameters()} - covered
        self._rest.add(samples, decay)

    def penalty(self, displacement: Displacement) -> Tensor:
        """½ Σ tr(Δᵀ G Δ A) over the layers, with Δ (O, I + 1), and the rest's."""
        layers = [layer.penalty(_joined(path, displacement)) for path, layer in self._layers.items()]
        return torch.stack([*layers, self._rest.penalty(displacement)]).sum()

    def correction(self, displacement: Displacement, strength: float) -> dict[str, Tensor]:
        """Δ - (1 + strength · G ⊗ A)⁻¹ Δ, layer by layer; what also has a diagonal is pulled by that first."""
        found = self._rest.correction(displacement, strength)
        left = {**displacement, **{name: displacement[name] - off for name, off in found.items()}}
        for path, layer in self._layers.items():
            weight, bias = _names(path)
            off = layer.correction(_joined(path, left), strength)
            if bias in displacement:
                off, found[bias] = off[:, :-1], found.get(bias, 0) + off[:, -1]
            found[weight] = found.get(weight, 0) + off.reshape(displacement[weight].shape)
        return found

    def state_dict(self) -> dict[str, Any]:
        """The factors by layer, and the diagonal of the rest."""
        return {
            "layers": {path: asdict(layer) for path, layer in self._layers.items()},
            "rest": self._rest.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._layers = {path: Factors(**copy.deepcopy(fields)) for path, fields in state["layers"].items()}
        self._rest.load_state_dict(state["rest"])

    def nbytes(self) -> int:
        """Bytes of eigenvectors, eigenvalues and the rest's diagonal."""
        return sum(layer.nbytes() for layer in self._layers.values()) + self._rest.nbytes()


def _factors(samples: FisherSamples) -> dict[str, tuple[Tensor, Tensor]]:
    """A = E[Σ_p a aᵀ] and G = E[mean_p g gᵀ] of each layer that was called, over samples and positions p."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    seen: Counter[str] = Counter()  # of a head for each task, only the samples of its task
    for batch in samples.batches(CHUNK):
        with _noted(samples.model) as passes:
            batch.losses().sum().backward()  # type: ignore[no-untyped-call]
        for path, (inputs, gradients, positions) in passes.items():
            a, g = inputs.T @ inputs, gradients.T @ gradients / positions
            if path in found:
                a, g = a + found[path][0], g + found[path][1]
            found[path] = a, g
            seen[path] += len(gradients) // positions
        samples.model.zero_grad()
    for path, factors in found.items():
        if not all(bool(factor.isfinite().all()) for factor in factors):
            fix = "Lower the learning rate; a network whose eval mode gives NaN has no curvature."
            received = "NaN or infinity"
            raise NonFiniteLossError(f"curvature of {path}", expected="finite numbers", received=received, fix=fix)
    return {path: (a / len(samples), g / seen[path]) for path, (a, g) in found.items()}


@contextmanager
def _noted(model: nn.Module) -> Iterator[dict[str, tuple[Tensor, Tensor, int]]]:
    """What went through each layer in the context, once a backward pass is done: (inputs, gradients, positions P).

    Inputs (N·P, I), with a column of ones where there is a bias; gradients at the outputs (N·P, O).
    """
    passes: dict[str, tuple[Tensor, Tensor, int]] = {}
    calls: Counter[str] = Counter()

    def watch(path: str, layer: nn.Linear | nn.Conv2d) -> None:
        def hook(_: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> Tensor:
            calls[path] += 1
            if not output.requires_grad:
                return output
            inputs = _rows(layer, next(iter([*args, *named.values()])).detach())
            output.register_hook(lambda g: note(inputs, _full(g)))  # type: ignore[no-untyped-call]
            return output.clone()  # what follows may work in place, which would cut off the hook of a view

        def note(inputs: Tensor, gradient: Tensor) -> None:
            rows = gradient.flatten(2).mT if isinstance(layer, nn.Conv2d) else gradient  # (N, P, O)
            passes[path] = inputs, rows.flatten(0, -2), rows.shape[1:-1].numel()

        handles.append(layer.register_forward_hook(hook, with_kwargs=True))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for path, layer in _layers_of(model):
        watch(path, layer)
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()
        for path, times in calls.items():
            if times > 1:
                passes.pop(path, None)


def _layers_of(model: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    """Linear layers and plain convolutions with parameters of their own that are trained, by path."""
    users = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    for path, layer in model.named_modules():
        match layer:
            case nn.Linear() | nn.Conv2d(groups=1, padding_mode="zeros", padding=tuple()):
                own = layer._parameters
                if not any(p is not None and p.requires_grad for p in own.values()):
                    continue
                if "weight" in own and "bias" in own and all(users[id(p)] == 1 for p in own.values() if p is not None):
                    yield path, layer


def _names(path: str) -> tuple[str, str]:
    """Of weight and bias; the model itself may be the layer."""
    return f"{path}.weight".lstrip("."), f"{path}.bias".lstrip(".")


def _rows(layer: nn.Linear | nn.Conv2d, inputs: Tensor) -> Tensor:
    """What each row of the weight is multiplied with, (N·P, I), and a 1 for a bias; a copy, as `inputs` may change."""
    biased = layer._parameters["bias"] is not None
    if isinstance(layer, nn.Conv2d):
        shape = {name: getattr(layer, name) for name in ("kernel_size", "dilation", "padding", "stride")}
        inputs = F.unfold(inputs, **shape).mT  # (N, I, P) -> (N, P, I)
    elif not biased:
        inputs = inputs.clone()
    rows = _full(inputs.flatten(0, -2))
    return F.pad(rows, (0, 1), value=1.0) if biased else rows


def _full(values: Tensor) -> Tensor:
    """Half precision, in which autocast works, adds up to nothing useful."""
    return values if values.dtype == torch.float64 else values.float()


def _joined(path: str, displacement: Displacement) -> Tensor:
    """Δ of weight and bias as one matrix, (O, I + 1); (O, I) without a bias."""
    weight, bias = _names(path)
    matrix = displacement[weight].flatten(1)
    return torch.cat([matrix, displacement[bias][:, None]], 1) if bias in displacement else matrix
