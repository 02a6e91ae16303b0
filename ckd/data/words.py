"""A vocabulary of one's own: the most frequent words of the training texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ckd.data.wordpiece import words
from ckd.errors import ConfigError

UNKNOWN = 1
"""The id of a word that is not in the vocabulary; 0 is padding."""


class Words:
    """Words and punctuation marks in lower case, by id from 2: 0 is padding, 1 any other word.

    Args:
        vocabulary: the words, in order of their ids.

    Attributes:
        size: ids, padding and the unknown word among them.

    Example:
        >>> from ckd.data import Words
        >>> known = Words.of(["Who was Galileo ?", "Who wrote this ?"])
        >>> known.encode("Who sang?")
        [2, 1, 3]
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._ids = {word: i for i, word in enumerate(vocabulary, UNKNOWN + 1)}
        self.size = len(vocabulary) + UNKNOWN + 1

    @classmethod
    def of(cls, texts: Iterable[str], limit: int = 30_000) -> Words:
        """The `limit` most frequent words of the texts, the first seen first among equals.

        Raises:
            ConfigError: a limit below 1.
        """
        if limit < 1:
            raise ConfigError("words of a vocabulary", expected="1 or more", received=limit, fix="Use 30,000.")
        counts = Counter(word for text in texts for word in words(text))
        return cls([word for word, _ in counts.most_common(limit)])

    def encode(self, text: str, length: int | None = None) -> list[int]:
        """The ids of a text, cut to `length`."""
        return [self._ids.get(word, UNKNOWN) for word in words(text)[:length]]
