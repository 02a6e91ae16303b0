"""The code of the documentation's pages, taken from the pages themselves."""

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(
    r"^```(?:(?P<kind>\w+)|\{code-block\} (?P<directive>\w+)\n:caption: (?P<file>\S+)\n)\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_NUMBER = r"-?\d+(?:[.,]\d+)*"


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Attributes:
        kind: python, console, text or another language.
        body: its lines.
        file: the name of the file that it is, where it is one.
        line: of the page, where it begins.
    """

    kind: str
    body: str
    file: str
    line: int


def pages():
    """Every page that people wrote, by name."""
    generated = ("recipes", "reference")
    return sorted(p for p in DOCS.rglob("*.md") if p.relative_to(DOCS).parts[0] not in generated)


def blocks(page):
    """The blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        kind = match["kind"] or match["directive"]
        yield Block(kind, match["body"], match["file"] or "", text.count("\n", 0, match.start()) + 1)


def alike(printed, shown):
    """Whether `printed` is what a page shows: the same words and digits, and numbers that differ by a tenth or so.

    An ellipsis (…) on the page stands for anything. A single digit, such as a seed, must be the same; of longer numbers
    rounding and other versions of PyTorch change some digits, no more.
    """
    pattern, numbers = "", []
    printed, shown = (re.sub("─+", "─", " ".join(text.split())) for text in (printed, shown))
    for piece in re.split(rf"({_NUMBER}|…)", shown):
        if piece == "…":
            pattern += ".*?"
        elif re.fullmatch(_NUMBER, piece) and len(piece) > 1:
            pattern += f"({_NUMBER})"
            numbers.append(piece)
        else:
            pattern += re.escape(piece).replace(r"\ ", r"\s*")
    found = re.fullmatch(pattern, printed)
    return found is not None and all(_near(a, b) for a, b in zip(found.groups(), numbers, strict=True))


def _near(one, other):
    one, other = (float(n.replace(",", "")) for n in (one, other))
    fractions = max(abs(one), abs(other)) <= 1
    return abs(one - other) <= max(0.1 * abs(other), 0.07 if fractions else 3)
