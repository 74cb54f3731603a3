"""Mapbox filters on the properties of GeoJSON features, evaluated as in Raster Vision.

Two defects of Raster Vision are reproduced, because its training labels depend on them: ``any`` and
``all`` are joined without parentheses, so that a nested filter follows Python's precedence, and an
unknown operator matches every feature.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Feature = Mapping[str, Any]
Predicate = Callable[[Feature], bool]
_Disjunction = list[list[Predicate]]  # an `or` of `and`s

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def build_predicate(expression: Sequence[Any]) -> Predicate:
    """Return the predicate of a filter such as ``["==", "building", "yes"]``.

    Args:
        expression: Nested lists: https://docs.mapbox.com/style-spec/reference/other/#other-filter.

    Returns:
        A function of a GeoJSON feature.
    """
    joined = _parse_expression(expression)
    return lambda feature: any(all(test(feature) for test in tests) for tests in joined)


def _parse_expression(expression: Sequence[Any]) -> _Disjunction:
    if not expression:
        return [[_always]]
    word, *rest = expression
    if not rest:
        return [[_never if word == "any" else _always]]
    if word == "any":
        return [tests for part in rest for tests in _parse_expression(part)]
    if word == "all":
        return _all(rest)
    return [[_parse_term(word, rest)]]


def _parse_term(word: str, rest: Sequence[Any]) -> Predicate:
    if word == "none":
        return _not(build_predicate(["any", *rest]))
    if word in _COMPARE:
        return _compare(_COMPARE[word], rest[0], rest[1])
    if word in ("in", "!in"):
        return _negate_if_needed(word, lambda f: _value(f, rest[0]) in rest[1:])
    if word in ("has", "!has"):
        return _negate_if_needed(word, lambda f: _has(f, rest[0]))
    return _always


def _all(parts: Sequence[Sequence[Any]]) -> _Disjunction:
    """Join ``a or b`` and ``c`` as Python parses ``a or b and c``."""
    out: _Disjunction = []
    for part in parts:
        inner = _parse_expression(part)
        out = [*out[:-1], out[-1] + inner[0], *inner[1:]] if out else inner
    return out


def _always(_: Feature) -> bool:
    return True


def _never(_: Feature) -> bool:
    return False


def _not(test: Predicate) -> Predicate:
    return lambda feature: not test(feature)


def _negate_if_needed(word: str, test: Predicate) -> Predicate:
    return _not(test) if word.startswith("!") else test


def _compare(compare: Callable[[Any, Any], bool], name: str, value: Any) -> Predicate:
    def test(feature: Feature) -> bool:
        try:
            return bool(compare(_value(feature, name), value))
        except TypeError:  # such as a number compared with None
            return False

    return test


def _has(feature: Feature, name: str) -> bool:
    return "id" in feature if name == "$id" else name in feature["properties"]


def _value(feature: Feature, name: str) -> Any:
    if name == "$type":
        return feature["geometry"]["type"]
    if name == "$id":
        return feature.get("id")
    found: Any = feature["properties"]
    for word in name.split("."):
        found = found.get(word) if isinstance(found, Mapping) else None
    return found
