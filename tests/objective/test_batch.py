"""Batches on their way through a step."""

import pytest
import torch

from ckd.objective import Batch, Moment, Shown, replay, stream
from ckd.objective.batch import join


def batch(inputs, tasks=None, **more):
    return Batch(inputs, torch.arange(len(inputs)), tasks, **more)


def test_batches_are_joined_row_by_row_without_stored_logits():
    one, other = torch.randn(4, 3), torch.randn(2, 3)
    joined = join([batch(one, logits=torch.randn(4, 5), experiences=torch.tensor([0, 0, 1, 2])), batch(other)])
    assert torch.equal(joined.inputs, torch.cat([one, other]))
    assert joined.targets.tolist() == [0, 1, 2, 3, 0, 1]
    assert joined.samples == 6
    assert joined.logits is None
    assert joined.experiences.tolist() == [0, 0, 1, 2, -1, -1]


def test_one_batch_alone_stays_as_it_is():
    alone = batch(torch.randn(4, 3), logits=torch.randn(4, 5))
    assert join([alone]) is alone


def test_tasks_are_joined_where_every_batch_has_them():
    x, tasks = torch.randn(2, 3), torch.tensor([1, 2])
    assert join([batch(x, tasks), batch(x, tasks)]).tasks.tolist() == [1, 2, 1, 2]
    assert join([batch(x, tasks), batch(x)]).tasks is None


def test_a_mean_runs_over_the_rows_unless_the_draw_says_otherwise():
    assert batch(torch.randn(4, 3)).samples == 4
    assert batch(torch.randn(4, 3), samples=2).samples == 2


def test_mixed_labels_are_probabilities_also_where_two_of_them_are_the_same_class():
    mixed = batch(
        torch.randn(3, 2),
        mixed_labels=torch.tensor([[0, 2], [1, 1], [3, 0]]),
        mixed_shares=torch.tensor([[0.25, 0.75], [0.4, 0.6], [1.0, 0.0]]),
    )
    wanted = torch.tensor([[0.25, 0, 0.75, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert torch.allclose(mixed.probabilities(4), wanted)
    assert batch(torch.randn(3, 2)).probabilities(4) is None


def view(batch, generator):
    return batch


def test_what_a_network_is_shown_is_equal_if_draw_and_view_are():
    assert Shown(replay("a"), view) == Shown(replay("a"), view)
    assert hash(Shown(replay("a"), view)) == hash(Shown(replay("a"), view))
    assert len({Shown(replay("a")), Shown(replay("b")), Shown(replay("a"), view), Shown(stream)}) == 4


@pytest.mark.parametrize("ended", [0, 2])
def test_a_moment_is_restored_from_plain_data(ended):
    moment = Moment(iteration=7)
    for i in range(ended):
        moment.classes.begin({0: frozenset({i})}, per_task=False)
        moment.end_experience()
    moment.classes.begin({0: frozenset({5})}, per_task=False)
    again = Moment()
    again.load_state_dict(moment.state_dict())
    assert (again.experience, again.iteration) == (ended, 7)
    assert again.state_dict() == moment.state_dict()
    assert again.classes.old.indices == list(range(ended))
    assert again.classes.current.indices == [5]
