"""JSON records of runs, and the spec, which is written when a run is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rvlab.errors import RecordBroken
from rvlab.model import Run, Spec

if TYPE_CHECKING:
    from rvlab.store.store import Store


def read_spec(store: Store, run: Run) -> Spec:
    """Read the spec of a run.

    Raises:
        KeyMissing: If the run has none.
        RecordBroken: If the record is not the spec of this run.
        StoreError: If the store does not answer or refuses.
    """
    key = run.key("spec.json")
    spec = Spec.from_record(store.get_json(key), key)
    require_spec_of(spec, run.experiment, run.id, key)
    return spec


def require_spec_of(spec: Spec, experiment: str, run_id: str, key: str) -> None:
    """Require that a spec names the run whose record it is part of.

    Args:
        spec: The spec.
        experiment: The experiment, from the record's key.
        run_id: The run's id, from the record's key.
        key: The record's key.

    Raises:
        RecordBroken: If it names another run.
    """
    if (spec.experiment, spec.run) != (experiment, run_id):
        raise RecordBroken(
            f"{key} is the record of another run, {spec.experiment[:100]}/{spec.run[:100]}: was "
            "it copied or renamed by hand?"
        )


def parse_record(key: str, data: bytes) -> dict[str, Any]:
    """Parse the JSON object of a record; RecordBroken if the bytes do not hold one.

    Text must be UTF-8 without lone surrogates, with at most 200 levels of nesting. Writers of
    records satisfy this, and few libraries can read anything else.
    """
    from pydantic_core import from_json  # in a third of the time of json.loads

    try:
        record = from_json(data)
    except ValueError as exc:
        raise RecordBroken(f"{key} is not whole JSON: {exc}.") from exc
    if not isinstance(record, dict):
        raise RecordBroken(f"{key} holds {type(record).__name__}, not a JSON object.")
    return record
