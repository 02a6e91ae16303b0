"""Texts as token ids: a vocabulary of one's own, padding, streams, and what is refused."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from ckd.data import WordPiece, Words, split, text_arrays
from ckd.errors import ConfigError, DataError
from ckd.networks import network

TEXTS = ["the cat sat on the mat", "the dog", "a cat ?", "On the dog !"]
LABELS = [0, 1, 0, 1]


def of(texts=TEXTS, labels=LABELS, **given):
    return text_arrays(texts, labels, texts, labels, **given)


def test_ids_go_by_frequency_in_the_training_texts():
    counts = Counter(word for text in TEXTS for word in text.lower().split())
    ids = {word: Words.of(TEXTS).encode(word)[0] for word in counts}
    assert sorted(ids.values()) == list(range(2, 2 + len(counts)))
    assert all(ids[a] < ids[b] for a in counts for b in counts if counts[a] > counts[b])


def test_the_rarest_words_are_unknown_beyond_a_limit():
    known = Words.of(TEXTS, limit=2)
    assert known.size == 4
    assert known.encode("the cat sat") == [2, 3, 1]
    with pytest.raises(ConfigError, match="1 or more"):
        Words.of(TEXTS, limit=0)


def test_texts_are_padded_to_the_longest_in_training():
    data = text_arrays(TEXTS, LABELS, ["the cat sat on the mat and slept", "zebra"], [0, 1])
    assert data.x_train.shape == (4, 6)
    assert data.x_train.dtype == torch.int64
    assert (data.x_train != 0).sum(1).tolist() == [6, 2, 3, 4]
    known = Words.of(TEXTS)
    assert data.x_test.tolist() == [known.encode("the cat sat on the mat"), [1, 0, 0, 0, 0, 0]]
    assert (data.vocabulary, data.input_shape, data.n_classes) == (known.size, (6,), 2)


def test_long_texts_are_cut():
    data = of(length=3)
    assert data.x_train.shape == (4, 3)
    assert data.x_train[0].tolist() == Words.of(TEXTS).encode("the cat sat")


def test_texts_without_a_word_are_all_padding():
    assert not of(["", " ", "", ""]).x_train.any()


class Letters:
    """A tokenizer of one's own."""

    size = 27

    def encode(self, text, length=None):
        return [ord(c) - 96 for c in text if c.isalpha() and c.islower()][:length]


def test_a_tokenizer_of_ones_own():
    data = of(tokenizer=Letters(), length=4)
    assert data.x_train[1].tolist() == [20, 8, 5, 4]
    assert data.vocabulary == 27


def test_a_long_text_for_testing_keeps_its_last_token():
    pieces = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"])
    data = text_arrays(["a a", "a"], [0, 1], ["a a a a", "a"], [0, 1], tokenizer=pieces)
    assert data.x_test.tolist() == [[2, 4, 4, 3], [2, 4, 3, 0]]


def test_a_stream_says_how_large_the_vocabulary_is():
    data = of()
    for arrays in (data, data.holding_out(0.5), data.limited(1)):
        stream = split(arrays, 2)
        assert stream.vocabulary == data.vocabulary
        model = network("text-pool", stream.input_shape, stream.n_classes, stream.vocabulary)
        x, _ = next(stream.tensors())
        assert model(x).shape == (len(x), 2)


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="length of a text"):
        of(length=0)
    with pytest.raises(DataError, match="4 samples and 3 labels"):
        of(labels=[0, 1, 0])
    with pytest.raises(DataError, match="no sample of class 0"):
        of(labels=[1, 1, 2, 2])
    with pytest.raises(DataError, match="whole numbers"):
        of(labels=["pos", "neg", "pos", "neg"])
    with pytest.raises(DataError, match="below its size 5; received 20"):
        of(tokenizer=SimpleNamespace(size=5, encode=Letters().encode))
    with pytest.raises(DataError, match="7 at 2"):
        of(["a", "b", 7, "c"])
