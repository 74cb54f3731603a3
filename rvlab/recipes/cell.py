"""A ``get_config`` typed in a notebook cell, as a file that stands on its own.

The function's source is not enough: it uses imports, constants and other functions from cells run
before. They are followed and written down as code. Nothing is pickled, so the run's folder holds
Python that a person can read.
"""

from __future__ import annotations

import builtins
import inspect
import textwrap
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

from rvlab.errors import SpecError
from rvlab.recipes.signature import FUNCTIONS, json_value


def cell_source(function: Callable[..., Any]) -> str:
    """The source of a function and of all it needs from the notebook.

    Args:
        function: The function; if it has another name, ``get_config`` is made to name it.

    Raises:
        SpecError: If it needs something that cannot be written down as code.
    """
    if not isinstance(function, FunctionType):
        raise SpecError(
            f"{function!r} is no recipe. Give a get_config function, a path or a shipped name."
        )
    lines: dict[str, str] = {}
    _write(function, lines, function.__name__)
    name = function.__name__
    alias = "" if name in FUNCTIONS else f"\n\nget_config = {name}\n"
    imports = [text for text in lines.values() if "\n" not in text]
    bodies = [text for text in lines.values() if "\n" in text]
    return "\n".join(imports) + "\n\n\n" + "\n\n".join(bodies) + alias


def _write(function: FunctionType, lines: dict[str, str], root: str) -> None:
    if function.__code__.co_freevars:
        raise SpecError(
            f"{function.__name__} uses {', '.join(function.__code__.co_freevars)} from the "
            "function around it. Define it at the top of a cell."
        )
    lines[function.__name__] = ""  # its place is taken first, so that recursion ends
    for name in sorted(_names(function.__code__) | _annotation_names(function)):
        if name in lines or name not in function.__globals__:
            continue
        if hasattr(builtins, name) and function.__globals__[name] is getattr(builtins, name):
            continue
        _write_global(name, function.__globals__[name], lines, root)
    body = _source(function)
    lines.pop(function.__name__)  # after what it needs
    lines[function.__name__] = body


def _write_global(name: str, value: Any, lines: dict[str, str], root: str) -> None:
    if isinstance(value, ModuleType):
        lines[name] = f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
        return
    home = getattr(value, "__module__", None)
    own = getattr(value, "__qualname__", "")
    if isinstance(value, FunctionType) and home == "__main__":
        if value.__name__ != name:
            raise SpecError(f"{root} uses {name}, another name of {value.__name__}. Use one name.")
        _write(value, lines, root)
        return
    if isinstance(value, type | FunctionType) or callable(value):
        if home in (None, "__main__") or "." in own or not own:
            raise SpecError(
                f"{root} uses {name}, which is made in this notebook and cannot be written down as "
                "code. Put the recipe in a .py file and give its path."
            )
        lines[name] = f"from {home} import {own}" + ("" if own == name else f" as {name}")
        return
    lines[name] = f"{name} = {json_value(value, f'{root}: the constant {name!r}')!r}"


def _names(code: CodeType) -> set[str]:
    found = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            found |= _names(const)
    return found


def _annotation_names(function: FunctionType) -> set[str]:
    import ast

    tree = ast.parse(_source(function))
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}


def _source(function: FunctionType) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as exc:
        raise SpecError(
            f"The source of {function.__name__} cannot be read. Put it in a .py file and give its "
            "path."
        ) from exc
