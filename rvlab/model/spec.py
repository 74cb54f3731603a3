"""The spec of a run, ``spec.json``: everything that is needed to repeat the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rvlab.errors import RecordBroken
from rvlab.model.record import read_record, require_schema, require_times
from rvlab.model.run import RUN_KINDS, TRAINING
from rvlab.model.schema import TIME_S, column_field

SPEC_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The request of a submitted run: its recipe, parameters, seed and environment.

    The fields with `column_field` are columns of the table of runs, with that meaning.

    Args:
        run: The id of the run.
        params: The parameters of the recipe, with resolved defaults.
        places: `root_uri` and `data_uri`, if they were passed or filled in.
        folder: The folder of the recipe's file on the submitting machine, to resolve imports of
            modules beside it; None for a shipped recipe or a notebook cell.
        file: The path of the recipe's file on the submitting machine, its ``__file__`` if it exists
            where the recipe is called; None for a shipped recipe or a notebook cell.
        rvlab: The version of rvlab that submitted the run.
        steady_heartbeat: Whether the run writes heartbeats from its start to its end, as its engine
            says; None in older records, which counts as False.
        schema: The schema number of this record.
    """

    experiment: str
    run: str
    name: str = field(
        metadata=column_field("A short name; by default the parameters in which the run differs.")
    )
    created: str = field(metadata=column_field("The time of the submission.", dtype=TIME_S))
    engine: str = field(metadata=column_field("The engine of the run.", in_report=True))
    recipe: str = field(
        metadata=column_field("The name of the recipe.", diff="recipe", in_report=True)
    )
    source_sha256: str = field(
        metadata=column_field("The SHA-256 of the recipe's source, in hexadecimal.", diff="source")
    )
    params: Mapping[str, Any]
    places: Mapping[str, str]
    seed: int = field(
        metadata=column_field(
            "The seed of Python, numpy, torch and the data loaders.", diff="seed", in_report=True
        )
    )
    splits: int = field(
        metadata=column_field(
            "The largest number of parallel pieces of chip and predict.", diff="splits"
        )
    )
    image: str | None = field(
        default=None,
        metadata=column_field(
            "The container image, with its digest if it is known.", diff="image", in_report=True
        ),
    )
    commit: str | None = field(
        default=None,
        metadata=column_field(
            "The git commit of the recipe's folder; missing outside a repository.",
            diff="commit",
            in_report=True,
        ),
    )
    dirty: bool | None = field(
        default=None,
        metadata=column_field("Whether that folder had uncommitted changes.", diff="commit"),
    )
    user: str = field(
        default="", metadata=column_field("Who submitted the run: `user@host`.", in_report=True)
    )
    sweep: str | None = field(default=None, metadata=column_field("The sweep of the run."))
    parent: str | None = field(
        default=None,
        metadata=column_field(
            "The run of which this run is a clone, or whose model it uses for a prediction."
        ),
    )
    kind: str = field(
        default=TRAINING,
        metadata=column_field(
            "`training`, or `prediction` of new imagery with the model of the parent run.",
            diff="recipe",
            in_report=True,
        ),
    )
    priority: int = field(
        default=0,
        metadata=column_field(
            "The priority in the queue of this machine: waiting runs with the highest one start "
            "first."
        ),
    )
    folder: str | None = None
    file: str | None = None
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
        if found.kind not in RUN_KINDS:
            raise RecordBroken(
                f"{key} is not a run's spec: kind must be one of {', '.join(RUN_KINDS)}, got "
                f"{found.kind!r:.40}."
            )
        return found
