"""Python files and functions that a user names."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ckd.errors import ConfigError


def file_module(file: Path) -> ModuleType:
    """The file as a module, executed once a process.

    Raises:
        OSError, SyntaxError, ImportError: a file that is not there or cannot be read; and what it raises itself.
    """
    name = f"ckd_file_{file.stem}_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # before it runs, as dataclasses look their module up
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def is_path(name: str) -> bool:
    """Whether a name says where something is: `package.module:function`, `file.py` or `file.py:function`."""
    return ":" in name or name.endswith(".py")


def source_file(name: str) -> Path | None:
    """The file of what is named by its file; None for others."""
    path = name if name.endswith(".py") else name.rpartition(":")[0]
    return Path(path) if path.endswith(".py") else None


def named(what: str, where: str) -> tuple[ModuleType, Callable[..., Any] | None]:
    """The module of `package.module:function`, `file.py:function` or `file.py`, and the function if one is named.

    Args:
        what: how errors call it, such as "recipe 'mine'".
        where: the path.

    Raises:
        ConfigError: a module or file that cannot be loaded, or one without that function.
    """
    module_name, _, function = where.rpartition(":") if not where.endswith(".py") else (where, "", "")
    is_file = module_name.endswith(".py")
    if is_file and not Path(module_name).is_file():
        raise ConfigError(what, expected="a file", received="no such file", fix="Check the path.")
    try:
        module = file_module(Path(module_name)) if is_file else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _unreadable(what, module_name, error) from error
        fix = "Write package.module:function, or file.py:function."
        raise ConfigError(what, expected="a function of a module or file", received=error, fix=fix) from error
    except Exception as error:
        raise _unreadable(what, module_name, error) from error
    found: Callable[..., Any] | None = getattr(module, function, None) if function else None
    if function and not (inspect.isroutine(found) or inspect.isclass(found)):
        functions = inspect.getmembers(module, inspect.isfunction)
        mine = [known for known, value in functions if value.__module__ == module.__name__]
        expected, fix = f"a function of {module_name}: {', '.join(mine) or 'there is none'}", "Name one of them."
        raise ConfigError(what, expected=expected, received=repr(function), fix=fix)
    return module, found


def _unreadable(what: str, module: str, error: Exception) -> ConfigError:
    """The error for code that raised when it was loaded, with the line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(module)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    told = f"{type(error).__name__}{f' in line {line}' if line else ''}: {getattr(error, 'msg', error)}"
    return ConfigError(what, expected=f"that {module} can be loaded", received=told, fix="Mend it there.")


def defaults_of(what: str, function: Callable[..., Any], given: Sequence[str] = ()) -> dict[str, Any]:
    """The arguments of a function with their defaults, but for those that are always `given`.

    Raises:
        ConfigError: an argument without a default.
    """
    defaults = {p.name: p.default for p in inspect.signature(function).parameters.values() if p.name not in given}
    bare = [argument for argument, default in defaults.items() if default is inspect.Parameter.empty]
    if bare:
        received, fix = f"none for {', '.join(bare)}", f"Write {bare[0]}=..."
        raise ConfigError(what, expected="a default for every argument", received=received, fix=fix)
    return defaults
