"""What benchmarks/results says about each recipe: the rows of the tables that are listed here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        file: in benchmarks/results.
        heading: the line above it, or how that begins.
        data: what the numbers are of; `short` the same for a card.
        column: header of the accuracy.
    """

    file: str
    heading: str
    data: str
    short: str
    column: str = "class-incremental"


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


TABLES = (
    Table("permuted_mnist.md", "# Permuted MNIST", "Permuted MNIST, 20 experiences", "permuted MNIST", "accuracy"),
    Table("ballast.md", "## Split CIFAR-10", "Split CIFAR-10, class-incremental", "split CIFAR-10"),
    Table("split_mnist.md", "# Split MNIST", "Split MNIST, class-incremental", "split MNIST"),
    Table(
        "split_cifar10.md",
        "# Split CIFAR-10",
        "Split CIFAR-10, small convnet, 3 epochs, class-incremental",
        "split CIFAR-10",
    ),
    Table("distillation.md", "## CIFAR-10", "CIFAR-10, 500 images a class, to tiny-resnet", "CIFAR-10", "accuracy"),
)


def read(folder):
    """For each recipe, what was measured, in the order of `TABLES`."""
    found = {}
    for table in TABLES:
        for row in _rows((folder / table.file).read_text(encoding="utf-8"), table):
            name, _, setting = (row.get("recipe") or row["method"]).replace("**", "").partition(", ")
            remembers = row.get("state (kB)") not in ("0", "all data", None)
            measured = Measured(
                f"{table.data} ({setting})" if setting else table.data,
                table.short,
                row.get("memory", "200" if remembers and name != "ewc" else ""),
                row[table.column],
                row.get("forgetting", ""),
                row.get("published", ""),
                table.file,
            )
            found.setdefault(name, []).append(measured)
    return found


def _rows(text, table):
    """The rows of the first table below the heading that has the column, a dictionary each.

    Raises:
        LookupError: there is none.
    """
    lines = text.split("\n")
    start = next((i for i, line in enumerate(lines) if line.startswith(table.heading)), len(lines))
    header = next((i for i in range(start, len(lines)) if table.column in _cells(lines[i])), None)
    if header is None:
        raise LookupError(f"{table.file} has no table with {table.column!r} below {table.heading!r}")
    names = _cells(lines[header])
    for line in lines[header + 2 :]:
        if not line.startswith("|"):
            return
        yield dict(zip(names, _cells(line), strict=True))


def _cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
