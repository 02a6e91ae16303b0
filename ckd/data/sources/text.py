"""Classified texts, from the files as they are published: SST-2, TREC, Subj and AG News.

They lie under `text` in the data root, and are not downloaded. Each function takes `data_root` (`~/.cache/ckd` unless
given), and `tokenizer` and `length` as `text_arrays` does; each raises a DataError for files that are not there or
cannot be read, which says where to get them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from ckd.data.arrays import Arrays
from ckd.data.sources.root import resolve
from ckd.data.text import Tokenizer, text_arrays
from ckd.errors import DataError

Samples = tuple[list[str], list[int]]
"""Texts and their labels."""

Root = str | Path | None

TREC = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
"""Abbreviation, description, entity, human, location, number."""


def sst2(data_root: Root = None, *, tokenizer: Tokenizer | None = None, length: int = 64) -> Arrays:
    """Sentences of film reviews, negative or positive: 6,920 to train and 1,821 to test (Socher et al. 2013).

    Reads `sst2/train.tsv` and `sst2/test.tsv`: sentence, tab, 0 or 1.
    """
    origin = "github.com/clairett/pytorch-sentiment-classification"
    train, test = (_read(data_root, f"sst2/{name}.tsv", origin, _sst2) for name in ("train", "test"))
    return text_arrays(*train, *test, tokenizer=tokenizer, length=length)


def trec(data_root: Root = None, *, tokenizer: Tokenizer | None = None, length: int = 64) -> Arrays:
    """Questions by what they ask for, 6 classes: 5,452 to train and 500 to test (Li & Roth 2002).

    Reads `trec/train_5500.label` and `trec/TREC_10.label`: class, colon, finer class, space, question.
    """
    origin = "cogcomp.seas.upenn.edu/Data/QA/QC"
    train, test = (_read(data_root, f"trec/{name}.label", origin, _trec) for name in ("train_5500", "TREC_10"))
    return text_arrays(*train, *test, tokenizer=tokenizer, length=length)


def subj(data_root: Root = None, *, tokenizer: Tokenizer | None = None, length: int = 64) -> Arrays:
    """Sentences about films, objective (0) or subjective (1), 5,000 each (Pang & Lee 2004, arXiv:cs/0409058).

    Every tenth of a class is for testing; published accuracies are means over ten such cuts. Reads
    `subj/objective.txt` and `subj/subjective.txt`, which are published as plot.tok.gt9.5000 and quote.tok.gt9.5000.
    """
    origin = "rotten_imdb.tar.gz of www.cs.cornell.edu/people/pabo/movie-review-data"
    objective, _ = _read(data_root, "subj/objective.txt", origin, _lines)
    subjective, _ = _read(data_root, "subj/subjective.txt", origin, _lines)
    labels = [0] * len(objective) + [1] * len(subjective)
    train, test = _cut((objective + subjective, labels), 10)
    return text_arrays(*train, *test, tokenizer=tokenizer, length=length)


def ag_news(data_root: Root = None, *, tokenizer: Tokenizer | None = None, length: int = 64) -> Arrays:
    """News of the world, sports, business and science: 120,000 articles to train and 7,600 to test.

    Zhang, Zhao & LeCun 2015, arXiv:1509.01626. Reads `ag_news/train.csv` and `ag_news/test.csv`: class from 1, title,
    description.
    """
    train, test = (_read(data_root, f"ag_news/{name}.csv", AG_NEWS, _ag_news) for name in ("train", "test"))
    return text_arrays(*train, *test, tokenizer=tokenizer, length=length)


def ag_news_small(data_root: Root = None, *, tokenizer: Tokenizer | None = None, length: int = 64) -> Arrays:
    """The 7,600 test articles of AG News alone: every fifth of a class is for testing, the others to train.

    Reads `ag_news/test.csv`.
    """
    train, test = _cut(_read(data_root, "ag_news/test.csv", AG_NEWS, _ag_news), 5)
    return text_arrays(*train, *test, tokenizer=tokenizer, length=length)


AG_NEWS = "github.com/mhjabreel/CharCnn_Keras/tree/master/data"


def _read(data_root: Root, name: str, origin: str, parse: Callable[[str], Samples]) -> Samples:
    file = resolve(data_root) / "text" / name
    try:
        text = file.read_text(encoding="latin-1" if name.startswith("trec") else "utf-8")
        found = parse(text)
    except FileNotFoundError as error:
        fix = f"Get it from {origin}, or name the folder that holds text/{name} with --data-root (data_root=...)."
        raise DataError(f"file {file}", expected="the published file", received="none", fix=fix) from error
    except (OSError, ValueError, LookupError, csv.Error) as error:
        fix = f"Get it anew from {origin}."
        raise DataError(f"file {file}", expected="a file as published", received=repr(error), fix=fix) from error
    if not found[0]:
        raise DataError(f"file {file}", expected="samples", received="none", fix=f"Get it anew from {origin}.")
    return found


def _sst2(text: str) -> Samples:
    rows = [line.rsplit("\t", 1) for line in text.splitlines() if line]
    return [sentence for sentence, _ in rows], [("0", "1").index(label) for _, label in rows]


def _trec(text: str) -> Samples:
    rows = [line.split(" ", 1) for line in text.splitlines() if line]
    return [question for _, question in rows], [TREC.index(label.split(":")[0]) for label, _ in rows]


def _lines(text: str) -> Samples:
    sentences = [line.strip() for line in text.splitlines() if line.strip()]
    return sentences, []


def _ag_news(text: str) -> Samples:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    texts = [f"{title} {description}".replace("\\", " ") for _, title, description in rows]
    return texts, [("1", "2", "3", "4").index(label) for label, _, _ in rows]


def _cut(samples: Samples, every: int) -> tuple[Samples, Samples]:
    """Those to train and those to test: of each class every so many-th, from the first on."""
    parts: tuple[Samples, Samples] = ([], []), ([], [])
    seen: dict[int, int] = {}
    for text, label in zip(*samples, strict=True):
        seen[label] = seen.get(label, -1) + 1
        texts, labels = parts[seen[label] % every == 0]
        texts.append(text)
        labels.append(label)
    return parts
