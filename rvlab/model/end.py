"""The end record of a run, parsed and validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any

from rvlab.errors import RecordBroken
from rvlab.model.record import is_time, mapping_of, require_schema
from rvlab.model.run import END_STATES
from rvlab.model.schema import TIME_S, column_field
from rvlab.model.spec import Spec

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

END_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class EndRecord:
    """The end record of a run, as `rvlab.model.end_record` builds it.

    The fields with `column_field` are columns of the table of runs, with that meaning. Times are
    ISO 8601 in UTC.

    Args:
        spec: The spec of the run.
        metrics: The headline metrics; None for an undefined one.
        costs: Times and memory; see `rvlab.model.run_costs`.
        eval_sets: The fingerprints of the other scene groups.
    """

    spec: Spec
    state: str = field(
        metadata=column_field(
            "`succeeded`, `failed` or `cancelled`; of a run without an end `queued`, `running`, "
            "`not submitted`, `lost` (no heartbeat) or `broken` (its records cannot be read).",
            in_report=True,
        )
    )
    epochs: int | None = field(
        default=None,
        metadata=column_field(
            "The number of epochs that training completed, also of a run that was stopped early; "
            "missing while the run is active, or if it did not train."
        ),
    )
    started: str | None = field(
        default=None,
        metadata=column_field(
            "When the first step started; missing if none did.", dtype=TIME_S, in_report=True
        ),
    )
    ended: str = field(metadata=column_field("When the run ended.", dtype=TIME_S, in_report=True))
    device: str | None = field(
        default=None,
        metadata=column_field(
            "`cpu`, or `cuda` with the name of the GPU, of train, else of predict.", in_report=True
        ),
    )
    eval_set: str | None = field(
        default=None,
        metadata=column_field(
            "The fingerprint of the classes and of all scenes of the headline metrics."
        ),
    )
    step: str | None = field(
        default=None,
        metadata=column_field("The step that failed; of a running run, the current step."),
    )
    error: str | None = field(
        default=None,
        metadata=column_field("Why the run failed or its records cannot be read, in one sentence."),
    )
    metrics: Mapping[str, float | None]
    costs: Mapping[str, float | None]
    eval_sets: Mapping[str, str | None]

    @classmethod
    def from_record(cls, record: Mapping[str, Any], key: str) -> EndRecord:
        """Parse a record; records of older versions lack metrics, costs and fingerprints.

        Raises:
            RecordBroken: If a field is missing or has another type, or the state is not one of
                `END_STATES`.
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
        values: dict[str, Any] = {name: record.get(name) for name in _SCALARS}
        for name, (kinds, what) in _SCALARS.items():
            value = values[name]
            if value is None and name not in _REQUIRED:
                continue
            if what == "time":
                if not (isinstance(value, str) and is_time(value)):
                    raise RecordBroken(f"{key} has {name} {value!r:.100}, not a UTC time.")
            elif type(value) not in kinds or (kinds == (int,) and not 0 <= value < 2**63):
                raise RecordBroken(f"{key} has {name} that is not {what}: {value!r:.200}")
        return cls(
            spec=spec,
            state=state,
            metrics=_mapping(record, "metrics", "numbers", key),
            costs=_mapping(record, "costs", "numbers", key),
            eval_sets=_mapping(record, "eval_sets", "text", key),
            **values,
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


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "int": ((int,), "an integer of 0 or more"),
    "float": ((float, int), "a number"),
    "bool": ((bool,), "a bool"),
}
_REQUIRED = ("ended",)
_SCALARS = {
    one.name: ((str,), "time")
    if one.metadata["column"]["dtype"] == TIME_S
    else _KINDS[str(one.type).removesuffix(" | None")]
    for one in fields(EndRecord)
    if "column" in one.metadata and one.name != "state"
}
"""Field of a column -> the Python types of its values, and a description of them for messages."""
