"""What the suites that wrote results say of them: published numbers, and the method to test against."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ckd.bench.result import UNREADABLE
from ckd.bench.suite_file import SUITE
from ckd.report.results import Run


@dataclass(frozen=True)
class Suites:
    """Of all folders together.

    Attributes:
        title: of the suites.
        published: accuracies in percent, by (benchmark, recipe, memory size).
        source: where they are from.
        against: the method to test against; None if the suites do not agree on one.
    """

    title: str = "Results"
    published: Mapping[tuple[str, str, int], float] = field(default_factory=dict)
    source: str = ""
    against: str | None = None

    def published_of(self, methods: Mapping[str, Sequence[Run]]) -> dict[tuple[str, int], float]:
        """Those of one benchmark, by (recipe, memory size)."""
        name = next(iter(methods.values()))[0].result.spec.benchmark
        return {(recipe, size): value for (of, recipe, size), value in self.published.items() if of == name}


def load_suites(folders: Sequence[str | Path]) -> Suites:
    """Read every suite.json below the folders; what cannot be read says nothing."""
    titles: list[str] = []
    sources: list[str] = []
    rivals: set[str | None] = set()
    published: dict[tuple[str, str, int], float] = {}
    for file in (file for folder in folders for file in sorted(Path(folder).rglob(SUITE))):
        try:
            content = json.loads(file.read_text())
            numbers = [
                ((str(benchmark), str(recipe), int(size)), float(percent))
                for benchmark in content["benchmarks"]
                for recipe, size, percent in content["published"]
            ]
            title, source, against = str(content["title"]), str(content["source"]), content["against"]
        except UNREADABLE:
            continue
        published |= dict(numbers)
        titles.append(title)
        sources += [source] if source else []
        rivals.add(None if against is None else str(against))
    return Suites(
        "; ".join(dict.fromkeys(titles)) or "Results",
        published,
        "; ".join(dict.fromkeys(sources)),
        rivals.pop() if len(rivals) == 1 else None,
    )
