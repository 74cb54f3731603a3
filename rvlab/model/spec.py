"""The spec of a run, ``spec.json``: everything that is needed to repeat the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rvlab.model.record import read_record, require_schema, require_times

SPEC_SCHEMA = 1


@dataclass(frozen=True)
class Spec:
    """The request of a submitted run: its recipe, parameters, seed and environment.

    Args:
        experiment: The name of the experiment.
        run: The id of the run.
        name: A short name for people; by default the parameters in which the run differs.
        recipe: The name of the recipe; its source is stored beside the spec as ``recipe.py``.
        source_sha256: SHA-256 of that source, in hexadecimal.
        params: The parameters of the recipe, with resolved defaults.
        places: `root_uri` and `data_uri`, if they were passed or filled in.
        splits: The maximum number of splits of chip and predict.
        seed: The seed of Python, numpy, torch and the data loaders.
        engine: The engine of the run.
        created: The time of the submission, ISO 8601 in UTC.
        user: The user that submitted the run.
        commit: The git commit of the working directory; None outside a repository.
        dirty: Whether that directory had uncommitted changes.
        image: The container image, with its digest if it is known.
        sweep: The sweep of the run.
        parent: The run that this run is a clone of.
        folder: The folder of the recipe's file on the submitting machine, to resolve imports of
            modules beside it; None for a shipped recipe or a notebook cell.
        rvlab: The version of rvlab that submitted the run.
        steady_heartbeat: Whether the run writes heartbeats from its start to its end, as its engine
            says; None in older records, which counts as False.
        schema: The schema number of this record.
    """

    experiment: str
    run: str
    name: str
    recipe: str
    source_sha256: str
    params: Mapping[str, Any]
    places: Mapping[str, str]
    splits: int
    seed: int
    engine: str
    created: str
    user: str = ""
    commit: str | None = None
    dirty: bool | None = None
    image: str | None = None
    sweep: str | None = None
    parent: str | None = None
    folder: str | None = None
    rvlab: str = ""
    steady_heartbeat: bool | None = None
    schema: int = field(default=SPEC_SCHEMA)

    def record(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: object, key: str) -> Spec:
        """Parse a record; keys that a later version added are ignored.

        Raises:
            RecordBroken: If a field is missing or has another type.
        """
        found = read_record(cls, record, key, "a run's spec")
        require_schema(found.schema, key)
        require_times(found, key, "a run's spec", "created")
        return found
