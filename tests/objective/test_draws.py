"""The stream through every old head: one row for each sample and head, and losses that add up."""

import torch
from torch import nn
from torch.nn import functional as F

from ckd import Engine, Objective, Snapshot, Term
from ckd.losses import cross_entropy, kd
from ckd.objective import old_heads, teacher


class Heads(nn.Module):
    """A linear layer for each task."""

    def __init__(self, tasks):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(4, 2) for _ in range(tasks))

    def forward(self, inputs, tasks):
        found = torch.stack([head(inputs) for head in self.heads])
        return found[tasks, torch.arange(len(inputs))]


def test_the_losses_of_the_old_heads_add_up():
    """As in Li & Hoiem 2016, eq. 3: a mean over the samples of the sum over the heads; head 1 is new and left out."""
    terms = [Term("kd", old_heads, teacher("past"), kd), Term("labels", old_heads, loss=cross_entropy)]
    engine, model = Engine(Objective("x", terms, teachers={"past": Snapshot()})), Heads(3)
    for task in (0, 2, 1):
        engine.begin({task: [0, 1]}, per_task=True)
        x, y, tasks = torch.randn(5, 4), torch.randint(2, (5,)), torch.full((5,), task)
        past = {old: model.heads[old](x).detach() for old in (0, 2)}
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        loss = engine.loss(model, x, y, tasks)
        if task == 1:
            asked = sum(F.cross_entropy(model.heads[old](x), y) for old in (0, 2))
            torch.testing.assert_close(torch.as_tensor(loss.parts["labels"]), asked)
            wanted = sum(kd(model.heads[old](x), past[old]).mean() for old in (0, 2))
            torch.testing.assert_close(torch.as_tensor(loss.parts["kd"]), wanted)
        engine.after_update(torch.optim.SGD(model.parameters(), lr=0.0))
        engine.end()
