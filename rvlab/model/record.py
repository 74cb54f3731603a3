"""Reading a record: a JSON object that some writer, or nobody's, has left, as a noun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
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
    for one in fields(noun):  # type: ignore[arg-type]
        if one.name in record:
            known[one.name] = record[one.name]
            if not isinstance(record[one.name], _KINDS[str(one.type)]):
                kind = type(record[one.name]).__name__
                raise RecordBroken(f"{key} is not {what}: {one.name} is {kind}, not {one.type}.")
        elif one.default is MISSING:
            raise RecordBroken(f"{key} is not {what}: {one.name} is missing.")
    return noun(**known)
