"""The loops of throughput.py: the same methods in plain torch without ckd, and with its engine.

`Person` is what one would write: a forward pass for each batch. `Tight` is the fastest that its author could make it:
one gather, one preparation and one forward pass for stream and memory, a remembered sample that both draws took shown
once (on a CPU, for a network without BatchNorm), a memory without Python loops. Tried and slower on a CPU: inputs
prepared once for a whole experience (a pass over four times the bytes), fused SGD. `OwnLoop` is the tight loop with the
engine in it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ckd import Engine

Prepare = Callable[[Tensor], Tensor]


@dataclass
class Settings:
    """What both rivals and ckd share."""

    method: str
    lr: float
    batch_size: int
    memory_size: int
    alpha: float = 0.5
    beta: float = 0.5
    temperature: float = 2.0


class Buffer:
    """A reservoir of samples, labels and logits."""

    def __init__(self, size: int) -> None:
        self.size, self.seen, self.columns = size, 0, []

    def add(self, *rows: Tensor) -> None:
        """Algorithm R."""
        if not self.columns:
            self.columns = [r.new_zeros((self.size, *r.shape[1:])) for r in rows]
        position = torch.arange(self.seen, self.seen + len(rows[0]))
        drawn = (torch.rand(len(position)) * (position + 1)).long()
        slots = torch.where(position < self.size, position, drawn)
        self.seen += len(position)
        for i in (slots < self.size).nonzero()[:, 0].tolist():
            for column, values in zip(self.columns, rows, strict=True):
                column[slots[i]] = values[i]

    def draw(self, n: int) -> list[Tensor]:
        """Rows without replacement."""
        index = torch.randperm(min(self.seen, self.size))[:n].to(self.columns[0].device, non_blocking=True)
        return [column.index_select(0, index) for column in self.columns]

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return self.seen == 0


class QuickBuffer(Buffer):
    """The same, writing all rows that are admitted at once: of two for one slot, the later."""

    def add(self, *rows: Tensor) -> None:
        """Algorithm R."""
        if not self.columns:
            self.columns = [r.new_zeros((self.size, *r.shape[1:])) for r in rows]
        n = len(rows[0])
        if self.seen < self.size:
            position = torch.arange(self.seen, self.seen + n)
            slots = torch.where(position < self.size, position, (torch.rand(n) * (position + 1)).long())
        else:
            slots = (torch.rand(n) * torch.arange(self.seen + 1, self.seen + n + 1)).long()
        self.seen += n
        winners = {slot: i for i, slot in enumerate(slots.tolist()) if slot < self.size}
        if winners:
            pairs = torch.tensor([list(winners), list(winners.values())])
            where, which = pairs.to(rows[0].device, non_blocking=True)
            for column, values in zip(self.columns, rows, strict=True):
                column[where] = values[which]

    def draw_twice(self, n: int) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """The samples of two draws, each sample once; which of them each drawn one is; the draws' other columns."""
        one, other = (torch.randperm(min(self.seen, self.size))[:n] for _ in range(2))
        drawn = torch.cat([one, other]).numpy()
        taken = np.zeros(self.size, dtype=bool)
        taken[drawn] = True
        slots, places = torch.from_numpy(taken.nonzero()[0]), torch.from_numpy((taken.cumsum() - 1)[drawn])
        samples, *rest = self.columns
        columns = [[column.index_select(0, index) for column in rest] for index in (one, other)]
        return samples.index_select(0, slots), places, *columns


class Person:
    """A loop as one would write it."""

    memory = Buffer

    def __init__(self, model: nn.Module, settings: Settings, still: Prepare, prepare: Prepare) -> None:
        self.model, self.settings, self.still, self.prepare = model, settings, still, prepare
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.SGD(model.parameters(), lr=settings.lr)
        self.buffer = self.memory(settings.memory_size)
        self.teacher: nn.Module | None = None
        self.old = torch.empty(0, dtype=torch.int64, device=self.device)

    def train(self, raw: Tensor, labels: Tensor) -> None:
        """One pass over an experience; afterwards the model is the teacher."""
        self.model.train()
        raw, labels = raw.to(self.device), labels.to(self.device)
        for index in torch.randperm(len(raw)).to(self.device).split(self.settings.batch_size):
            self.step(raw.index_select(0, index), labels.index_select(0, index))
        if self.settings.method == "lwf":
            self.teacher = copy.deepcopy(self.model).eval().requires_grad_(False)
            self.old = torch.cat([self.old, labels]).unique()

    def step(self, raw: Tensor, y: Tensor) -> None:
        """One update."""
        s, n = self.settings, self.settings.batch_size
        x = self.prepare(raw)
        self.optimizer.zero_grad()
        outputs = self.model(x)
        if s.method == "er" and not self.buffer.empty:
            samples, targets = self.buffer.draw(n)
            memory_logits = self.model(self.prepare(samples))
            loss = F.cross_entropy(torch.cat([outputs, memory_logits]), torch.cat([y, targets]))
        else:
            loss = F.cross_entropy(outputs, y)
        if s.method == "der++" and not self.buffer.empty:
            samples, _, logits = self.buffer.draw(n)
            loss = loss + s.alpha * F.mse_loss(self.model(self.prepare(samples)), logits)
            samples, targets, _ = self.buffer.draw(n)
            loss = loss + s.beta * F.cross_entropy(self.model(self.prepare(samples)), targets)
        if s.method == "lwf" and self.teacher is not None:
            loss = loss + self.distillation(outputs, x)
        loss.backward()
        self.optimizer.step()
        self.remember(raw, y, outputs)

    def remember(self, samples: Tensor, y: Tensor, outputs: Tensor) -> None:
        """Into the memory, if the method has one."""
        if self.settings.method == "er":
            self.buffer.add(samples, y)
        elif self.settings.method == "der++":
            self.buffer.add(samples, y, outputs.detach())

    def distillation(self, outputs: Tensor, x: Tensor) -> Tensor:
        """T² · KL over old classes."""
        assert self.teacher is not None
        t = self.settings.temperature
        with torch.no_grad():
            old = F.log_softmax(self.teacher(x)[:, self.old] / t, 1)
        now = F.log_softmax(outputs[:, self.old] / t, 1)
        return t * t * F.kl_div(now, old, reduction="batchmean", log_target=True)

    @torch.no_grad()
    def evaluate(self, raw: Tensor, labels: Tensor, batch_size: int) -> float:
        """Accuracy on a test set."""
        self.model.eval()
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        for x, y in zip(raw.split(batch_size), labels.split(batch_size), strict=True):
            correct += (self.model(self.still(x)).argmax(1) == y).sum()
        return correct.item() / len(labels)


class OwnLoop(Person):
    """The tight loop with ckd's engine in it."""

    def __init__(self, model: nn.Module, engine: Engine, settings: Settings, still: Prepare, prepare: Prepare) -> None:
        super().__init__(model, settings, still, prepare)
        self.engine = engine

    def train(self, raw: Tensor, labels: Tensor) -> None:
        """One pass over an experience."""
        self.model.train()
        self.engine.begin(range(int(labels.max()) + 1))
        raw, labels = raw.to(self.device), labels.to(self.device)
        for index in torch.randperm(len(raw)).to(self.device).split(self.settings.batch_size):
            self.step(raw.index_select(0, index), labels.index_select(0, index))
        self.engine.end()

    def step(self, raw: Tensor, y: Tensor) -> None:
        """One update."""
        self.optimizer.zero_grad()
        self.engine.loss(self.model, self.prepare(raw), y, raw=raw).backward()
        self.optimizer.step()
        self.engine.after_update(self.optimizer)


class Tight(Person):
    """The same arithmetic with as little around it as possible."""

    memory = QuickBuffer

    def __init__(self, model: nn.Module, settings: Settings, still: Prepare, prepare: Prepare) -> None:
        super().__init__(model, settings, still, prepare)
        batchnorm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
        self.merges = self.device.type == "cpu" and not batchnorm

    def step(self, raw: Tensor, y: Tensor) -> None:
        """One update with one forward pass."""
        s, n = self.settings, self.settings.batch_size
        if s.method == "der++" and self.merges and not self.buffer.empty:
            self.step_of_samples_once(raw, y)
            return
        n_draws = 0 if self.buffer.empty else {"er": 1, "der++": 2}.get(s.method, 0)
        draws = [self.buffer.draw(n) for _ in range(n_draws)]
        x = self.prepare(torch.cat([raw, *(samples for samples, *_ in draws)]) if draws else raw)
        outputs = self.model(x)
        own = outputs[: len(y)]
        if s.method == "er" and draws:
            loss = F.cross_entropy(outputs, torch.cat([y, draws[0][1]]))
        else:
            loss = F.cross_entropy(own, y)
        if s.method == "der++" and draws:
            _, one, other = outputs.split([len(y), len(draws[0][1]), len(draws[1][1])])
            loss = loss + s.alpha * F.mse_loss(one, draws[0][2]) + s.beta * F.cross_entropy(other, draws[1][1])
        if s.method == "lwf" and self.teacher is not None:
            loss = loss + self.distillation(own, x)
        self.update(loss, raw, y, own)

    def step_of_samples_once(self, raw: Tensor, y: Tensor) -> None:
        """An update of DER++ that shows a remembered sample once, though both draws took it."""
        s = self.settings
        samples, places, (_, logits), (targets, _) = self.buffer.draw_twice(s.batch_size)
        outputs = self.model(self.prepare(torch.cat([raw, samples])))
        own = outputs[: len(y)]
        one, other = outputs.index_select(0, places + len(y)).chunk(2)
        loss = F.cross_entropy(own, y) + s.alpha * F.mse_loss(one, logits) + s.beta * F.cross_entropy(other, targets)
        self.update(loss, raw, y, own)

    def update(self, loss: Tensor, raw: Tensor, y: Tensor, outputs: Tensor) -> None:
        """Take the step, and remember the batch."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.remember(raw, y, outputs)
