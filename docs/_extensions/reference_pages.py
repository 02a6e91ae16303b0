"""The reference: a page for each package, with every public name; a name without a docstring fails the build."""

import functools
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import rst
from sphinx.errors import ExtensionError
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

import ckd
from ckd.cli import parser

GROUPS = {
    "Start here": ["ckd"],
    "What a method is made of": [
        "ckd.objective",
        "ckd.recipes",
        "ckd.losses",
        "ckd.teachers",
        "ckd.memory",
        "ckd.views",
        "ckd.heads",
        "ckd.anchors",
        "ckd.pruning",
    ],
    "Where it runs": ["ckd.engine", "ckd.plugins", "ckd.checkpoint", "ckd.part"],
    "Data, results, files": [
        "ckd.data",
        "ckd.evaluation",
        "ckd.networks",
        "ckd.deploy",
        "ckd.bench",
        "ckd.report",
        "ckd.errors",
    ],
}
WITHIN_OTHERS = {"ckd.cli", "ckd.data.sources", "ckd.data.streams", "ckd.objective.targets", "ckd.report.figures"}
"""Packages with public names for other packages of ckd; what users need of them is exported a level above."""

_NAPOLEON = Config(napoleon_use_ivar=True, napoleon_use_rtype=False)


def public(module):
    """Names that a module offers: its `__all__`, else the classes and functions that it defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__]
    return sorted((n for n in own if not n.startswith("_") and _is_code(getattr(module, n))), key=str.lower)


def _is_code(value):
    return inspect.isclass(value) or inspect.isfunction(value)


@functools.cache
def _value_docstrings():
    """The docstring below each assignment of a module, by name."""
    found = {}
    for path in sorted(m.name for m in pkgutil.walk_packages(ckd.__path__, "ckd.")):
        analyzer = ModuleAnalyzer.for_module(path)
        analyzer.analyze()
        found |= {name: doc for (owner, name), doc in analyzer.attr_docs.items() if not owner}
    return found


def undocumented(module):
    """Public names without a docstring, and public methods and properties without one."""
    for name in public(module):
        value = getattr(module, name)
        if not _is_code(value):
            if name not in _value_docstrings():
                yield name
        elif not _has_docstring(value):
            yield name
        elif inspect.isclass(value):
            for member, what in vars(value).items():
                function = getattr(what, "__func__", getattr(what, "fget", what))
                named = inspect.isfunction(function) and function.__name__ == member  # no lambda as a default
                if named and not member.startswith("_") and not inspect.getdoc(what):
                    yield f"{name}.{member}"


def _has_docstring(value):
    own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    return bool(own) and not own.startswith(f"{value.__name__}(")  # what dataclass writes


def _first_sentence(module, name):
    value = getattr(module, name)
    doc = (inspect.getdoc(value) or "") if _is_code(value) else "\n".join(_value_docstrings()[name])
    return " ".join(doc.strip().split("\n\n")[0].split("\n"))


def page(path):
    """The lines of the page of one package."""
    module = importlib.import_module(path)
    lines = [*rst.heading(path, "="), f".. automodule:: {path}", "   :no-members:", ""]
    names = public(module)
    kinds = {
        "Classes": [name for name in names if inspect.isclass(getattr(module, name))],
        "Functions": [name for name in names if inspect.isfunction(getattr(module, name))],
        "Values": [name for name in names if not _is_code(getattr(module, name))],
    }
    for kind, members in kinds.items():
        if members:
            rows = [(f":py:obj:`{name} <{_home(path, name)}>`", _first_sentence(module, name)) for name in members]
            lines += [*rst.heading(kind, "-"), *rst.table(rows, "names", widths="30 70")]
        for name in members if path != "ckd" else []:  # those of ckd itself are documented at home
            lines += [*_entry(path, name, getattr(module, name)), ""]
    return lines


def _home(path, name):
    """Where the name is documented."""
    if path == "ckd":
        path = ckd._HOME.get(name, "ckd.errors")
    return f"{path}.{name}"


def _entry(path, name, value):
    if inspect.isfunction(value):
        return [f".. autofunction:: {path}.{name}"]
    if not inspect.isclass(value):
        return [f".. py:data:: {name}", "", *(f"   {line}" for line in _value_docstrings()[name])]
    if value.__name__ != name:  # autodoc would only say what it is an alias of
        doc = GoogleDocstring(inspect.getdoc(value), _NAPOLEON).lines()
        signature = str(inspect.signature(value)).replace("'", "").replace(" -> None", "")
        return [f".. py:class:: {name}{signature}", "", *(f"   {line}" for line in doc)]
    if issubclass(value, Exception):
        return [f".. autoexception:: {path}.{name}()", "   :members:"]
    return [f".. autoclass:: {path}.{name}", "   :members:"]


def command_line():
    """The lines of the page of the `ckd` command: its own help texts."""
    top = parser()
    commands = next(action for action in top._actions if isinstance(action.choices, dict)).choices
    helps = {"ckd": top.format_help(), **{f"ckd {name}": each.format_help() for name, each in commands.items()}}
    lines = [*rst.heading("The ckd command", "="), "What ``ckd --help`` and ``ckd COMMAND --help`` print.", ""]
    for title, text in helps.items():
        lines += [*rst.heading(title, "-"), *rst.code("text", text.rstrip().split("\n"))]
    return lines


def write(app):
    """Write the pages beside the others.

    Raises:
        ExtensionError: a public name without a docstring, or a package that no group of the reference holds.
    """
    packages = {module.name for module in pkgutil.iter_modules(ckd.__path__, "ckd.") if module.ispkg}
    known = {path for group in GROUPS.values() for path in group}
    missing = sorted(packages - known - WITHIN_OTHERS)
    bare = [
        f"{path}.{name}" for path in sorted(known - {"ckd"}) for name in undocumented(importlib.import_module(path))
    ]
    if missing or bare:
        raise ExtensionError(f"public names without a docstring: {bare}; packages without a page: {missing}")
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    index = [*rst.heading("Reference", "="), "Every public name, from its docstring.", ""]
    for title, paths in GROUPS.items():
        index += [*rst.heading(title, "-"), ".. toctree::", "   :maxdepth: 1", "", *(f"   {path}" for path in paths)]
        index += ["   command", ""] if "ckd.engine" in paths else [""]
        for path in paths:
            rst.write(folder / f"{path}.rst", page(path))
    rst.write(folder / "command.rst", command_line())
    rst.write(folder / "index.rst", index)


def _signature(app, what, name, obj, options, signature, returns):
    """A protocol has no constructor of its own."""
    if what == "exception" or (what == "class" and getattr(obj, "_is_protocol", False)):
        return "", None
    return signature, returns


def _plain_bars(app, what, name, obj, options, lines):
    """|x| is a magnitude here, not a substitution of reStructuredText."""
    lines[:] = [line if ">>>" in line else re.sub(r"\|(\w+)\|", r"\\|\1\\|", line) for line in lines]


def setup(app):
    """Write the reference before the pages are read."""
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", _plain_bars)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True}
