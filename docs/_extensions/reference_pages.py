"""The reference: a page for each package, with every public name; a name without a docstring fails the build."""

import functools
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

import ckd

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
    "Where it runs": ["ckd.engine", "ckd.plugins", "ckd.part"],
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
    """The page of one package, as reStructuredText."""
    module = importlib.import_module(path)
    lines = [path, "=" * len(path), "", f".. automodule:: {path}", "   :no-members:", ""]
    names = public(module)
    elsewhere = {n: getattr(module, n).__module__ for n in names} if path == "ckd" else {}
    kinds = {
        "Classes": [n for n in names if inspect.isclass(getattr(module, n))],
        "Functions": [n for n in names if inspect.isfunction(getattr(module, n))],
        "Values": [n for n in names if not _is_code(getattr(module, n))],
    }
    for kind, members in kinds.items():
        if not members:
            continue
        lines += [kind, "-" * len(kind), "", ".. list-table::", "   :class: names", "   :widths: 30 70", ""]
        for name in members:
            home = f"{ckd._HOME[name]}.{name}" if name in ckd._HOME and elsewhere else f"{path}.{name}"
            home = "ckd.errors.CkdError" if home == "ckd.CkdError" else home
            lines += [f"   * - :py:obj:`{name} <{home}>`", f"     - {_first_sentence(module, name)}"]
        lines.append("")
        for name in members if not elsewhere else []:
            lines += _entry(module, path, name, kind)
    return "\n".join(lines)


def _entry(module, path, name, kind):
    if kind == "Functions":
        return [f".. autofunction:: {path}.{name}", ""]
    value = getattr(module, name)
    if kind == "Classes" and value.__name__ != name:  # autodoc would only say what it is an alias of
        doc = GoogleDocstring(inspect.getdoc(value), _NAPOLEON).lines()
        signature = str(inspect.signature(value)).replace("'", "").replace(" -> None", "")
        return [f".. py:class:: {path}.{name}{signature}", "", *(f"   {line}" for line in doc), ""]
    if kind == "Classes" and issubclass(value, Exception):
        return [f".. autoexception:: {path}.{name}()", "   :members:", ""]
    if kind == "Classes":
        return [f".. autoclass:: {path}.{name}", "   :members:", ""]
    return [f".. py:data:: {path}.{name}", "", *(f"   {line}" for line in _value_docstrings()[name]), ""]


def command_line():
    """The page of the `ckd` command: its own help texts."""
    from ckd.cli import parser

    top = parser()
    commands = next(a for a in top._actions if hasattr(a, "choices") and isinstance(a.choices, dict)).choices
    lines = ["The ckd command", "===============", "", "What ``ckd --help`` and ``ckd COMMAND --help`` print.", ""]
    for title, text in {"ckd": top.format_help(), **{f"ckd {n}": c.format_help() for n, c in commands.items()}}.items():
        lines += [title, "-" * len(title), "", ".. code-block:: text", "", *(f"   {line}" for line in text.split("\n")), ""]
    return "\n".join(lines)


def write(app):
    """Write the pages beside the others.

    Raises:
        ExtensionError: a public name without a docstring, or a package that no group of the reference holds.
    """
    packages = [m.name for m in pkgutil.iter_modules(ckd.__path__, "ckd.") if m.ispkg]
    known = {path for group in GROUPS.values() for path in group} | WITHIN_OTHERS
    missing = sorted(set(packages) - known)
    bare = [
        f"{path}.{name}"
        for path in sorted(known - WITHIN_OTHERS - {"ckd"})
        for name in undocumented(importlib.import_module(path))
    ]
    if missing or bare:
        raise ExtensionError(f"public names without a docstring: {bare}; packages without a page: {missing}")
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    index = ["Reference", "=========", "", "Every public name, from its docstring.", ""]
    for title, paths in GROUPS.items():
        index += [title, "-" * len(title), "", ".. toctree::", "   :maxdepth: 1", "", *(f"   {p}" for p in paths), ""]
        if title == "Where it runs":
            index.insert(-1, "   The ckd command <command>")
        for path in paths:
            _replace(folder / f"{path}.rst", page(path))
    _replace(folder / "command.rst", command_line())
    _replace(folder / "index.rst", "\n".join(index))


def _replace(file, text):
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


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
