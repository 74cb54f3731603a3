"""Records of a run that was adopted: its spec, its tables and its end record."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

import pyarrow as pa

from rvlab.errors import KeyExists, SpecError
from rvlab.model import Run, Spec, end_record
from rvlab.recipes.literals import json_value
from rvlab.store import Store
from rvlab.store.run_listing import finish_run
from rvlab.store.rv_outputs import ADOPTED
from rvlab.submission import current_user
from rvlab.version import __version__
from rvlab.worker.records import SPEC
from rvlab.worker.summarize import write_tables

FileSizes: TypeAlias = Sequence[tuple[str, int]]
"""Keys of files and their sizes in bytes."""

ParamsLike: TypeAlias = Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]] | None


@dataclass(frozen=True)
class AdoptedRun:
    """An adopted run before its outputs are counted.

    Args:
        run: Its address.
        name: Its name.
        recipe: What trained it, for the column ``recipe``.
        params: Its parameters.
        source_sha256: SHA-256 of its config; empty without one.
        created: When it was created.
        root_uri: The folder of its outputs; None if its files are in several places.
    """

    run: Run
    name: str
    recipe: str
    params: Mapping[str, Any]
    source_sha256: str
    created: datetime
    root_uri: str | None = None

    def spec(self) -> Spec:
        """Return its spec."""
        return Spec(
            experiment=self.run.experiment,
            run=self.run.id,
            name=self.name,
            recipe=self.recipe,
            source_sha256=self.source_sha256,
            params=self.params,
            places={} if self.root_uri is None else {"root_uri": self.root_uri},
            splits=1,
            seed=0,
            engine=ADOPTED,
            created=iso_time(self.created),
            user=current_user(),
            rvlab=__version__,
        )


@dataclass(frozen=True)
class AdoptedResults:
    """The results of an adopted run.

    Args:
        ended: When it ended.
        tables: Its tables, by name; those that are stored already may be left out.
        metrics: Its headline metrics.
        eval_sets: Scene group -> fingerprint.
        size_bytes: The size of its outputs.
        epochs: The number of epochs; None if it is unknown.
    """

    ended: datetime
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    eval_sets: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int = 0
    epochs: int | None = None


def write_adopted_run(store: Store, one: AdoptedRun, results: AdoptedResults) -> None:
    """Write the records of a run, the end record last, unless another process has written it."""
    spec = one.spec()
    write_tables(store, one.run, results.tables)
    store.put_json(one.run.key(SPEC), spec.record())
    end = end_record(
        spec.record(),
        "succeeded",
        iso_time(results.ended),
        started=spec.created,
        metrics=results.metrics,
        costs={"bytes": results.size_bytes},
        eval_sets=results.eval_sets,
        epochs=results.epochs,
    )
    with contextlib.suppress(KeyExists):  # another process adopts it at the same time
        finish_run(store, one.run, end)


def adopted_run_id(created: datetime, inputs: Iterable[bytes]) -> str:
    """Return an id from a time and a digest of what identifies the run.

    The inputs include the experiment, because ids are unique in a store, and tables are joined on
    them. Each input is preceded by its length, so that different inputs give different data.
    """
    digest = hashlib.sha256()
    for data in inputs:
        digest.update(f"{len(data)} ".encode() + data)
    return f"{created:%Y%m%d-%H%M%S}-{digest.hexdigest()[:6]}"


def iso_time(moment: datetime) -> str:
    """Return a time as in records."""
    return moment.isoformat(timespec="milliseconds")


def merge_params(
    own: Mapping[str, Any], given: ParamsLike, config: dict[str, Any]
) -> dict[str, Any]:
    """Return the parameters of a run: its own with those that the caller adds.

    Args:
        own: The parameters of the run.
        given: A dict, which is added, or a function of the config, whose result replaces them.
        config: The argument of the function.

    Raises:
        SpecError: If a value cannot be recorded.
    """
    if callable(given):
        found = given(config)
        if not isinstance(found, Mapping):
            raise SpecError(
                f"The function params must return a dict of names and values, got {found!r:.100}."
            )
    else:
        found = {**own, **(given or {})}
    return {str(k): json_value(v, f"the parameter {str(k)!r}") for k, v in found.items()}


def require_params(params: ParamsLike) -> None:
    """Require that parameters are a dict or a function.

    Raises:
        SpecError: If they are not.
    """
    if not (params is None or callable(params) or isinstance(params, Mapping)):
        raise SpecError(f"params must be a dict or a function of the config, got {params!r:.100}.")
