"""Counts of the scenes of runs: read from the tables of each run, or counted now and stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rvlab.errors import KeyMissing, NotFound, RvlabError, StoreError
from rvlab.frame.untrusted_parquet import conform_to_schema, decode_parquet
from rvlab.model import Run
from rvlab.model.limits import TABLE_BYTES
from rvlab.model.schema import TableSchema
from rvlab.model.tables import BOUNDARIES_TABLE, OBJECTS_TABLE
from rvlab.raster.boxes import BOX_TASKS, CELLS
from rvlab.raster.scene import load_run_source, require_group
from rvlab.raster.score_scene import concat_scenes, score_scene
from rvlab.store import Store
from rvlab.store.table_file import encode_table
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import pyarrow as pa

    ValidateTable = Callable[[str, pa.Table], None]
    """Raises RecordBroken for a table with invalid values, given its key."""


def load_or_count_tables(
    store: Store,
    wanted: Sequence[Run],
    schema: TableSchema,
    validate: ValidateTable,
    *,
    distance_px: int | None = None,
) -> dict[str, pa.Table]:
    """Return one of `COUNTED_TABLES` of each run, by run id.

    Args:
        store: The store of the runs.
        wanted: The runs. For a run without the table its scenes are counted now; the counts are
            stored if the run has ended, no scene failed and the store allows it.
        schema: The table.
        validate: The check of a table that was read.
        distance_px: For the table of boundaries: the distance. Runs whose stored counts have
            another one are counted now, and these counts are not stored.

    Warns:
        UserWarning: For a run without counts, which is left out, and for missing scenes.
    """
    keys = [counts_key(run, schema) for run in wanted]
    data = store.map_concurrently(lambda key: _get_or_error(store, key), keys)
    out = {}
    for run, key in zip(wanted, keys, strict=True):
        # Decode in this thread: many threads would compete for the interpreter.
        table = _decode_counts(key, data.pop(key), schema, validate)
        if isinstance(table, KeyMissing) or not _has_distance(table, distance_px):
            # One run after another, since counting needs much memory.
            table = _count_now(store, run, schema, distance_px)
        if isinstance(table, RvlabError):
            warn_user(f"The run {run.id} is left out: {table}")
            continue
        if omitted := (table.schema.metadata or {}).get(b"omitted"):
            warn_user(
                f"The {schema.name} of the run {run.id} lack scenes that summarize could not "
                f"count: {omitted.decode(errors='replace'):.200}. Its log has the reasons.",
            )
        out[run.id] = table
    return out


def select_group(
    tables: Mapping[str, pa.Table], wanted: Sequence[Run], group: str
) -> dict[str, pa.Table]:
    """Select the counts of the scenes of a group that the configs define, and set its name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sources = [load_run_source(run.id, run.uri) for run in wanted if run.id in tables]
    require_group(group, sources)
    out = {}
    for one in sources:
        table = tables[one.run]
        members = pa.array([scene.id for scene in one.in_group(group)], pa.string())
        table = table.filter(pc.is_in(table["scene"], members))
        # A scene that is predicted in two groups is counted in both; use it once.
        both = table.filter(pc.equal(table["group"], "validation"))
        rest = pc.invert(pc.is_in(table["scene"], both["scene"].combine_chunks()))
        table = pa.concat_tables([both, table.filter(rest)])
        name = pa.array([group] * len(table), pa.string())
        out[one.run] = table.set_column(0, "group", name)
    return out


def _has_distance(table: pa.Table | RvlabError, distance_px: int | None) -> bool:
    if distance_px is None or isinstance(table, RvlabError):
        return True
    return set(table["distance_px"].unique().to_pylist()) <= {distance_px}


def _get_or_error(store: Store, key: str) -> bytes | RvlabError:
    try:
        return store.get(key, limit=TABLE_BYTES)
    except RvlabError as exc:
        return exc


def _decode_counts(
    key: str, data: bytes | RvlabError, schema: TableSchema, validate: ValidateTable
) -> pa.Table | RvlabError:
    if isinstance(data, RvlabError):
        return data
    try:
        table = conform_to_schema(key, decode_parquet(key, data), schema)
        validate(key, table)
    except RvlabError as exc:
        return exc
    return table


def counts_key(run: Run, schema: TableSchema) -> str:
    """Return the key of a table of a run."""
    return run.key("tables", f"{schema.name}.parquet")


def _count_now(
    store: Store, run: Run, schema: TableSchema, distance_px: int | None
) -> pa.Table | RvlabError:
    """Count the scenes of a run without stored counts, and store them if allowed."""
    one = load_run_source(run.id, run.uri)
    if one.error is not None:
        return one.error
    task = one.scenes[0].task if one.scenes else ""
    if schema is OBJECTS_TABLE and task == CELLS:
        return NotFound("the cells of a chip classification are not objects.")
    if schema is BOUNDARIES_TABLE and task in BOX_TASKS:
        return NotFound("only the classes of a semantic segmentation have contours.")
    done = [
        score_scene(scene, one.classes, tables=[schema], distance_px=distance_px)
        for scene in one.scenes
        if scene.group != "train"
    ]
    parts = [each.tables[schema.name] for each in done if schema.name in each.tables]
    troubles = [trouble for each in done for trouble in each.problems]
    if not parts:
        why = next(iter(troubles), "it has no scenes.")
        return NotFound(f"none of its scenes could be counted: {why}")
    for trouble in troubles:
        warn_user(f"The counts of the run {run.id} are incomplete. {trouble}")
    table = concat_scenes(schema, parts, task)
    # Do not store incomplete counts: an active run may still predict, and a scene that cannot be
    # read now may be readable later.
    if distance_px is None and not troubles and store.exists(run.end_key):
        try:
            store.put(counts_key(run, schema), encode_table(table))
        except StoreError as exc:
            warn_user(f"The counts of {run.id} could not be stored: {exc}")
    return table
