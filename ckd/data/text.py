"""Texts as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ckd.data.arrays import Arrays, check_labels, labels_of
from ckd.data.preparation import Preparation
from ckd.data.words import Words
from ckd.errors import ConfigError, DataError


class Tokenizer(Protocol):
    """Text to ids. 0 is for padding and never among them."""

    size: int
    """Ids, padding among them."""

    def encode(self, text: str, length: int | None = None) -> list[int]:
        """The ids of a text, cut to `length`."""
        ...


def text_arrays(
    x_train: Sequence[str],
    y_train: Any,
    x_test: Sequence[str],
    y_test: Any,
    *,
    tokenizer: Tokenizer | None = None,
    length: int = 64,
) -> Arrays:
    """Your own texts as token ids (N, T), int64, padded with 0 behind the last; T is the longest training text's.

    Args:
        x_train, x_test: texts.
        y_train, y_test: integer labels (N,), classes numbered from 0.
        tokenizer: text to ids, such as `WordPiece.read("vocab.txt")`; the words of the training texts unless given.
        length: the highest T; longer texts are cut.

    Raises:
        ConfigError: a length below 1.
        DataError: labels that do not fit, as in `arrays`, what is no text, or ids beyond the tokenizer's size.

    Example:
        >>> from ckd.data import text_arrays
        >>> data = text_arrays(["Who was Galileo ?", "How far is it ?"], [0, 1], ["Who was it ?"], [0])
        >>> data.x_train
        tensor([[3, 4, 5, 2, 0],
                [6, 7, 8, 9, 2]])
        >>> data.x_test, data.vocabulary
        (tensor([[3, 4, 9, 2, 0]]), 10)
    """
    if length < 1:
        raise ConfigError("length of a text", expected="1 or more", received=length, fix="Use 64.")
    for name, texts in (("x_train", x_train), ("x_test", x_test)):
        wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
        if wrong is not None:
            fix = "Give a list of str; arrays(...) takes numbers."
            raise DataError(name, expected="texts", received=f"{texts[wrong]!r} at {wrong}", fix=fix)
    y_train, y_test = labels_of("y_train", y_train), labels_of("y_test", y_test)
    check_labels((len(x_train), len(x_test)), (y_train, y_test))
    tokenizer = tokenizer or Words.of(x_train)
    train = [tokenizer.encode(text, length) for text in x_train]
    longest = max(1, *map(len, train))
    test = [tokenizer.encode(text, longest) for text in x_test]
    highest = max(max(one, default=0) for one in (*train, *test))
    if highest >= tokenizer.size:
        fix = "Let its size be the highest id and one more."
        raise DataError("ids of the tokenizer", expected=f"below its size {tokenizer.size}", received=highest, fix=fix)
    x_train_ids, x_test_ids = padded_ids(train, longest), padded_ids(test, longest)
    return Arrays(x_train_ids, y_train, x_test_ids, y_test, Preparation(), vocabulary=tokenizer.size)


def padded_ids(ids: Sequence[Sequence[int]], length: int) -> Tensor:
    """(N, length), int64, with 0 behind the ids of each."""
    return torch.tensor([[*one, *[0] * (length - len(one))] for one in ids])
