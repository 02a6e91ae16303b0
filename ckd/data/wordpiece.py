"""WordPiece with the vocabulary of a pretrained encoder: the tokens of BERT (Devlin et al. 2019, arXiv:1810.04805)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ckd.errors import ConfigError, DataError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LONGEST = 100
"""Characters of a word; longer ones are unknown. As in Hugging Face's tokenizers; BERT's original code has 200."""


class WordPiece:
    """Words in lower case without accents, cut into the longest pieces of the vocabulary, between [CLS] and [SEP].

    Args:
        pieces: the vocabulary in order of its ids; a piece that continues a word begins with ##.

    Attributes:
        size: ids.

    Raises:
        DataError: a vocabulary without [PAD] as its first piece, [UNK], [CLS] or [SEP].

    Example:
        >>> from ckd.data import WordPiece
        >>> pieces = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "what", "is", "token", "##ization", "?"])
        >>> pieces.encode("What is Tokenization?")
        [2, 4, 5, 6, 7, 8, 3]
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._ids = {piece: i for i, piece in enumerate(pieces)}
        missing = [piece for piece in SPECIAL if piece not in self._ids]
        if missing or self._ids["[PAD]"] != 0:
            raise DataError(
                "WordPiece vocabulary",
                expected=f"{', '.join(SPECIAL)}, the first with id 0",
                received=f"none of {', '.join(missing)}" if missing else f"[PAD] with id {self._ids['[PAD]']}",
                fix="Give it the vocab.txt of an uncased BERT.",
            )
        self.size = len(pieces)
        self._cut: dict[str, list[int]] = {}
        self._unknown, self._first, self._last = (self._ids[piece] for piece in SPECIAL[1:])

    @classmethod
    def read(cls, file: str | Path) -> WordPiece:
        """The vocabulary in a `vocab.txt`, one piece a line.

        Raises:
            DataError: a file that cannot be read, or as of the class.
        """
        try:
            lines = Path(file).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            fix = "Name the vocab.txt of a pretrained encoder."
            raise DataError(f"vocabulary {file}", expected="a text file", received=error, fix=fix) from error
        return cls(lines[:-1] if lines[-1] == "" else lines)

    def encode(self, text: str, length: int | None = None) -> list[int]:
        """The ids of a text, cut to `length` with [SEP] kept as the last.

        Raises:
            ConfigError: a length below 2, which has no room for [CLS] and [SEP].
        """
        if length is not None and length < 2:
            expected, fix = "2 or more, for [CLS] and [SEP]", "Use 64."
            raise ConfigError("length of a text", expected=expected, received=length, fix=fix)
        ids = [i for word in words(text) for i in self._cut.get(word) or self._pieces(word)]
        room = None if length is None else length - 2
        return [self._first, *ids[:room], self._last]

    def _pieces(self, word: str) -> list[int]:
        """The longest pieces from left to right; the unknown id for a word that they do not make up."""
        if len(word) > LONGEST:
            return [self._unknown]
        found: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((e for e in ends if prefix + word[start:e] in self._ids), None)
            if end is None:
                return [self._unknown]
            found.append(self._ids[prefix + word[start:end]])
            start = end
        self._cut[word] = found
        return found


_ASCII_WORDS = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_ASCII_CONTROLS = {code: None for code in (*range(32), 127) if chr(code) not in "\t\n\r"}


def words(text: str) -> list[str]:
    """Words, punctuation marks and ideographs, in lower case and without accents, as an uncased BERT has them.

    Example:
        >>> words("Déjà vu, twice!")
        ['deja', 'vu', ',', 'twice', '!']
    """
    if text.isascii():  # the same, 10 times as fast
        return _ASCII_WORDS.findall(text.translate(_ASCII_CONTROLS).lower())
    plain = "".join(" " if c in "\t\n\r" else c for c in text if not _is_control(c))
    plain = "".join(f" {c} " if _is_ideograph(ord(c)) else c for c in plain)
    decomposed = unicodedata.normalize("NFD", plain)
    bare = "".join(c for c in decomposed if unicodedata.category(c) != "Mn").lower()
    return "".join(f" {c} " if _is_punctuation(c) else c for c in bare).split()


def _is_control(c: str) -> bool:
    if c in "\t\n\r":
        return False
    return c in "\0\ufffd" or unicodedata.category(c).startswith("C")


def _is_punctuation(c: str) -> bool:
    """ASCII symbols count too, as $ and ^."""
    ascii_symbol = c.isascii() and c.isprintable() and not c.isalnum() and c != " "
    return ascii_symbol or unicodedata.category(c).startswith("P")


def _is_ideograph(code: int) -> bool:
    return any(
        low <= code <= high
        for low, high in (
            (0x4E00, 0x9FFF),
            (0x3400, 0x4DBF),
            (0x20000, 0x2A6DF),
            (0x2A700, 0x2B73F),
            (0x2B740, 0x2B81F),
            (0x2B820, 0x2CEAF),
            (0xF900, 0xFAFF),
            (0x2F800, 0x2FA1F),
        )
    )
