"""What benchmarks/results says about each recipe: the rows of the tables that are listed here."""

from dataclasses import dataclass

TABLES = (
    # file, heading above the table, data, short name, the header of the accuracy
    ("permuted_mnist.md", "# Permuted MNIST", "Permuted MNIST, 20 experiences", "permuted MNIST", "accuracy", ()),
    ("ballast.md", "## Split CIFAR-10 at CPU scale", "Split CIFAR-10, class-incremental", "split CIFAR-10", "class-incremental", ()),
    ("ballast.md", "## Split MNIST", "Split MNIST, class-incremental", "split MNIST", "class-incremental", ("ser", "mean-er", "cls-er")),
    (
        "split_mnist.md",
        "# Split MNIST",
        "Split MNIST, class-incremental",
        "split MNIST",
        "class-incremental",
        ("self-distillation",),  # the table is older than what the recipe is now
    ),
    (
        "split_cifar10.md",
        "# Split CIFAR-10",
        "Split CIFAR-10, small convnet, 3 epochs, class-incremental",
        "split CIFAR-10",
        "class-incremental",
        (),
    ),
    ("distillation.md", "## CIFAR-10", "CIFAR-10, 500 images a class, into tiny-resnet", "CIFAR-10", "accuracy", ()),
)


@dataclass(frozen=True)
class Measured:
    """One row of a table."""

    data: str
    short: str
    memory: str
    accuracy: str
    forgetting: str
    published: str
    file: str


def read(folder):
    """For each recipe, what was measured, in the order of `TABLES`."""
    found = {}
    for file, heading, data, short, column, left_out in TABLES:
        for row in _table((folder / file).read_text(encoding="utf-8"), heading, column):
            name, _, setting = (row.get("recipe") or row["method"]).replace("**", "").partition(", ")
            if name in left_out:
                continue
            memory = row.get("memory", "200" if row.get("state (kB)") not in ("0", "all data", None) else "")
            told = f"{data} ({setting})" if setting else data
            found.setdefault(name, []).append(
                Measured(
                    told,
                    short,
                    memory,
                    row[column],
                    row.get("forgetting", ""),
                    row.get("published", ""),
                    file,
                )
            )
    return found


def _table(text, heading, column):
    """The first table below the heading that has the column, a dictionary a row.

    Raises:
        LookupError: there is none.
    """
    lines = text.split("\n")
    start = next((i for i, line in enumerate(lines) if line.startswith(heading)), None)
    header = next((i for i in range(start or 0, len(lines)) if lines[i].startswith("|") and column in lines[i]), None)
    if start is None or header is None:
        raise LookupError(f"no table with {column!r} below {heading!r}")
    names = _cells(lines[header])
    for line in lines[header + 2 :]:
        if not line.startswith("|"):
            return
        yield dict(zip(names, _cells(line), strict=True))


def _cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
