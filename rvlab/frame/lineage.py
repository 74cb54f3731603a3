"""Table of the ancestors and descendants of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rvlab.cache.dtypes import cast_or_missing
from rvlab.errors import NotFound, did_you_mean
from rvlab.frame.params import is_missing
from rvlab.frame.run_selector import RunSelector, require_one
from rvlab.model import PREDICTION
from rvlab.model.schema import TEXT, WHOLE
from rvlab.model.tables import RUNS_TABLE
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd

LINEAGE_COLUMNS = ("name", "state", "created", "uri")
LINEAGE_METRICS = ("metrics.f1", "metrics.mean_iou")


def lineage_of(store: Store, runs: pd.DataFrame, run: RunSelector) -> pd.DataFrame:
    """Return the lineage of a run, or of the id of a deleted parent; see `relatives_table`."""
    id_ = run.rstrip("/").rpartition("/")[2] if isinstance(run, str) else None
    if id_ is None or id_ not in set(runs["parent"].dropna()):
        id_ = require_one(store, run, "lineage").id
    return relatives_table(runs, id_)


def relatives_table(runs: pd.DataFrame, run: str) -> pd.DataFrame:
    """Return a run with its ancestors and descendants, the oldest first.

    Args:
        runs: The table of all runs to search.
        run: The id of the run, or of the deleted parent of a run.

    Returns:
        Index ``run``; ``name state generation`` (0 for the run, negative for ancestors, positive
        for descendants), ``changed`` (the parameters, seed, splits and recipe source that differ
        from the parent's; missing if the parent is unknown or nothing differs), ``metrics.f1`` and
        ``metrics.mean_iou`` if `runs` has them, ``created parent uri``. A deleted parent is a row
        with the state ``deleted``.

    Raises:
        NotFound: If the run does not exist and no run has it as parent.
    """
    import pandas as pd

    known = runs[~runs.index.duplicated()]
    parents = {str(k): str(v) for k, v in known["parent"].dropna().items()}
    if run not in known.index and run not in parents.values():
        suggestion = did_you_mean(run, [str(k) for k in known.index])
        raise NotFound(f"No run {run!r}, so it has no lineage. {suggestion}")
    generations = _generations(parents, run)
    ids = list(generations)
    part = known.reindex(ids)
    state = part["state"].where(part.index.isin(known.index), "deleted")
    columns: dict[str, Any] = {
        "generation": cast_or_missing(list(generations.values()), WHOLE),
        "parent": cast_or_missing([parents.get(id_) for id_ in ids], TEXT),
        "changed": cast_or_missing(
            [_describe_change(known, id_, parents.get(id_)) for id_ in ids], TEXT
        ),
    }
    for name in LINEAGE_COLUMNS:
        columns[name] = cast_or_missing(
            list(state if name == "state" else part[name]), RUNS_TABLE.dtypes[name]
        )
    for name in LINEAGE_METRICS:
        if name in part:
            columns[name] = cast_or_missing(list(part[name]), "float64")
    measured = [name for name in LINEAGE_METRICS if name in columns]
    order = ["name", "state", "generation", "changed", *measured, "created", "parent", "uri"]
    table = pd.DataFrame({name: columns[name] for name in order})
    table.index = pd.Index(ids, name="run", dtype="object")
    # The id of a run begins with its time; a deleted run has no other record.
    times = pd.to_datetime(
        pd.Series(ids).str[:15], format="%Y%m%d-%H%M%S", utc=True, errors="coerce"
    )
    created = pd.Series(list(table["created"]), dtype=times.dtype)
    by_time = pd.DataFrame(
        {"time": created.fillna(times), "generation": list(generations.values())}
    )
    by_time = by_time.sort_values(["time", "generation"], kind="stable", na_position="first")
    return table.iloc[by_time.index.to_numpy()]


def _generations(parents: dict[str, str], run: str) -> dict[str, int]:
    """Return the generation of each relative of a run; a cycle of parents is followed once."""
    found = {run: 0}
    one = run
    while parents.get(one) and parents[one] not in found:
        found[parents[one]] = found[one] - 1
        one = parents[one]
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    now = [run]
    while now:
        born = [child for one in now for child in children.get(one, []) if child not in found]
        found |= {child: found[parents[child]] + 1 for child in born}
        now = born
    return found


def _describe_change(runs: pd.DataFrame, run: str, parent: str | None) -> str | None:
    """Describe the differences between a run and its parent in words."""
    if parent is None or run not in runs.index or parent not in runs.index:
        return None
    old, new = runs.loc[parent], runs.loc[run]
    if "broken" in (old["state"], new["state"]):
        return None
    if "kind" in runs and new["kind"] == PREDICTION != old["kind"]:
        return PREDICTION
    names = [c for c in runs.columns if str(c).startswith("params.") and c != "params.seed"]
    parts = [
        f"{str(name).removeprefix('params.')}: {_format(old[name])} → {_format(new[name])}"
        for name in (*names, "seed", "splits")
        if not _equal(old[name], new[name])
    ]
    if not _equal(old["source_sha256"], new["source_sha256"]):
        parts.append("recipe source")
    return "; ".join(parts) or None


def _equal(a: Any, b: Any) -> bool:
    if is_missing(a) or is_missing(b):
        return is_missing(a) and is_missing(b)
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _format(value: Any) -> str:
    if is_missing(value):
        return "–"
    return str(value.item() if hasattr(value, "item") else value)
