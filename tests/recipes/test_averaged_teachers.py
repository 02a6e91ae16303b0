"""What an average teaches: every unit of one head, as in the authors' code, those of classes to come too."""

import pytest
import torch
from shared import classes_in
from torch import nn

from ckd import Engine, recipes
from ckd.objective import replay
from ckd.teachers import Ema


@pytest.mark.parametrize("recipe", [recipes.mean_er, recipes.cls_er])
def test_the_consistency_is_a_mean_over_the_whole_head(recipe):
    """CLS-ER's code: reg_weight * mean((net(buffer) - ema(buffer)) ** 2), whatever classes were met."""
    torch.manual_seed(0)
    engine, student = Engine(recipe(memory_size=20, consistency_weight=0.15)), nn.Linear(5, 6, dtype=torch.float64)
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0)
    engine.begin([0, 1])  # of 6
    x, y = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 2
    engine.loss(student, x, y).backward()
    optimizer.step()
    engine.after_update(optimizer)
    with torch.no_grad():
        student.bias += torch.arange(6)  # away from the average
    step = engine.step(student, x, y)
    engine.receive(student(step.inputs))
    ((weight, value),) = step.values().values()
    inputs = step.batch(replay("a")).inputs
    average = next(iter(engine.objective.teachers.values())).model
    wanted = 0.15 * torch.nn.functional.mse_loss(student(inputs), average(inputs)).item()
    assert weight * value.item() == pytest.approx(wanted, rel=1e-10)


def test_with_a_head_for_each_task_it_is_of_the_classes_of_the_task():
    ema = Ema(0.9)
    ema.begin(nn.Linear(2, 3), classes_in({0: [0, 1]}, {1: [0, 1, 2]}, per_task=True))
    found = ema.valid(3, torch.tensor([0, 1]), torch.device("cpu"))
    assert found.tolist() == [[True, True, False], [True, True, True]]
    ema.begin(nn.Linear(2, 3), classes_in([0, 1]))
    assert ema.valid(3, None, torch.device("cpu")) is None
