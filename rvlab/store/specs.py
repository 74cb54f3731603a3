"""The spec of a run: the record that is written when the run is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
