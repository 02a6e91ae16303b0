"""`ckd report`: everything from folders of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from ckd.bench.result import writable_error
from ckd.errors import ConfigError, DataError, UnknownNameError
from ckd.report.across import across
from ckd.report.page import page, write_figures
from ckd.report.results import Results, load_results
from ckd.report.suites import load_suites
from ckd.report.summary import summarise
from ckd.report.tables import write_tables


def write_report(
    folders: Sequence[str | Path],
    out: str | Path | None = "report.html",
    *,
    tables: str | Path | None = None,
    figures: str | Path | None = None,
    only: Sequence[str] = (),
    against: str | None = None,
    title: str = "",
) -> Results:
    """Read the results below `folders` and write a page, tables and figures of them.

    Args:
        folders: output folders of `ckd run` and `ckd bench`.
        out: the page to write; None for no page.
        tables: a folder for the tables as CSV, Markdown and LaTeX.
        figures: a folder for the figures as PNG and SVG.
        only: methods to report, as patterns such as "der*"; all if there are none.
        against: a method or recipe that the others are tested against; the best if it is None.
        title: of the page; the suite's if it is empty.

    Returns:
        What was found, with what was left out and why.

    Raises:
        DataError: no results, a folder that is not there, or that cannot be written.
        UnknownNameError: no method that a pattern or `against` names.
        ConfigError: `against` names a reference, such as joint.
    """
    results = load_results(*folders)
    if not results.found:
        reasons = "; ".join(f"{left.file}: {left.reason}" for left in results.left_out[:3])
        raise DataError(
            f"results in {', '.join(map(str, folders))}",
            expected="a result.json that can be read",
            received=reasons or "none",
            fix="Run `ckd run` first, or name the folder it wrote.",
        )
    if only:
        results = _chosen(results, only)
    if against is not None:
        named = [run for run in results.found if against in (run.method, run.result.spec.recipe)]
        if not named:
            known = {name for run in results.found for name in (run.method, run.result.spec.recipe)}
            raise UnknownNameError.of("method", against, known)
        if all(run.reference for run in named):
            received, fix = f"{against}, which sees all data", "Name another, or leave it out for the best."
            raise ConfigError("method to test against", expected="one that is no reference", received=received, fix=fix)
    suites = load_suites(folders)
    summaries = [
        summarise(name, methods, against=against or suites.against, published=suites.published_of(methods))
        for name, methods in results.benchmarks().items()
    ]
    together = across(summaries)
    try:
        if tables is not None:
            write_tables(summaries, Path(tables))
        if figures is not None:
            write_figures(summaries, Path(figures), together)
        if out is not None:
            text = page(
                results, summaries, title=title or suites.title, folders=folders, across=together, source=suites.source
            )
            Path(out).parent.mkdir(parents=True, exist_ok=True)
            Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise writable_error(Path(error.filename or str(out)), error) from error
    return results


def _chosen(results: Results, patterns: Sequence[str]) -> Results:
    """The results of the methods, or recipes, that a pattern fits."""
    found = []
    for pattern in patterns:
        fits = [r for r in results.found if any(fnmatchcase(n, pattern) for n in (r.method, r.result.spec.recipe))]
        if not fits:
            raise UnknownNameError.of("method", pattern, {run.method for run in results.found})
        found += [run for run in fits if run not in found]
    return replace(results, found=tuple(run for run in results.found if run in found))
