"""Conversion of a ``get_config`` from a notebook cell to a self-contained Python file.

The function may use imports, constants and other functions from earlier cells. They are collected
and written as code. Nothing is pickled, so the run's folder has readable Python.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import dis
import inspect
import sys
import textwrap
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

from rvlab.errors import SpecError
from rvlab.recipes.literals import json_value
from rvlab.recipes.signature import FUNCTIONS


def cell_source(function: Callable[..., Any]) -> str:
    """Return the source of a function and of everything that it uses from the notebook.

    Args:
        function: The function; if its name is not ``get_config``, the source adds that alias.

    Raises:
        SpecError: If it uses an object that cannot be written as code.
    """
    if not isinstance(function, FunctionType):
        raise SpecError(
            f"{function!r} is not a recipe. Give a get_config function, a path or a shipped name."
        )
    if function.__name__ == "<lambda>":
        raise SpecError("A lambda cannot be a recipe. Write it as: def get_config(runner, ...)")
    lines: dict[str, str] = {}
    if function.__code__.co_flags & __future__.annotations.compiler_flag:
        lines["__future__"] = "from __future__ import annotations"
    _write_function(function, lines, function.__name__)
    name = function.__name__
    alias = "" if name in FUNCTIONS else f"\n\nget_config = {name}\n"
    imports = [text for text in lines.values() if "\n" not in text]
    imports.sort(key=lambda text: not text.startswith(("import ", "from ")))
    bodies = [text for text in lines.values() if "\n" in text]
    return "\n".join(imports) + "\n\n\n" + "\n\n".join(bodies) + alias


def _write_function(function: FunctionType, lines: dict[str, str], root: str) -> None:
    if function.__code__.co_freevars:
        raise SpecError(
            f"{function.__name__} uses {', '.join(function.__code__.co_freevars)} from the "
            "function around it. Define it at the top of a cell."
        )
    lines[function.__name__] = ""  # reserve the name first, so that recursion ends
    source = _source(function)
    tree = ast.parse(source)
    for name in sorted(_global_names(function.__code__) | _names_in_signature(tree)):
        if name in lines or name not in function.__globals__:
            continue
        if hasattr(builtins, name) and function.__globals__[name] is getattr(builtins, name):
            continue
        _write_global(name, function.__globals__[name], lines, root)
    for name, value in function.__globals__.items():
        if isinstance(value, ModuleType) and name in lines:
            lines |= {dotted: f"import {dotted}" for dotted in _submodules(tree, name, value)}
    lines.pop(function.__name__)  # move it after the names that it uses
    lines[function.__name__] = source


def _write_global(name: str, value: Any, lines: dict[str, str], root: str) -> None:
    if isinstance(value, ModuleType):
        lines[name] = f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
        return
    if isinstance(value, FunctionType) and value.__module__ == "__main__":
        if value.__name__ == "<lambda>":
            raise SpecError(f"{root} uses {name}, a lambda. Write it as: def {name}(...)")
        if value.__name__ != name:
            raise SpecError(f"{root} uses {name}, another name of {value.__name__}. Use one name.")
        _write_function(value, lines, root)
        return
    if callable(value):
        origin = _import_origin(name, value)
        if origin is None:
            raise SpecError(
                f"{root} uses {name}, which is defined in this notebook and cannot be written as "
                "code. Put the recipe in a .py file and give its path."
            )
        alias = "" if origin[1] == name else f" as {name}"
        lines[name] = f"from {origin[0]} import {origin[1]}{alias}"
        return
    lines[name] = f"{name} = {_constant(value, f'{root}: the constant {name!r}')}"


def _import_origin(name: str, value: Any) -> tuple[str, str] | None:
    """Return a module and the name of an object in it; None if no loaded module has it."""
    qualname = getattr(value, "__qualname__", name)
    modules = [m for m in sorted(sys.modules, key=len) if m != "__main__" and m[:1] != "_"]
    for module_name in (getattr(value, "__module__", None), *modules):
        for candidate in (qualname, name):
            found = getattr(sys.modules.get(str(module_name)), "__dict__", {})
            if module_name != "__main__" and found.get(candidate) is value:
                return str(module_name), candidate
    return None


def _constant(value: Any, what: str) -> str:
    """Return a constant as code: an exact literal, else its JSON value."""
    text = repr(value)
    try:
        if ast.literal_eval(text) == value:
            return text
    except (ValueError, SyntaxError, TypeError):
        pass
    return repr(json_value(value, what))


def _global_names(code: CodeType) -> set[str]:
    """Return the names of the globals that code reads, without attributes and locals."""
    loads = ("LOAD_GLOBAL", "LOAD_NAME")
    found = {i.argval for i in dis.get_instructions(code) if i.opname in loads}
    for const in code.co_consts:
        if isinstance(const, CodeType):
            found |= _global_names(const)
    return found


def _names_in_signature(tree: ast.Module) -> set[str]:
    """Return the names in a function's annotations, defaults and decorators."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            signature_nodes = [
                node.args,
                *node.decorator_list,
                *([node.returns] if node.returns else []),
            ]
            found |= {
                n.id for part in signature_nodes for n in ast.walk(part) if isinstance(n, ast.Name)
            }
    return found


def _submodules(tree: ast.Module, name: str, module: ModuleType) -> set[str]:
    """Return the submodules used as ``name.sub.…``, which ``import name`` may not load."""
    found = set()
    for node in ast.walk(tree):
        dotted = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if dotted.startswith(f"{name}."):
            full_name = f"{module.__name__}{dotted.removeprefix(name)}"
            if isinstance(sys.modules.get(full_name), ModuleType):
                found.add(full_name)
    return found


def _source(function: FunctionType) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as exc:
        raise SpecError(
            f"The source of {function.__name__} cannot be read. Put it in a .py file and give its "
            "path."
        ) from exc
