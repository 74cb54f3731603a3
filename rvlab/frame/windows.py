"""The windows of runs that are worth a look, from counts that lie beside each run."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvlab.errors import KeyMissing, NotFound, RvlabError, StoreError
from rvlab.frame import rank_windows
from rvlab.frame.align_windows import align_windows
from rvlab.frame.parquet import broken_table_error, conform_to_schema, read_parquet
from rvlab.model import Run
from rvlab.model.limits import TABLE_BYTES
from rvlab.raster.run_source import load_run_source
from rvlab.raster.score_windows import score_scene
from rvlab.raster.window_counts import WINDOWS_SCHEMA, concat_windows
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

WINDOWS_KEY = ("tables", "windows.parquet")


def windows_table(
    store: Store,
    wanted: Sequence[Run],
    by: str = "error",
    *,
    n: int = 12,
    size: int | None = None,
    classes: str | Sequence[str] | None = None,
    group: str | None = None,
    scenes: str | Sequence[str] | None = None,
    per_scene: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Windows of the runs' scenes that are worth a look, the most telling first.

    No raster is read: the step summarize counted, window by window, what each prediction has right
    and wrong. Of runs without these counts (adopted ones, and those of older versions of rvlab)
    they are made now, and kept beside the run where the store may be written.

    Args:
        store: Of the runs.
        wanted: The runs; only windows that all of them predicted are compared.
        by: ``error``: where they are wrong most, on average. ``disagreement``: where they differ
            most. ``difference``: where the second run beats the first, and then where the first
            beats the second. ``confident_error``: where they were wrong with a score of 0.9 or
            more. ``class``: where the truth has most of `classes`. ``random``: any, by `seed`.
        n: Rows at most.
        size: Side of the windows in pixels, a multiple of those that were counted (a power of two,
            64 or more). None takes 512, or less in small scenes.
        classes: Names of the classes that the score is about; None is all.
        group: ``validation`` or ``test``; None is validation, or test without it.
        scenes: Ids of scenes to look at; None is all of the group.
        per_scene: Rows of one scene at most.
        seed: Of ``random``.

    Returns:
        ``scene col row width height score group by run pixels``, a row per window; col to height
        in pixels, cut at the edge of what was counted. `pixels` are those with a label (cells of a
        chip classification, true boxes of an object detection). `score` is a share of the fullest
        window's `pixels`, so that a sliver at the edge does not come first; of an object detection
        it is a number of boxes. Of ``difference`` it is negative where the first run is better.
        `run` is the run that is worst there (with ``difference``: better), NA where it is no one's.

    Raises:
        NotFound: If there is no such `by`, class, group or scene, or no run has counts.
        SpecError: If `by` asks for other runs or arguments than were given, or `size` does not fit.
    """
    rank_windows.validate_ranking(by, [run.id for run in wanted], classes, n)
    rank_windows.require_positive_int(size=size, per_scene=per_scene)
    tables = load_window_counts(store, wanted)
    if not tables:
        raise NotFound("None of the runs has predictions to look at.")
    counts = align_windows(tables, group, scenes)
    rank_windows.validate_ranking(by, counts.runs, classes, n)  # of those that are left
    return rank_windows.rank_windows(
        counts, by, n=n, size=size, classes=classes, per_scene=per_scene, seed=seed
    )


def load_window_counts(store: Store, wanted: Sequence[Run]) -> dict[str, pa.Table]:
    """The counts of each run, by its id; a run without any is left out, and a warning says why."""
    found = store.map_concurrently(
        lambda uri: _read_counts(store, Run.from_uri(uri)), [run.uri for run in wanted]
    )
    out = {}
    for run in wanted:
        table = found[run.uri]
        if isinstance(table, KeyMissing):
            table = _count_now(store, run)  # one after the other: each takes much memory
        if isinstance(table, RvlabError):
            warnings.warn(f"The run {run.id} is left out: {table}", stacklevel=4)
        else:
            out[run.id] = table
    return out


def _read_counts(store: Store, run: Run) -> pa.Table | RvlabError:
    key = run.key(*WINDOWS_KEY)
    try:
        table = read_parquet(key, store.get(key, limit=TABLE_BYTES))
        whole = [one.name for one in WINDOWS_SCHEMA if str(one.type).startswith("int")]
        needed = [name for name in WINDOWS_SCHEMA.names if name != "confident_fp"]
        table = conform_to_schema(key, table, WINDOWS_SCHEMA, needed=needed, positive=whole)
        _require_windows(key, table)
    except RvlabError as exc:
        return exc
    return table


def _require_windows(key: str, table: pa.Table) -> None:
    """Check that each window holds pixels, and has each class once."""
    import pyarrow.compute as pc

    if not len(table):
        return
    if min(pc.min(table.column(side)).as_py() for side in ("width", "height")) < 1:
        raise broken_table_error(key, "it has a window without a pixel.")
    one = ["group", "scene", "col", "row", "class"]
    if len(table.group_by(one).aggregate([])) < len(table):
        raise broken_table_error(key, "it has two rows for a class of a window.")


def _count_now(store: Store, run: Run) -> pa.Table | RvlabError:
    """Count the windows of a run that has no table of them, and keep it if that is allowed."""
    import pyarrow.parquet as pq

    one = load_run_source(run.id, run.uri)
    if one.error is not None:
        return one.error
    done = [score_scene(scene, one.classes) for scene in one.scenes if scene.group != "train"]
    parts = [each.windows for each in done if each.windows is not None]
    troubles = [trouble for each in done for trouble in each.problems]
    if not parts:
        why = next(iter(troubles), "it has no scenes.")
        return NotFound(f"nothing of it could be counted: {why}")
    for trouble in troubles:
        warnings.warn(f"The run {run.id} is not counted whole. {trouble}", stacklevel=5)
    table = concat_windows(parts, one.scenes[0].task)
    # A run that goes on may still predict, and a scene that cannot be read now may be tomorrow.
    if not troubles and store.exists(run.end_key):
        data = io.BytesIO()
        pq.write_table(table, data, compression="zstd", write_page_checksum=True)
        try:
            store.put(run.key(*WINDOWS_KEY), data.getvalue())
        except StoreError as exc:
            warnings.warn(f"The counts of {run.id} are not kept for the next time: {exc}")  # noqa: B028
    return table
