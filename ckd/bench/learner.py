"""What learns in a run: the objective with its teacher, and another student that learns beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ckd.bench.spec import RunSpec
from ckd.bench.teachers import loaded, network_for, teacher_of
from ckd.data import TensorStream
from ckd.objective import Objective
from ckd.pruning import Pruning
from ckd.recipes import get
from ckd.teachers import Peer, Teacher

if TYPE_CHECKING:
    from ckd.plugins import MutualLearning

PEER_SEED = 1_000_000
"""Added to a run's seed for the first weights of the student beside it."""


def learner(
    spec: RunSpec, stream: TensorStream, student: nn.Module, teachers: Sequence[bytes], device: torch.device
) -> tuple[Objective, MutualLearning | None]:
    """The objective of a run, and what trains a second student beside the first, if the recipe has one.

    Args:
        spec: the run.
        stream: its data.
        student: the network that is trained.
        teachers: safetensors of `spec.teachers`.
        device: where the networks are.
    """
    if get(spec.recipe).teacher == "peer":
        from ckd.plugins import MutualLearning

        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(spec.seed + PEER_SEED)
            other = network_for(spec.network, stream)
        beside = MutualLearning(other, _objective(spec, stream, Peer(student)), sgd(other, spec))
        return _objective(spec, stream, Peer(other)), beside
    if not spec.teachers:
        return _objective(spec, stream, None), None
    networks = [
        loaded(trained.network, content, stream).to(device)
        for trained, content in zip(spec.teachers, teachers, strict=True)
    ]
    return _objective(spec, stream, teacher_of(networks, temperature=spec.settings.get("temperature", 1.0))), None


def sgd(model: nn.Module, spec: RunSpec) -> torch.optim.SGD:
    """The optimiser of a run."""
    return torch.optim.SGD(model.parameters(), lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)


def _objective(spec: RunSpec, stream: TensorStream, teacher: Teacher | None) -> Objective:
    recipe, steps = get(spec.recipe), _steps(spec, stream)
    own = {"memory_size": spec.memory_size, "seed": spec.seed, "steps": steps}
    given = [] if teacher is None else [teacher]
    objective = recipe.build(*given, **spec.settings, **{k: v for k, v in own.items() if k in recipe.defaults})
    if spec.sparsity:
        objective = objective.extend(corrections=[*objective.corrections, Pruning(spec.sparsity, steps)])
    return objective.with_average(spec.average) if spec.average else objective


def _steps(spec: RunSpec, stream: TensorStream) -> int:
    """Training steps of the run."""
    return spec.epochs * spec.passes * sum(-(-len(experience) // spec.batch_size) for experience in stream.train)
