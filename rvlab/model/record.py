"""Validation of records: JSON objects that another program may have written or damaged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from rvlab.errors import RecordBroken
from rvlab.model.limits import RECORD_NAMES

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails, SchemaValidator

_T = TypeVar("_T")

_TIME = re.compile(
    r"(19[7-9]\d|2[01]\d\d|22[0-5]\d|226[01])-\d\d-\d\d"  # years that datetime64[ns] can hold
    r"[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def read_record(noun: type[_T], record: object, key: str, what: str) -> _T:
    """Parse a record as a dataclass; keys that a later version added are ignored.

    Types are strict: bools, numbers and text are not converted into one another. Integers have 64
    bits at most, and floats are finite.

    Args:
        noun: The dataclass.
        record: The parsed content of the key.
        key: The key, for messages.
        what: The expected record, for messages, such as "a run's spec".

    Raises:
        RecordBroken: If a field is missing or has another type.
    """
    if not isinstance(record, Mapping):
        raise RecordBroken(
            f"{key} is not {what}: it is {type(record).__name__}, not a JSON object."
        )
    from pydantic_core import ValidationError

    try:
        return noun(**_validator(noun).validate_python(record))  # type: ignore[arg-type]
    except ValidationError as exc:
        why = _reason(noun, exc.errors(include_url=False)[0])
        raise RecordBroken(f"{key} is not {what}: {why}.") from exc


def is_time(text: str) -> bool:
    """Return whether a text is a time as in records: ISO 8601 with an offset, 1970 to 2261."""
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def require_times(noun: object, key: str, what: str, *names: str) -> None:
    """Require that fields are times or missing.

    Raises:
        RecordBroken: If a field is not a time.
    """
    for name in names:
        text = getattr(noun, name)
        if text is not None and not is_time(text):
            raise RecordBroken(f"{key} is not {what}: {name} is {text!r:.100}, not a UTC time.")


def require_schema(number: int, key: str) -> None:
    """Require a valid schema number; later schemas only add fields, so all from 1 are accepted.

    Raises:
        RecordBroken: If the number is less than 1.
    """
    if number < 1:
        raise RecordBroken(f"{key} has the schema {number}; the first is 1.")


@cache
def _validator(noun: type) -> SchemaValidator:
    """Return a validator of the fields of a dataclass, by their annotations."""
    from pydantic_core import SchemaValidator, core_schema

    kinds = {name: make() for name, make in _kinds().items()}
    return SchemaValidator(
        core_schema.typed_dict_schema(
            {
                one.name: core_schema.typed_dict_field(
                    kinds[str(one.type)],
                    required=one.default is MISSING and one.default_factory is MISSING,
                )
                for one in fields(noun)
            },
            extra_behavior="ignore",
        )
    )


def mapping_of(annotation: str) -> SchemaValidator:
    """Return a validator of a mapping, such as ``Mapping[str, float | None]``."""
    from pydantic_core import SchemaValidator

    return SchemaValidator(_kinds()[annotation]())


def _kinds() -> dict[str, Any]:
    from pydantic_core import core_schema as core

    def text() -> Any:
        return core.str_schema(strict=True)

    def whole() -> Any:
        return core.int_schema(strict=True, ge=-(2**63), le=2**63 - 1)

    def number() -> Any:
        return core.float_schema(strict=True, allow_inf_nan=False)

    def names(value: Any) -> Any:
        return core.dict_schema(text(), value, strict=True, max_length=RECORD_NAMES)

    return {
        "str": text,
        "int": whole,
        "str | None": lambda: core.nullable_schema(text()),
        "int | None": lambda: core.nullable_schema(whole()),
        "float | None": lambda: core.nullable_schema(number()),
        "bool | None": lambda: core.nullable_schema(core.bool_schema(strict=True)),
        "tuple[str, ...]": lambda: core.list_schema(text(), max_length=RECORD_NAMES),
        "tuple[int, ...]": lambda: core.list_schema(whole(), max_length=RECORD_NAMES),
        "Mapping[str, Any]": lambda: names(core.any_schema()),
        "Mapping[str, str]": lambda: names(text()),
        "Mapping[str, str | None]": lambda: names(core.nullable_schema(text())),
        "Mapping[str, float | None]": lambda: names(core.nullable_schema(number())),
    }


def _reason(noun: type, error: ErrorDetails) -> str:
    """Describe a validation error of a field in one clause."""
    name, value = ".".join(map(str, error["loc"]))[:100], error["input"]
    annotation = next((str(f.type) for f in fields(noun) if f.name == error["loc"][0]), "")
    kind = error["type"]
    if kind == "missing":
        return f"{name} is missing"
    if kind in ("greater_than_equal", "less_than_equal", "int_parsing_size"):
        return f"{name} is {value!r:.40}, which has more than 64 bits"
    if kind == "finite_number":
        return f"{name} is {value!r:.40}, not a finite number"
    if kind == "too_long":
        return (
            f"{name} has {error['ctx']['actual_length']:,} entries; the limit is {RECORD_NAMES:,}"
        )
    if kind == "string_unicode":
        return f"{name} is not valid Unicode text"
    inner = annotation.removeprefix("Mapping[str, ").removesuffix("]")
    wanted = inner if len(error["loc"]) > 1 else annotation
    return f"{name} is {type(value).__name__}, not {wanted}"
