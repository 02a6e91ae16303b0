"""Networks of token ids (B, T), 0 for padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ckd.networks.shapes import Shape
from ckd.networks.tokens import PADDING, token_shape
from ckd.networks.transformer import TextTransformer

WIDTH = 128


def text_transformer(input_shape: Shape, n_classes: int, vocabulary: int) -> nn.Module:
    """Two blocks of 128 units and 4 heads: 400,000 parameters beside the embeddings, fit for a CPU."""
    return TextTransformer(vocabulary, token_shape(input_shape, vocabulary), n_classes, width=WIDTH)


def text_pool(input_shape: Shape, n_classes: int, vocabulary: int) -> nn.Module:
    """The mean of 128-dimensional token embeddings and one hidden layer: the order of the tokens does not matter."""
    token_shape(input_shape, vocabulary)
    return nn.Sequential(
        nn.EmbeddingBag(vocabulary, WIDTH, mode="mean", padding_idx=PADDING),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, n_classes),
    )


def text_attention(input_shape: Shape, n_classes: int, vocabulary: int) -> nn.Module:
    """Three neighbouring tokens at a time, and attention over the positions: 128 units, dropout of 0.3."""
    token_shape(input_shape, vocabulary)
    return AttentivePooling(vocabulary, n_classes)


class AttentivePooling(nn.Module):
    """A convolution over token embeddings, and a mean of its outputs weighted by attention.

    The score of a position is v · tanh(W h), as in Bahdanau et al. 2015, arXiv:1409.0473, with one query for all texts
    (Yang et al. 2016, Hierarchical Attention Networks, eq. 5 to 7). "scores" can be tapped, (B, T, 1).
    """

    def __init__(self, vocabulary: int, n_classes: int, width: int = WIDTH, dropout: float = 0.3) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.context = nn.Conv1d(width, width, 3, padding=1)
        self.scores = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, n_classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, C) of token ids (B, T)."""
        states = self.context(self.dropout(self.embeddings(ids)).transpose(1, 2)).relu().transpose(1, 2)  # (B, T, D)
        scores = self.scores(states)
        shares = scores.masked_fill((ids == PADDING)[..., None], torch.finfo(scores.dtype).min).softmax(1)
        logits: Tensor = self.head(self.dropout((shares * states).sum(1)))
        return logits
