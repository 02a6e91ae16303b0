"""WordPiece: words as an uncased BERT has them, cut into the longest pieces."""

import pytest

from ckd.data import WordPiece, text_arrays
from ckd.data.wordpiece import words
from ckd.errors import ConfigError, DataError

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "un",
    "##aff",
    "##able",
    "##a",
    "un##",
    "want",
    "##ed",
    "!",
    "cafe",
    "aff",
]
CLS, SEP, UNK = 2, 3, 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # what BertNormalizer and BertPreTokenizer of the package tokenizers 0.23 make of them
        ("naïve Café — ünïcode 东京tower ½ ﬁ", ["naive", "cafe", "—", "unicode", "东", "京", "tower", "½", "ﬁ"]),
        ("x\u200by \ufffd z\x00w", ["xy", "zw"]),
        ("İstanbul ẞ", ["istanbul", "ß"]),
        ("$^`~ don't_stop ¿qué?", ["$", "^", "`", "~", "don", "'", "t", "_", "stop", "¿", "que", "?"]),
        ("\u00a0nbsp\u2028sep\x7f", ["nbsp", "sep"]),
        ("हिन्दी \uac01", ["हिनदी", "\u1100\u1161\u11a8"]),
        ("Tab\tnew\nline\r\x1f!", ["tab", "new", "line", "!"]),
        ("What is 3.5% of [MASK]", ["what", "is", "3", ".", "5", "%", "of", "[", "mask", "]"]),
        (" ", []),
    ],
)
def test_words_are_those_of_bert(text, expected):
    assert words(text) == expected
    assert [word.lower() for word in words(f"{text} ½")] == [*expected, "½"]  # not by the path for ASCII


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("unaffable", [4, 5, 6]),
        ("Unwanted!", [UNK, 11]),  # ##want is no piece
        ("wanted", [9, 10]),
        ("aff unaffa", [13, 4, 5, 7]),
        ("CAFÉ", [12]),
        ("a" * 101, [UNK]),
        ("", []),
    ],
)
def test_a_word_is_cut_into_its_longest_pieces(text, pieces):
    tokenizer = WordPiece(PIECES)
    for _ in range(2):  # the second time it is known
        assert tokenizer.encode(text) == [CLS, *pieces, SEP]


def test_a_long_text_is_cut_before_its_last_token():
    tokenizer = WordPiece(PIECES)
    assert tokenizer.encode("unaffable wanted", 5) == [CLS, 4, 5, 6, SEP]
    assert tokenizer.encode("unaffable", 5) == [CLS, 4, 5, 6, SEP]
    assert tokenizer.encode("unaffable", 2) == [CLS, SEP]


def test_a_length_without_room_for_the_first_and_the_last_token_is_refused():
    with pytest.raises(ConfigError, match=r"length of a text: expected 2 or more, for \[CLS\] and \[SEP\]; received 1"):
        text_arrays(["want", "aff"], [0, 1], ["aff"], [1], tokenizer=WordPiece(PIECES), length=1)


def test_a_vocabulary_is_read_from_a_file(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    assert WordPiece.read(file).encode("cafe") == [CLS, 12, SEP]
    assert WordPiece.read(file).size == len(PIECES)


def test_what_is_no_vocabulary_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none of \[SEP\]"):
        WordPiece(PIECES[:3])
    with pytest.raises(DataError, match=r"\[PAD\] with id 1"):
        WordPiece(["a", *PIECES])
    with pytest.raises(DataError, match="nowhere"):
        WordPiece.read(tmp_path / "nowhere.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(DataError, match="vocabulary"):
        WordPiece.read(tmp_path / "binary")
