"""Terms whose loss wants what the student was shown: the stream, remembered samples, a view."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ckd import Engine, Fixed, Memory, Objective, Term, tap
from ckd.errors import ConfigError
from ckd.losses import token_mse
from ckd.objective import replay, teacher, union

IDS, LABELS = torch.tensor([[5, 9, 2, 0], [7, 3, 1, 4], [8, 1, 0, 0]]), torch.tensor([0, 1, 1])


class Tokens(nn.Module):
    """Embeddings, and the mean of them to logits."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.embeddings, self.head = nn.Embedding(10, 6), nn.Linear(6, 2)

    def forward(self, ids):
        return self.head(self.embeddings(ids).mean(1))


def engine_of(memory=None, **given):
    term = Term(
        "hidden", target=teacher("t", output=tap("embeddings")), output=tap("embeddings"), loss=token_mse, **given
    )
    engine = Engine(Objective("o", [term], memory=memory, teachers={"t": Fixed(Tokens(1))}))
    engine.begin([0, 1])
    return engine


def wanted(student, ids):
    return token_mse(student.embeddings(ids), Tokens(1).embeddings(ids), inputs=ids).mean()


def test_the_loss_gets_the_tokens_of_the_stream():
    student = Tokens(0)
    torch.testing.assert_close(engine_of().loss(student, IDS, LABELS).parts["hidden"], wanted(student, IDS))


@pytest.mark.parametrize("draw", [replay("a"), union(replay("a"))], ids=["replay", "union"])
def test_remembered_texts_bring_their_own_tokens(draw):
    engine, student = engine_of(Memory(3), draw=draw), Tokens(0)
    engine.loss(student, IDS, LABELS)
    engine.after_update()
    engine.end()
    engine.begin([0, 1])
    other = torch.tensor([[4, 4, 4, 4]] * 3)
    found = engine.loss(student, other, LABELS).parts["hidden"]
    # a draw of three from a memory of three is all of it
    torch.testing.assert_close(found, wanted(student, IDS if draw == replay("a") else torch.cat([other, IDS])))


def test_a_view_shows_the_loss_what_it_shows_the_student():
    def shortened(ids):
        return torch.where(torch.arange(4) < 2, ids, 0)

    def view(batch, generator):
        return replace(batch, inputs=shortened(batch.inputs))

    student = Tokens(0)
    found = engine_of(view=view).loss(student, IDS, LABELS).parts["hidden"]
    torch.testing.assert_close(found, wanted(student, shortened(IDS)))


def test_logits_have_no_tokens():
    with pytest.raises(ConfigError, match="a loss of logits"):
        Term("t", target=teacher("t"), loss=token_mse)
