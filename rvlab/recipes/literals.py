"""Literals and annotations in the source of a recipe, evaluated without running it."""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Optional, Union

from rvlab.errors import SpecError
from rvlab.recipes.value_limits import FIELD_ARGUMENTS, AtMost

LOCATION_TYPES = ("SharedFolder", "SharedFile")
"""Annotations, of `rvlab.recipes.data_dir`, of parameters that receive a folder or a file."""

UNKNOWN_DEFAULT: Any = object()
"""Marks a default that is not a literal, so that rvlab does not know its value."""

# Names in annotations that rvlab can check. Values with other annotations are not checked.
_TYPES: dict[str, Any] = {
    **{t.__name__: t for t in (bool, int, float, str, list, dict, tuple)},
    **{"List": list, "Dict": dict, "Any": Any, "None": None},
    **{"Literal": Literal, "Optional": Optional, "Union": Union},
    "Annotated": Annotated,
}
_CALLS = ("Field", "AtMost")
"""The calls that an annotation may contain, with constants as arguments."""


def json_value(value: Any, what: str) -> Any:
    """Return a value as JSON represents it; numpy scalars become Python's.

    Raises:
        SpecError: If JSON cannot represent it.
    """
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise SpecError(f"{what} is {value!r}, which JSON cannot hold. Give a finite number.")
    if isinstance(value, list):
        return [json_value(v, what) for v in value]
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: json_value(v, what) for k, v in value.items()}
    hint = {"tuple": "a list", "set": "a list", "ndarray": "a list", "PosixPath": "a string"}
    kind = type(value).__name__
    raise SpecError(
        f"{what} is {_abbreviate(value)}, a {kind}, which JSON cannot hold. "
        f"Give {hint.get(kind, 'a number, a string, a list or a dict')}."
    )


def _abbreviate(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def literal_value(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    """Return a default's value if it is a JSON literal, else UNKNOWN_DEFAULT."""
    if isinstance(node, ast.Name):
        return constants.get(node.id, UNKNOWN_DEFAULT)
    try:
        return json_value(ast.literal_eval(node), "the default")
    except (ValueError, SpecError):
        return UNKNOWN_DEFAULT


class AnnotationAliases(ast.NodeTransformer):
    """Replace the names that the file assigns, such as ``Width = Annotated[int, Field(ge=1)]``."""

    def __init__(self, tree: ast.Module) -> None:
        self._values = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name) and target.id not in (*_TYPES, *LOCATION_TYPES)
        }

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return the assigned expression; stop at a name that refers to itself."""
        value = self._values.pop(node.id, None)
        if value is None:
            return node
        try:
            found: ast.expr = self.visit(copy.deepcopy(value))
        finally:
            self._values[node.id] = value
        return found


class _WithoutLimits(ast.NodeTransformer):
    """Replace ``Annotated[T, ...]`` by ``T``."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Return the first argument of ``Annotated``."""
        is_annotated = isinstance(node.value, ast.Name) and node.value.id == "Annotated"
        if is_annotated and isinstance(node.slice, ast.Tuple) and node.slice.elts:
            return self.visit(node.slice.elts[0])  # type: ignore[no-any-return]
        return self.generic_visit(node)


def remove_limits(tree: ast.AST) -> Any:
    """Return an annotation in which ``T`` replaces ``Annotated[T, ...]``."""
    return _WithoutLimits().visit(tree)


def annotation_type(annotation: str) -> Any:
    """Return the type of an annotation, or Any if it cannot be validated."""
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError
    from pydantic_core import SchemaError

    try:
        hint = _evaluate(ast.parse(annotation, mode="eval"))
        TypeAdapter(hint).validate_json("null")
    except ValidationError:
        return hint
    except (SyntaxError, TypeError, ValueError, NameError, PydanticUserError, SchemaError):
        return Any
    return hint


def _evaluate(tree: ast.Expression) -> Any:
    from pydantic import Field

    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    allowed = (ast.Expression, ast.Name, ast.Subscript, ast.BinOp, ast.BitOr, ast.Constant)
    allowed += (ast.Tuple, ast.List, ast.Load, ast.UnaryOp, ast.USub)  # type: ignore[assignment]
    allowed += (ast.Call, ast.keyword)  # type: ignore[assignment]
    if not names <= {*_TYPES, *_CALLS} or not all(isinstance(n, allowed) for n in ast.walk(tree)):
        return Any
    if not all(_is_limit(n) for n in ast.walk(tree) if isinstance(n, ast.Call)):
        return Any
    # Only the names in _TYPES, constants, | and [], and calls of Field and AtMost with constants
    # are left, so there is nothing to run.
    code = compile(tree, "<annotation>", "eval")
    known = {**_TYPES, "Field": Field, "AtMost": AtMost}
    return eval(code, {"__builtins__": {}}, known)  # noqa: S307


def _is_limit(call: ast.Call) -> bool:
    """Return whether a call is ``Field`` or ``AtMost`` with constants that rvlab reads."""
    values = [*call.args, *(one.value for one in call.keywords)]
    if not isinstance(call.func, ast.Name) or call.func.id not in _CALLS:
        return False
    if not all(literal_value(one, {}) is not UNKNOWN_DEFAULT for one in values):
        return False
    if call.func.id == "AtMost":
        return len(values) == 1
    return not call.args and all(one.arg in FIELD_ARGUMENTS for one in call.keywords)
