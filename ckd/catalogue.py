"""What there is to choose from, read from the source: to import the registries takes seconds, as they need PyTorch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class RecipeEntry:
    """What `@recipe` and the function below it say; the attributes are those of `ckd.recipes.Recipe`."""

    name: str
    summary: str
    paper: str
    stores: str
    defaults: dict[str, Any]


@dataclass(frozen=True)
class BenchmarkEntry:
    """A benchmark without its data; the attributes are those of `ckd.data.registry.Benchmark`."""

    name: str
    summary: str
    n_experiences: int


def recipes() -> list[RecipeEntry]:
    """The recipes in `ckd/recipes/`, by file name."""
    files = sorted((PACKAGE / "recipes").glob("*.py"), key=lambda file: file.stem)
    return [entry for file in files for entry in _recipes(file)]


def benchmarks() -> list[BenchmarkEntry]:
    """The benchmarks in `ckd/data/registry.py`, as they stand there."""
    calls = [node for node in ast.walk(_assigned("BENCHMARKS", "data/registry.py")) if isinstance(node, ast.Call)]
    return [BenchmarkEntry(*map(_literal, call.args[:3])) for call in calls]


def networks() -> list[str]:
    """The names of the networks in `ckd/bench/networks.py`, as they stand there."""
    table = _assigned("NETWORKS", "bench/networks.py")
    return [_literal(node) for node in ast.walk(table) if isinstance(node, ast.Constant)]


def _recipes(file: Path) -> Iterator[RecipeEntry]:
    for build in (statement for statement in _statements(file) if isinstance(statement, ast.FunctionDef)):
        for decorator in build.decorator_list:
            match decorator:
                case ast.Call(func=ast.Name("recipe"), args=[name], keywords=keywords):
                    said = {keyword.arg: _literal(keyword.value) for keyword in keywords}
                    summary = (ast.get_docstring(build) or "").split("\n")[0]
                    yield RecipeEntry(_literal(name), summary, said["paper"], said["stores"], _defaults(build.args))


def _defaults(arguments: ast.arguments) -> dict[str, Any]:
    """By name; the registry sees to it that every argument has one."""
    names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
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
