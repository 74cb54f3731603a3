"""Limits of a recipe's parameters, written as annotations and checked before anything starts.

A recipe writes ``chip_px: Annotated[int, Field(ge=16), AtMost("scene_px")] = 128`` with pydantic's
``Field``. `rvlab.recipes.signature` reads the annotation from the source and refuses an invalid
value at submission; `validate_parameters` refuses it when the recipe is called.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from rvlab.errors import SpecError

_F = TypeVar("_F", bound=Callable[..., Any])

_LIMITS = {
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "multiple_of": "a multiple of {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "pattern": "text that matches {!r}",
}
"""The arguments of pydantic's ``Field`` that limit a value, and the words for each."""

FIELD_ARGUMENTS = {*_LIMITS, "allow_inf_nan", "description", "title"}
"""The arguments of ``Field`` in a recipe that rvlab reads."""

# Types of pydantic's errors -> the argument of ``Field`` that was violated.
_VIOLATED = {
    "greater_than_equal": "ge",
    "greater_than": "gt",
    "less_than_equal": "le",
    "less_than": "lt",
    "multiple_of": "multiple_of",
    "too_short": "min_length",
    "string_too_short": "min_length",
    "too_long": "max_length",
    "string_too_long": "max_length",
    "string_pattern_mismatch": "pattern",
}

_KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class AtMost:
    """The limit of a parameter by the value of another one.

    Args:
        other: The name of the other parameter.
    """

    other: str


def limits_text(hint: Any) -> str:
    """Return the limits of an annotated type in words, such as ``at least 16``; else ``""``."""
    found: list[str] = []
    for item in _metadata(hint):
        if isinstance(item, AtMost):
            found.append(f"at most {item.other}")
        for limit in getattr(item, "metadata", ()):  # of a pydantic Field
            found += [
                words.format(_short(getattr(limit, name)))
                for name, words in _LIMITS.items()
                if getattr(limit, name, None) is not None
            ]
    return ", ".join(found)


def violated_limit(error: Mapping[str, Any]) -> str | None:
    """Return the limit that a value violates in words; None for another error of pydantic.

    Args:
        error: One of ``ValidationError.errors()``.
    """
    name = _VIOLATED.get(error["type"])
    context = error.get("ctx", {})
    value = context.get(name) if name else None
    return None if name is None or value is None else _LIMITS[name].format(_short(value))


def require_relations(hints: Mapping[str, Any], values: Mapping[str, Any], recipe: str) -> None:
    """Check the limits of parameters by other parameters.

    Args:
        hints: The type of each parameter.
        values: The values, with resolved defaults.
        recipe: The recipe's name with a colon and a space, or the empty string.

    Raises:
        SpecError: If a value is greater than the value of the parameter that limits it.
    """
    for name, hint in hints.items():
        for item in _metadata(hint):
            if not isinstance(item, AtMost):
                continue
            value, most = _number(values.get(name)), _number(values.get(item.other))
            if value is not None and most is not None and value > most:
                raise SpecError(
                    f"{recipe}{name} must be at most {item.other}, which is {most!r}, "
                    f"got {value!r}."
                )


def validate_parameters(get_config: _F) -> _F:
    """Decorate a ``get_config``: parse text from a command line, and check types and limits.

    ``rastervision run`` passes parameters as text, and a Kubeflow pipeline can be started in
    Kubeflow's own pages with any values.

    Raises:
        SpecError: When the decorated function is called, if a value does not fit its annotation.
    """
    signature = inspect.signature(get_config)

    @functools.wraps(get_config)
    def checked(*args: Any, **kwargs: Any) -> Any:
        hints = get_type_hints(get_config, include_extras=True)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            bound.arguments[name] = _parse(name, value, hints.get(name, Any))
        require_relations(hints, bound.arguments, "")
        return get_config(*bound.args, **bound.kwargs)

    return checked  # type: ignore[return-value]


def _parse(name: str, value: Any, hint: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if hint is Any:
        return value
    base_type = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    config = ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True)
    try:
        # A bool is a number to pydantic unless it is strict.
        return TypeAdapter(hint, config=config).validate_python(
            value, strict=isinstance(value, bool)
        )
    except ValidationError as exc:
        error = exc.errors()[0]
        words = violated_limit(error) or _KINDS.get(base_type) or error["msg"].lower()
        if error["type"] == "literal_error":
            words = f"one of {_list_options(base_type)}"
        elif error["type"] == "finite_number":
            words = "a finite number"
        raise SpecError(f"{name} must be {words}, got {value!r}.") from exc


def _short(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) else value


def _list_options(hint: Any) -> str:
    options: Iterable[Any] = get_args(hint)
    return ", ".join(repr(one) for one in options)


def _metadata(hint: Any) -> Iterator[Any]:
    """Yield the metadata of a type, and of the members of a union: ``Annotated[...] | None``."""
    yield from getattr(hint, "__metadata__", ())
    inner = get_args(hint)[:1] if hasattr(hint, "__metadata__") else get_args(hint)
    if hasattr(hint, "__metadata__") or get_origin(hint) in (Union, UnionType):
        for one in inner:
            yield from _metadata(one)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
