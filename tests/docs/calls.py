"""Bind the calls of rvlab's functions in a piece of code to the functions' signatures."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any

import rvlab
from rvlab import compare, plot
from rvlab.recipes import find_recipe, shipped_recipes

OWNERS: dict[str, Any] = {"lab": rvlab.Lab, "rvlab": rvlab, "plot": plot, "compare": compare}
RECIPE_CALLS = ("submit", "sweep")


def wrong_calls(source: str) -> Iterator[str]:
    """Describe each call of ``lab.…``, ``rvlab.…``, ``plot.…`` or ``compare.…`` that would fail.

    Names, the number and the names of arguments are checked, and the parameters of included
    recipes; values are not.
    """
    tree = ast.parse(source)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _wrong_call(node)
        elif isinstance(node, ast.Attribute) and id(node) not in called:
            owner = OWNERS.get(ast.unparse(node.value))
            if owner is not None and not _has(owner, node.attr):
                yield f"{ast.unparse(node)} does not exist"


def _has(owner: Any, name: str) -> bool:
    return hasattr(owner, name) or (owner is rvlab.Lab and name in ("store", "engine"))


def _wrong_call(call: ast.Call) -> Iterator[str]:
    if not isinstance(call.func, ast.Attribute):
        return
    owner_name, name = ast.unparse(call.func.value), call.func.attr
    owner = OWNERS.get(owner_name)
    if owner is None:
        return
    if not _has(owner, name):
        yield f"{owner_name}.{name} does not exist"
        return
    function = getattr(owner, name)
    positional = [None] * sum(not _is_open(one) for one in call.args)
    if owner is rvlab.Lab:
        positional.insert(0, None)  # self
    keywords = {one.arg: one.value for one in call.keywords if one.arg}
    is_partial = len(keywords) < len(call.keywords) or any(map(_is_open, call.args))
    signature = inspect.signature(function)
    bind = signature.bind_partial if is_partial else signature.bind
    try:
        bound = bind(*positional, **dict.fromkeys(keywords))
    except TypeError as error:
        yield f"{ast.unparse(call)}: {error}"
        return
    if owner is rvlab.Lab and name in RECIPE_CALLS:
        named = set(bound.arguments.get("named", {})) | set(bound.arguments.get("fixed", {}))
        yield from _wrong_parameters(call, named)


def _is_open(argument: ast.expr) -> bool:
    """Return whether an argument may be several ones: ``*runs``, or an ellipsis."""
    return isinstance(argument, ast.Starred) or ast.unparse(argument) == "..."


def _wrong_parameters(call: ast.Call, named: set[str]) -> Iterator[str]:
    recipe = call.args[0] if call.args else None
    if not isinstance(recipe, ast.Constant) or recipe.value not in shipped_recipes():
        return
    known = set(find_recipe(recipe.value).signature.parameters)
    points = [one for one in call.args[1:] if isinstance(one, ast.Call)]
    named |= {
        str(keyword.arg) for point in points for keyword in point.keywords if keyword.arg != "seed"
    }
    for name in sorted(named - known):
        yield f"{ast.unparse(call)}: {recipe.value} has no parameter {name}"


def is_expression(text: str) -> bool:
    """Return whether a piece of inline code is a call or a name of rvlab's, not a file's."""
    if re.fullmatch(r"\w+\.(json|py|toml|uri)", text):
        return False  # such as rvlab.toml, and MLflow's tag rvlab.uri
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    node = tree.body
    while isinstance(node, ast.Call | ast.Subscript | ast.Attribute):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in OWNERS:
            return True
        node = node.func if isinstance(node, ast.Call) else node.value
    return False
