"""Reading a record: a JSON object that some writer, or nobody's, has left, as a noun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, TypeVar

from rvlab.errors import RecordBroken

T = TypeVar("T")

_KINDS: dict[str, Any] = {
    "str": str,
    "int": int,
    "str | None": str | None,
    "int | None": int | None,
    "float | None": float | int | None,
    "bool | None": bool | None,
    "tuple[str, ...]": list | tuple,
    "Mapping[str, Any]": dict,
    "Mapping[str, str]": dict,
}


def read(noun: type[T], record: object, key: str, what: str) -> T:
    """Make a noun of a record; keys that a later version added are left out.

    Args:
        noun: Its dataclass.
        record: What the key holds.
        key: For messages.
        what: What the record is to be, such as "a run's spec".

    Raises:
        RecordBroken: If something is missing or of another type.
    """
    if not isinstance(record, Mapping):
        raise RecordBroken(f"{key} is not {what}: it is {type(record).__name__}, no JSON object.")
    known: dict[str, Any] = {}
    for name, kinds, kind, needed in _wanted(noun):  # type: ignore[arg-type]
        if name in record:
            value = known[name] = record[name]
            if not isinstance(value, kinds):
                other = type(value).__name__
                raise RecordBroken(f"{key} is not {what}: {name} is {other}, not {kind}.")
        elif needed:
            raise RecordBroken(f"{key} is not {what}: {name} is missing.")
    return noun(**known)


@cache
def _wanted(noun: type) -> list[tuple[str, Any, str, bool]]:
    """Each field, its types, how they are written, and whether it has to be there."""
    return [
        (one.name, _KINDS[str(one.type)], str(one.type), one.default is MISSING)
        for one in fields(noun)
    ]
