"""The tables that runs leave: evaluations, confusion, history, artifacts. All join on ``run``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rvlab.errors import KeyMissing, RecordBroken, RvlabError
from rvlab.model import Run
from rvlab.model.log import epochs
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd

EVALS: dict[str, Any] = {
    "run": "object",
    "group": "string",
    "scene": "string",
    "class": "string",
    "metric": "string",
    "value": "float64",
}
CONFUSION: dict[str, Any] = {
    "run": "object",
    "group": "string",
    "scene": "string",
    "truth": "string",
    "prediction": "string",
    "count": "int64",
}
ARTIFACTS: dict[str, Any] = {
    "run": "object",
    "step": "string",
    "kind": "string",
    "scene": "string",
    "uri": "string",
    "bytes": "int64",
}
SCENES: dict[str, Any] = {
    "run": "object",
    "group": "string",
    "scene": "string",
    "image": "string",
    "labels": "string",
    "aois": "string",
    "rests_on": "string",
}
HISTORY: dict[str, Any] = {"run": "object", "epoch": "int64"}


def evals(store: Store, wanted: Sequence[Run]) -> pd.DataFrame:
    """The evaluation of each run, long.

    Returns:
        ``run group scene class metric value``; scene is NA for the whole group, class is NA over
        all classes. Runs that have not been evaluated have no rows.
    """
    return _typed(_parquet(store, wanted, "evals", EVALS), EVALS)


def confusion(store: Store, wanted: Sequence[Run]) -> pd.DataFrame:
    """The confusion matrices of each run, long: pixels (or cells) by truth and prediction.

    Returns:
        ``run group scene truth prediction count``; scene is NA for the whole group.
    """
    return _typed(_parquet(store, wanted, "confusion", CONFUSION), CONFUSION)


def scenes(store: Store, wanted: Sequence[Run]) -> pd.DataFrame:
    """Fingerprints of what each run was scored on: equal where the pixels, or the labels, are.

    Returns:
        ``run group scene image labels aois rests_on``; aois is NA where a scene has no areas of
        interest, rests_on is ``content``, or ``address`` where a file could not be read.
    """
    return _typed(_parquet(store, wanted, "scenes", SCENES), SCENES)


def artifacts(store: Store, wanted: Sequence[Run]) -> pd.DataFrame:
    """Every file that Raster Vision left in a run that has been summarized.

    Returns:
        ``run step kind scene uri bytes``; scene is NA where a file belongs to none.
    """
    columns = {**{n: t for n, t in ARTIFACTS.items() if n != "uri"}, "key": "string"}
    found = _parquet(store, wanted, "artifacts", columns)
    uris = {run.id: run.uri for run in wanted}
    if len(found):
        # Files of an adopted run lie elsewhere, and have a whole address for a key.
        whole = found["key"].str.match(r"/|[a-z0-9]+://")
        found["uri"] = found["key"].where(whole, found["run"].map(uris) + "/" + found["key"])
    return _typed(found, ARTIFACTS)


def history(store: Store, wanted: Sequence[Run]) -> pd.DataFrame:
    """One row per run and epoch, complete, of runs that are still training too.

    Returns:
        ``run epoch``, then the columns of Raster Vision's ``train/log.csv`` under its own names;
        times in seconds end in ``_s``.
    """
    import pandas as pd
    import pyarrow.parquet  # noqa: F401  # here, not in several threads at once

    found = store.each(lambda uri: _log(store, Run.from_uri(uri)), [run.uri for run in wanted])
    ids = {run.uri: run.id for run in wanted}
    table = pd.DataFrame([{"run": ids[uri], **row} for uri, rows in found.items() for row in rows])
    if table.empty:
        return _typed(table, HISTORY)
    rest = {name: "float64" for name in table.columns if name not in HISTORY}
    return table[[*HISTORY, *rest]].astype({**HISTORY, **rest})


def _log(store: Store, run: Run) -> list[dict[str, Any]]:
    try:
        text = store.get(run.key("rv", "train", "log.csv")).decode(errors="replace")
        return list(epochs(text))
    except KeyMissing:
        return _kept_log(store, run)
    except RecordBroken as exc:
        _left_out(run, exc)
        return []


def _kept_log(store: Store, run: Run) -> list[dict[str, Any]]:
    """What was kept of a log that is not below the run: that of an adopted one lies elsewhere."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    key = run.key("tables", "history.parquet")
    try:
        found: list[dict[str, Any]] = pq.read_table(io.BytesIO(store.get(key))).to_pylist()
    except KeyMissing:
        return []
    except (pa.ArrowException, OSError, ValueError) as exc:
        if isinstance(exc, RvlabError):
            raise
        _left_out(run, RecordBroken(f"{key} is not the parquet file that rvlab writes: {exc}"))
        return []
    return found


def _parquet(
    store: Store, wanted: Sequence[Run], name: str, columns: Mapping[str, Any]
) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(n, pa.type_for_alias(t)) for n, t in columns.items() if n != "run"])
    keys = {run.key("tables", f"{name}.parquet"): run for run in wanted}
    parts = []
    for key, data in store.get_many(keys).items():
        if isinstance(data, KeyMissing):
            continue
        if isinstance(data, RvlabError):
            raise data
        try:
            part = pq.read_table(io.BytesIO(data)).select(schema.names).cast(schema)
        except (pa.ArrowException, KeyError, OSError, ValueError) as exc:
            what = f"{key} is not the parquet file that rvlab writes"
            _left_out(keys[key], RecordBroken(f"{what}: {exc}"))
            continue
        column = pa.array([keys[key].id] * len(part), pa.string())
        parts.append(part.append_column("run", column))
    if not parts:
        return pd.DataFrame()
    table: pd.DataFrame = pa.concat_tables(parts).to_pandas()
    return table


def _left_out(run: Run, exc: RvlabError) -> None:
    """One broken file does not take the table with it, and is not passed over in silence."""
    warnings.warn(f"The run {run.id} is left out of the table: {exc}", stacklevel=5)


def _typed(table: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    if table.empty:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
    return table[list(columns)].astype(columns)
