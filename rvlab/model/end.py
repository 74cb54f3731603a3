"""The end record of a run, parsed and validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from rvlab.errors import RecordBroken
from rvlab.model.record import is_time, mapping_of, require_schema
from rvlab.model.run import END_STATES
from rvlab.model.spec import Spec

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

END_SCHEMA = 1


@dataclass(frozen=True)
class EndRecord:
    """The end record of a run, as `rvlab.model.end_record` builds it.

    Args:
        spec: The spec of the run.
        state: ``succeeded``, ``failed`` or ``cancelled``.
        ended: ISO 8601 in UTC.
        started: When the first step started; None if none did.
        step: The step that failed.
        error: The reason of the failure, in one sentence.
        metrics: The headline metrics; None for an undefined one.
        costs: Times and memory; see `rvlab.model.run_costs`.
        device: The device of the run.
        eval_set: The fingerprint of the scenes of the headline metrics.
        eval_sets: The fingerprints of the other scene groups.
    """

    spec: Spec
    state: str
    ended: str
    started: str | None
    step: str | None
    error: str | None
    metrics: Mapping[str, float | None]
    costs: Mapping[str, float | None]
    device: str | None
    eval_set: str | None
    eval_sets: Mapping[str, str | None]

    @classmethod
    def from_record(cls, record: Mapping[str, Any], key: str) -> EndRecord:
        """Parse a record; those of older versions have no metrics, costs or fingerprints.

        Raises:
            RecordBroken: If a field is missing or has another type.
        """
        spec = Spec.from_record(record.get("spec"), key)
        state = record.get("state")
        if state not in END_STATES:
            raise RecordBroken(
                f"{key} has the state {state!r:.200}, not one of {', '.join(END_STATES)}."
            )
        schema = record.get("schema", END_SCHEMA)
        if type(schema) is not int:
            raise RecordBroken(f"{key} has the schema {schema!r:.40}, not an integer.")
        require_schema(schema, key)
        for name, needed in (("ended", True), ("started", False)):
            time = record.get(name)
            if (needed or time is not None) and not (isinstance(time, str) and is_time(time)):
                raise RecordBroken(f"{key} has {name} {time!r:.100}, not a UTC time.")
        texts = {name: record.get(name) for name in ("step", "error", "device", "eval_set")}
        for name, value in texts.items():
            if not isinstance(value, str | None):
                raise RecordBroken(f"{key} has {name} that is not text: {value!r:.200}")
        return cls(
            spec,
            state,
            record["ended"],
            record.get("started"),
            metrics=_mapping(record, "metrics", "numbers", key),
            costs=_mapping(record, "costs", "numbers", key),
            eval_sets=_mapping(record, "eval_sets", "text", key),
            **texts,
        )


def _mapping(record: Mapping[str, Any], name: str, what: str, key: str) -> dict[str, Any]:
    from pydantic_core import ValidationError

    values = record.get(name)
    if values is None:
        return {}
    try:
        found: dict[str, Any] = _validator(what).validate_python(values)
    except ValidationError as exc:
        raise RecordBroken(f"{key} has {name} that are not {what}: {values!r:.200}") from exc
    return found


@cache
def _validator(what: str) -> SchemaValidator:
    kind = "float" if what == "numbers" else "str"
    return mapping_of(f"Mapping[str, {kind} | None]")
