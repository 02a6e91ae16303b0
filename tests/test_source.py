"""What the source must not say: who calls networks, who knows kinds of terms, who imports whom."""

import ast
import graphlib
from pathlib import Path

import pytest

import ckd

PACKAGE = Path(ckd.__file__).parent
PLUGINS = sorted((PACKAGE / "plugins").glob("*.py"))

NETWORKS = {"model", "_model", "student", "_student", "teacher", "network", "net", "module", "_module", "compiled"}
FORWARD = {"forward", "call", "collect", "find_head"}
"""Methods and functions of `ckd.outputs` that show a network its inputs."""

OWN_CALL = {"compiled.py", "mixed_precision.py"}
"""Plugins that take part in a model's own call: compiled, or under autocast."""


def forward_passes(source):
    """Lines that call a network."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and _is_network(node)]


def _is_network(call):
    match call.func:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name in FORWARD or (name in NETWORKS and bool(call.args))
        case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name)):
            return name.endswith("model")  # engine.evaluation_model(student)(inputs)
    return False


@pytest.mark.parametrize(
    "source",
    [
        "strategy.model(x)",
        "model(x, tasks)",
        "self._student(x)",
        "strategy.forward()",
        "super().forward(x)",
        "call(student, x)",
        "outputs.collect(student, x, None, wanted)",
        "engine.evaluation_model(model)(x)",
    ],
)
def test_the_check_sees_a_forward_pass(source):
    assert forward_passes(source) == [1]


@pytest.mark.parametrize(
    "source", ["engine.evaluation_model(strategy.model)", "check(model)", "model.train()", "weak.model()"]
)
def test_it_lets_pass_what_is_none(source):
    assert forward_passes(source) == []


@pytest.mark.parametrize("file", [file for file in PLUGINS if file.name not in OWN_CALL], ids=lambda file: file.name)
def test_no_plugin_holds_a_forward_pass(file):
    assert forward_passes(file.read_text()) == []


@pytest.mark.parametrize("name", sorted(OWN_CALL))
def test_those_that_take_part_in_a_models_call_do(name):
    assert forward_passes((PACKAGE / "plugins" / name).read_text())


# kinds of terms ----------------------------------------------------------------------------------------------------


def kinds_told_apart(source):
    """Names of classes in `isinstance` and `match` that come from ckd's objective, losses, memory or teachers."""
    tree = ast.parse(source)
    core = {"objective", "losses", "memory", "teachers", "heads", "anchors", "views", "outputs"}
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0:2][-1] in core
        for alias in node.names
    }
    told = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name("isinstance" | "issubclass"), args=[_, kinds]):
                told |= {name.id for name in ast.walk(kinds) if isinstance(name, ast.Name)}
            case ast.MatchClass(cls=ast.Name(name)):
                told.add(name)
    return told & imported


@pytest.mark.parametrize("file", PLUGINS, ids=lambda file: file.name)
def test_no_plugin_tells_kinds_of_terms_targets_or_parts_apart(file):
    assert kinds_told_apart(file.read_text()) <= {"Objective"}  # what a user gave, to refuse what is none


def test_the_check_sees_a_ladder():
    code = "from ckd.objective.term import Term as T\nfrom ckd.memory import Memory\n"
    assert kinds_told_apart(f"{code}isinstance(x, T | int)\nmatch x:\n    case Memory():\n        pass") == {
        "T",
        "Memory",
    }


def test_a_term_has_no_kinds():
    from ckd import Term

    assert Term.__subclasses__() == []


# imports -----------------------------------------------------------------------------------------------------------


def imports(files):
    """For each module what it imports of the same package, also within functions and under TYPE_CHECKING."""
    found = {}
    for name, source in files.items():
        needed = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                needed |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                needed |= inner & files.keys() or {node.module}
        found[name] = needed & files.keys()
    return found


def test_no_file_imports_one_that_imports_it():
    paths = {file.relative_to(PACKAGE.parent).with_suffix("").parts: file for file in PACKAGE.rglob("*.py")}
    files = {".".join(part for part in parts if part != "__init__"): file.read_text() for parts, file in paths.items()}
    graph = imports(files)
    del graph["ckd"]  # it names its packages lazily, for type checkers
    assert len(graph) > 100
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("how", ["{}", "if TYPE_CHECKING:\n    {}", "def f():\n    {}"])
@pytest.mark.parametrize("line", ["from p.a import A", "import p.a", "from p import a"])
def test_the_check_sees_a_circle(line, how):
    files = {"p": "", "p.a": "from p.b import B", "p.b": how.format(line)}
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(imports(files)).prepare()
