"""A transformer encoder whose every layer can be tapped: embeddings, hidden states, attention scores.

Vaswani et al. 2017, arXiv:1706.03762, with the layers of BERT (Devlin et al. 2019, arXiv:1810.04805): the norm follows
each residual sum, GELU, learned positions. torch's own attention gives no scores from before the softmax.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ckd.errors import ConfigError, DataError
from ckd.networks.tokens import PADDING, mean_of


class TextTransformer(nn.Module):
    """Token ids (B, T), 0 for padding, to logits (B, C): the mean of the last hidden states goes to a linear head.

    What `ckd.tap` takes: "embeddings" (B, T, D); "blocks.0", "blocks.1", ... the hidden states (B, T, D);
    "blocks.0.attention.scores", ... (B, heads, T, T), before the softmax and before padding is masked.

    Args:
        vocabulary: ids, padding among them.
        length: the highest T.
        n_classes: C.
        width: D.
        layers: blocks.
        heads: of each block's attention.
        hidden: units between the two linear layers of a block; 4 D unless given.
        dropout: probability, of embeddings, attention, each residual branch and what the head takes in.

    Raises:
        ConfigError: a width that the heads do not divide.
        DataError: at a forward pass, more than `length` tokens.

    Example:
        >>> from ckd.networks import TextTransformer
        >>> model = TextTransformer(vocabulary=50, length=8, n_classes=3, width=16, layers=2, heads=4)
        >>> model(torch.tensor([[5, 9, 2, 0, 0], [7, 7, 1, 30, 4]])).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        n_classes: int,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        hidden: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            fix = f"Use a width of {max(1, heads) * max(1, round(width / max(1, heads)))}."
            raise ConfigError("width", expected=f"a multiple of the {heads} heads", received=width, fix=fix)
        self.embeddings = Embeddings(vocabulary, length, width, dropout)
        self.blocks = nn.ModuleList(Block(width, heads, hidden or 4 * width, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, n_classes)
        self.apply(_initialise)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, C) of token ids (B, T)."""
        real = ids != PADDING
        x = self.embeddings(ids)
        for block in self.blocks:
            x = block(x, real)
        logits: Tensor = self.head(self.dropout(mean_of(x, real)))
        return logits


class Embeddings(nn.Module):
    """Token ids (B, T) to the sum of token and position embeddings, normalised, (B, T, D)."""

    def __init__(self, vocabulary: int, length: int, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.positions = nn.Embedding(length, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings (B, T, D)."""
        length, limit = ids.shape[1], self.positions.num_embeddings
        if length > limit:
            fix = "Cut the texts, or build the network for longer ones."
            raise DataError("tokens of a text", expected=f"up to {limit}", received=length, fix=fix)
        x: Tensor = self.dropout(self.norm(self.tokens(ids) + self.positions.weight[:length]))
        return x


class Block(nn.Module):
    """Attention and two linear layers, each with a residual sum and a norm behind it."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """Hidden states (B, T, D) of the states x (B, T, D) before it; `real` (B, T) is False for padding."""
        x = self.attention_norm(x + self.dropout(self.attention(x, real)))
        hidden: Tensor = self.norm(x + self.dropout(self.feed_forward(x)))
        return hidden


class Attention(nn.Module):
    """Every position looks at every real one, by several heads."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.scores = Scores()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """(B, T, D) of states x (B, T, D)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, D / heads)
            for layer in (self.query, self.key, self.value)
        )
        scores = self.scores(query, key)
        lowest = torch.finfo(scores.dtype).min
        shares = scores.masked_fill(~real[:, None, None], lowest).softmax(-1)
        seen = self.dropout(shares) @ value  # (B, heads, T, D / heads)
        attended: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return attended


class Scores(nn.Module):
    """Scaled products of queries and keys; a module of its own, so that it can be tapped."""

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """query · key / √d, (B, heads, T, T), for query and key (B, heads, T, d)."""
        products: Tensor = query @ key.transpose(-1, -2)
        return products / math.sqrt(query.shape[-1])


def _initialise(module: nn.Module) -> None:
    """As BERT begins: weights with a standard deviation of 0.02, biases of 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
