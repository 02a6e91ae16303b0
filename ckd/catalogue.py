"""What there is to choose from, read from the source: to import the registries takes seconds, as they need PyTorch."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class RecipeEntry:
    """What `@recipe` and the function below it say; the attributes are those of `ckd.recipes.Recipe`."""

    name: str
    summary: str
    paper: str = ""
    stores: str = ""
    cost: str = ""
    use: str = ""
    teacher: str = ""
    defaults: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkEntry:
    """A benchmark without its data; the attributes are those of `ckd.data.registry.Benchmark`.

    `n_experiences` is 0 where the benchmark decides when it is made.
    """

    name: str
    summary: str
    n_experiences: int


def recipes() -> list[RecipeEntry]:
    """The recipes in `ckd/recipes/`, by file name, then those of other packages' entry points."""
    files = sorted((PACKAGE / "recipes").glob("*.py"), key=lambda file: file.stem)
    elsewhere = (RecipeEntry(name, summary, defaults=given) for name, summary, given in _elsewhere("ckd.recipes"))
    return [*(entry for file in files for entry in _recipes(file)), *elsewhere]


def _elsewhere(group: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, summary and defaults of the functions of entry points, read from their source without importing it."""
    for point in importlib.metadata.entry_points(group=group):
        module, _, function = point.value.partition(":")
        try:
            spec = importlib.util.find_spec(module)
        except ImportError:
            spec = None
        file = None if spec is None or spec.origin is None else Path(spec.origin)
        builds = [] if file is None else [s for s in _statements(file) if isinstance(s, ast.FunctionDef)]
        build = next((b for b in builds if b.name == function), None)
        summary = f"from {module}" if build is None else (ast.get_docstring(build) or f"from {module}").split("\n")[0]
        yield point.name, summary, {} if build is None else _defaults(build.args)


def benchmarks() -> list[BenchmarkEntry]:
    """The benchmarks in `ckd/data/registry.py`, as they stand there, then those of other packages' entry points."""
    calls = [node for node in ast.walk(_assigned("BENCHMARKS", "data/registry.py")) if isinstance(node, ast.Call)]
    own = [BenchmarkEntry(*map(_literal, call.args[:3])) for call in calls]
    return [*own, *(BenchmarkEntry(*entry[:2], _count(entry[2])) for entry in _elsewhere("ckd.benchmarks"))]


def _count(defaults: dict[str, Any]) -> int:
    """The default number of experiences; 0 where there is none."""
    n = defaults.get("n_experiences")
    return n if isinstance(n, int) else 0


def networks() -> list[str]:
    """The names of the networks in `ckd/networks/registry.py`, as they stand there."""
    table = _assigned("NETWORKS", "networks/registry.py")
    return [_literal(node) for node in ast.walk(table) if isinstance(node, ast.Constant)]


def _recipes(file: Path) -> Iterator[RecipeEntry]:
    for build in (statement for statement in _statements(file) if isinstance(statement, ast.FunctionDef)):
        for decorator in build.decorator_list:
            match decorator:
                case ast.Call(func=ast.Name("recipe"), args=[name], keywords=keywords):
                    said = {keyword.arg: _literal(keyword.value) for keyword in keywords if keyword.arg != "strategy"}
                    summary = (ast.get_docstring(build) or "").split("\n")[0]
                    yield RecipeEntry(_literal(name), summary, defaults=_defaults(build.args), **said)  # type: ignore[arg-type]


def _defaults(arguments: ast.arguments) -> dict[str, Any]:
    """By name; the registry sees to it that every argument but a teacher has one."""
    names = [n for n in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if n.arg != "teacher"]
    values = [*arguments.defaults, *arguments.kw_defaults]
    return {name.arg: _literal(value) for name, value in zip(names, values, strict=True) if value is not None}


def _literal(node: ast.expr) -> Any:
    """The value, or the source of what is not a literal."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _assigned(name: str, file: str) -> ast.expr:
    """What `file` assigns to `name: type = ...`."""
    for statement in _statements(PACKAGE / file):
        match statement:
            case ast.AnnAssign(target=ast.Name(id), value=ast.expr() as value) if id == name:
                return value
    raise LookupError(f"{name} in {file}")


def _statements(file: Path) -> list[ast.stmt]:
    return ast.parse(file.read_text(encoding="utf-8")).body
