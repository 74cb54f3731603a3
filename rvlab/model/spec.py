"""Everything needed to repeat a run, as ``spec.json`` holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rvlab.model.record import read_record, require_schema, require_times

SPEC_SCHEMA = 1


@dataclass(frozen=True)
class Spec:
    """What was asked for when a run was submitted.

    Args:
        experiment: The experiment's name.
        run: The run's id.
        name: A short name for people; by default what sets the run apart.
        recipe: The recipe's name; its source lies beside the spec as ``recipe.py``.
        source_sha256: SHA-256 of that source, in hexadecimal.
        params: The recipe's parameters with their defaults resolved.
        places: `root_uri` and `data_uri` where they were given by hand or filled in.
        splits: Into how many pieces chip and predict are cut, at most.
        seed: Seeds Python, numpy, torch and the data loaders.
        engine: Where it runs.
        created: When it was submitted, ISO 8601 in UTC.
        user: Who submitted it.
        commit: The git commit of the folder it was submitted from; None outside a repository.
        dirty: Whether that folder had changes that were not committed.
        image: The container image, with its digest where it is known.
        sweep: The sweep it belongs to.
        parent: The run it was made from.
        folder: Where the recipe's file lies, on the machine it was submitted from, so that what it
            imports from beside it is found again; None for a shipped recipe or a cell.
        rvlab: The version that submitted it.
        schema: The number of this record's form.
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
    schema: int = field(default=SPEC_SCHEMA)

    def record(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: object, key: str) -> Spec:
        """Read a record; keys that a later version added are left out.

        Raises:
            RecordBroken: If something it needs is missing or of another type.
        """
        found = read_record(cls, record, key, "a run's spec")
        require_schema(found.schema, key)
        require_times(found, key, "a run's spec", "created")
        return found
