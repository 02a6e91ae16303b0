"""Classified texts, in the layouts of their publishers."""

import os
from pathlib import Path

import pytest

from ckd.bench import plan, run
from ckd.data import BENCHMARKS, Words, tensor_stream
from ckd.data.sources import ag_news, ag_news_small, sst2, subj, trec
from ckd.errors import DataError

FILES = {
    "sst2/train.tsv": "a fine film\t1\nno fun at all\t0\n",
    "sst2/test.tsv": "fine\t1\nno\t0\n",
    "trec/train_5500.label": "".join(
        f"{kind}:x What {kind} ?\n" for kind in ("NUM", "ABBR", "DESC", "ENTY", "HUM", "LOC")
    ),
    "trec/TREC_10.label": "NUM:dist How far is Aspen ?\nLOC:city What city ?\nABBR:exp What is LSD ?\n",
    "subj/objective.txt": "".join(f"the story begins {i} \n" for i in range(11)),
    "subj/subjective.txt": "\n".join(f"i like it {i}" for i in range(11)),
    "ag_news/train.csv": "".join(f'"{c}","Title {c}","A ""quoted"" word, and\\more"\n' for c in (1, 2, 3, 4)),
    "ag_news/test.csv": "".join(f'"{c}","Title","Text {i}"\n' for i in range(6) for c in (4, 3, 2, 1)),
}
SOURCES = {"sst2": sst2, "trec": trec, "subj": subj, "ag-news": ag_news, "ag-news-small": ag_news_small}
EVERY = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


@pytest.fixture
def root(tmp_path):
    for name, content in FILES.items():
        file = tmp_path / "text" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return tmp_path


def ids(texts, text):
    """As a vocabulary of the training texts has them."""
    return Words.of(texts).encode(text)


def rows(x):
    """Without padding."""
    return [[i for i in row if i] for row in x.tolist()]


def test_sst2(root):
    data = sst2(root)
    texts = ["a fine film", "no fun at all"]
    assert rows(data.x_train) == [ids(texts, text) for text in texts]
    assert (data.y_train.tolist(), data.y_test.tolist()) == ([1, 0], [1, 0])


def test_trec_has_six_classes_in_alphabetical_order(root):
    data = trec(root)
    assert data.y_train.tolist() == [5, 0, 1, 2, 3, 4]
    assert data.y_test.tolist() == [5, 4, 0]
    assert len(data.x_train[0].nonzero()) == 3


def test_trec_is_in_latin_1(root):
    file = root / "text" / "trec" / "train_5500.label"
    file.write_bytes(file.read_bytes() + b"LOC:city A sister\xf0city ?\n")
    assert trec(root).y_train.tolist()[-1] == 4


def test_every_tenth_sentence_of_subj_is_for_testing(root):
    data = subj(root)
    assert (len(data.x_train), len(data.x_test)) == (18, 4)
    assert data.y_test.tolist() == [0, 0, 1, 1]
    train = [f"the story begins {i}" for i in range(1, 10)] + [f"i like it {i}" for i in range(1, 10)]
    test = ["the story begins 0", "the story begins 10", "i like it 0", "i like it 10"]
    assert rows(data.x_train) == [ids(train, text) for text in train]
    assert rows(data.x_test) == [ids(train, text) for text in test]


def test_ag_news_reads_title_and_description(root):
    data = ag_news(root)
    texts = [f'Title {c} A "quoted" word, and more' for c in (1, 2, 3, 4)]
    assert rows(data.x_train) == [ids(texts, text) for text in texts]
    assert data.y_train.tolist() == [0, 1, 2, 3]
    assert data.y_test.tolist() == [3, 2, 1, 0] * 6


def test_the_small_ag_news_does_with_the_test_articles(root):
    (root / "text" / "ag_news" / "train.csv").unlink()
    data = ag_news_small(root)
    assert data.y_train.tolist() == [3, 2, 1, 0] * 4
    assert data.y_test.tolist() == [3, 2, 1, 0] * 2
    assert tensor_stream("ag-news-small", data_root=root).n_classes == 4


@EVERY
def test_texts_may_be_cut_and_have_another_tokenizer(root, source):
    data = source(root, length=2, tokenizer=Words(["a", "what"]))
    assert data.x_train.shape[1] == 2
    assert data.vocabulary == 4


@EVERY
def test_missing_files_are_named_and_where_to_get_them(tmp_path, source):
    with pytest.raises(DataError, match="received none") as error:
        source(tmp_path)
    assert str(tmp_path / "text") in error.value.what
    assert "Get it from" in error.value.fix
    assert "--data-root" in error.value.fix


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sst2/train.tsv", "sentence\tlabel\n"),
        ("sst2/train.tsv", "no tab\n"),
        ("trec/train_5500.label", "COLOUR:red What ?\n"),
        ("trec/train_5500.label", "NUM\n"),
        ("subj/subjective.txt", "\n"),
        ("ag_news/test.csv", '"1","Title only"\n'),
        ("ag_news/test.csv", '"5","Title","Text"\n'),
    ],
)
def test_other_files_are_refused_by_their_path(root, name, content):
    file = root / "text" / name
    file.write_text(content)
    source = ag_news if name.startswith("ag_news") else SOURCES[name.split("/")[0]]
    with pytest.raises(DataError) as error:
        source(root)
    assert str(file) in error.value.what
    assert "Get it anew" in error.value.fix


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_a_benchmark_of_one_experience(root, name):
    stream = tensor_stream(name, data_root=root)
    assert len(stream.train) == 1
    assert stream.vocabulary > 2
    assert len(tensor_stream(name, n_experiences=2, data_root=root).train) == 2
    assert name in BENCHMARKS


@pytest.mark.parametrize("recipe", ["er", "self-distillation"])
def test_class_incremental_texts_are_trained_on(root, recipe):
    result = run(
        plan("ag-news-small", recipe, seed=0, memory_size=8, n_experiences=2, epochs=2, batch_size=4), data_root=root
    )
    assert result.matrix.values.shape == (2, 2)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "n_train", "n_test", "counts"),
    [
        ("sst2", 6920, 1821, [3310, 3610]),
        ("trec", 5452, 500, [86, 1162, 1250, 1223, 835, 896]),
        ("subj", 9000, 1000, [4500, 4500]),
        ("ag-news-small", 6080, 1520, [1520] * 4),
    ],
)
def test_the_real_data_is_whole(name, n_train, n_test, counts):
    root = os.environ.get("CKD_DATA_ROOT")
    if not root or not (Path(root) / "text").is_dir():
        pytest.skip("CKD_DATA_ROOT names no folder with the real data sets")
    data = SOURCES[name](root)
    assert (len(data.x_train), len(data.x_test)) == (n_train, n_test)
    assert data.y_train.bincount().tolist() == counts
    assert data.x_train.any(1).all()
