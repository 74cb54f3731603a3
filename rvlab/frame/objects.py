"""True and predicted objects of runs, from tables that are stored beside each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.cache.query import Query
from rvlab.errors import NotFound, SpecError, did_you_mean
from rvlab.frame.confusion_rows import confusion_rows_from_counts
from rvlab.frame.counted_tables import load_or_count_tables, select_group
from rvlab.frame.identifying_columns import IdentifyingColumns, read_identifying_columns
from rvlab.frame.run_selector import RunsOrListings, listings_of_runs
from rvlab.frame.untrusted_parquet import broken_table_error
from rvlab.model import Run, headline_group
from rvlab.model.schema import WHOLE
from rvlab.model.tables import LAB_TABLES, OBJECTS_TABLE, OUTCOMES_TABLE
from rvlab.object_metrics import IOU_THRESHOLDS, ScoredObjects, threshold_index
from rvlab.raster.scene import SCENE_GROUPS
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

OBJECT_COLUMNS = ("run", "group", "scene", "side", "class", "outcome", "score", "matched_at")
"""The columns of `objects_table` that metrics of objects need."""

OUTCOMES = ("true positive", "false positive", "false negative")


def objects_table(
    store: Store,
    selected: RunsOrListings,
    *,
    iou: float = 0.5,
    min_area_px: float = 1,
    group: str | None = None,
    classes: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the true and predicted objects of runs; see `rvlab.Lab.objects`."""
    if not 0.5 <= iou <= 1:
        raise SpecError(
            f"iou must be from 0.5 to 1, got {iou}. Below 0.5 an object can match several others."
        )
    with Query(store) as query:
        listings = listings_of_runs(query, selected)
        columns = read_identifying_columns(query, listings)
    wanted = [run for one in listings for run in one.runs]
    tables = load_objects_by_run(store, wanted)
    if wanted and not tables:
        raise NotFound("None of the runs has objects.")
    tables = {run: _with_outcomes(table, iou, min_area_px) for run, table in tables.items()}
    tables = _in_group(tables, wanted, group)
    if classes is not None:
        tables = _of_classes(tables, [classes] if isinstance(classes, str) else list(classes))
    return _concat(tables, columns)


def object_confusion_table(
    store: Store, wanted: RunsOrListings, *, each_prediction: bool = False
) -> pd.DataFrame:
    """Return the counts of objects at an IoU of 0.5; see `confusion_rows_from_counts`.

    Args:
        store: The store of the runs.
        wanted: The runs.
        each_prediction: Whether to return a row for each predicted object, with its score.
    """
    import pandas as pd
    import pyarrow.compute as pc

    with Query(store) as query:
        listings = listings_of_runs(query, wanted)
    runs = [run for one in listings for run in one.runs]
    parts, predictions = [], []
    names = ["group", "scene", "class", "outcome", "side"]
    for run, table in load_objects_by_run(store, runs).items():
        rows = _with_outcomes(table, 0.5, 1)
        counted = rows.select(names).group_by(names).aggregate([([], "count_all")])
        parts.append(counted.to_pandas().assign(run=run))
        if each_prediction:
            predicted = rows.filter(pc.equal(rows["side"], "prediction"))
            predicted = predicted.select(["group", "scene", "class", "score", "matched_at"])
            predictions.append(predicted.to_pandas().assign(run=run))
    if not parts:
        raise NotFound("None of the runs has objects.")
    found = pd.concat(parts)
    found = found[(found["side"] == "truth") | (found["outcome"] == "false positive")]
    keys = ["run", "group", "scene", "class"]
    counts = found.groupby([*keys, "outcome"], observed=True)["count_all"].sum().unstack("outcome")
    counts = counts.reindex(columns=list(OUTCOMES)).fillna(0).set_axis(["tp", "fp", "fn"], axis=1)
    if not each_prediction:
        return confusion_rows_from_counts(store, listings, counts.reset_index())
    counts[["tp", "fp"]] = 0  # a row for each prediction counts them
    return confusion_rows_from_counts(store, listings, counts.reset_index(), pd.concat(predictions))


def scored_object_arrays(table: pd.DataFrame) -> ScoredObjects:
    """Convert rows of `objects_table` to arrays; a scene of two runs is two scenes."""
    import pandas as pd

    scenes = table.groupby(["run", "group", "scene"], sort=False, observed=True).ngroup()
    class_ids, classes = pd.factorize(table["class"])
    return ScoredObjects(
        is_truth=(table["side"] == "truth").to_numpy(dtype=bool),
        scenes=scenes.to_numpy().astype(np.int64),
        class_ids=class_ids.astype(np.int64),
        scores=table["score"].to_numpy(dtype=float),
        matched_at=table["matched_at"].to_numpy(dtype=np.int64),
        classes=len(classes),
    )


def load_objects_by_run(store: Store, wanted: Sequence[Run]) -> dict[str, pa.Table]:
    """Return the objects of each run, by run id; see `load_or_count_tables`."""
    return load_or_count_tables(store, wanted, OBJECTS_TABLE, _require_valid_objects)


def _with_outcomes(table: pa.Table, iou: float, min_area_px: float) -> pa.Table:
    """Return the objects with at least a minimum area, with the column ``outcome``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    boxes = (table.schema.metadata or {}).get(b"task") == b"object_detection"
    bits = table["matched_at"].to_numpy()
    if boxes:
        if min_area_px > 1:
            raise SpecError(
                "min_area_px is for the components of masks; boxes were matched with all others. "
                "Select rows by area_px."
            )
        matched = bits >> threshold_index(iou) & 1 == 1
    else:  # the match at 0.5 is the match at every larger IoU that it has
        matched = (bits & 1 == 1) & (table["best_iou"].to_numpy() >= iou)
    is_truth = pc.equal(table["side"], "truth").to_numpy()
    kept = None
    if min_area_px > 1:
        kept = table["area_px"].to_numpy() >= min_area_px
        without_partner = np.zeros(len(table), bool)
        at = np.flatnonzero(bits & 1)
        without_partner[at] = ~kept[_partner_rows(table)[at]]
        matched = matched & ~without_partner
        bits = np.where(without_partner, 0, bits)
        place = table.schema.get_field_index("matched_at")
        table = table.set_column(place, "matched_at", pa.array(bits, pa.int32()))
    codes = np.where(matched, 0, np.where(is_truth, 2, 1)).astype(np.int8)
    outcome = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(OUTCOMES))
    after = OUTCOMES_TABLE.names.index("outcome")
    table = table.add_column(after, "outcome", outcome)
    return table if kept is None else table.filter(pa.array(kept))


def _partner_rows(table: pa.Table) -> NDArray[np.intp]:
    """Return the row number of each object's partner; without a partner, of the object itself."""
    number = table["object"].to_numpy()
    own = np.arange(len(number))
    partner = table["partner"].fill_null(-1).to_numpy()
    return np.asarray(np.where(partner < 0, own, own - number + partner))


def _require_valid_objects(key: str, table: pa.Table) -> None:
    """Require that objects of a scene are numbered from 0, and that partners exist."""
    import pyarrow.compute as pc

    if not len(table):
        return
    if min(pc.min(table.column(side)).as_py() for side in ("width", "height")) < 1:
        raise broken_table_error(key, "it has an empty window.")
    if sides := set(table["side"].unique().to_pylist()) - {"truth", "prediction"}:
        raise broken_table_error(key, f"it has objects of the side {sides.pop()!r}.")
    if pc.max(table["matched_at"]).as_py() >= 1 << len(IOU_THRESHOLDS):
        raise broken_table_error(key, "it has a match at an unknown IoU.")
    number, rows = table["object"].to_numpy(), np.arange(len(table))
    first = np.maximum.accumulate(np.where(number == 0, rows, -1))
    scenes = np.flatnonzero(number == 0)
    size = np.diff(np.append(scenes, len(table)))
    if first[0] < 0 or (number != rows - first).any():
        raise broken_table_error(key, "its objects are not numbered from 0 in each scene.")
    partner = table["partner"].fill_null(-1).to_numpy()
    if (partner >= np.repeat(size, size)).any():
        raise broken_table_error(key, "it has a partner that does not exist.")


def _in_group(
    tables: Mapping[str, pa.Table], wanted: Sequence[Run], group: str | None
) -> dict[str, pa.Table]:
    import pyarrow.compute as pc

    if group is not None and group not in SCENE_GROUPS:
        return select_group(tables, wanted, group)
    each = {run: table["group"].unique().to_pylist() for run, table in tables.items()}
    if group is None:
        group = headline_group({name for names in each.values() for name in names} or SCENE_GROUPS)
    return {
        run: table if each[run] == [group] else table.filter(pc.equal(table["group"], group))
        for run, table in tables.items()
    }


def _of_classes(tables: Mapping[str, pa.Table], classes: Sequence[str]) -> dict[str, pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not classes:
        raise SpecError("classes is empty. Name a class, or omit it for all classes.")
    known = {name for table in tables.values() for name in table["class"].unique().to_pylist()}
    for name in classes:
        if known and name not in known:
            raise NotFound(f"No run has objects of the class {name!r}. {did_you_mean(name, known)}")
    names = pa.array(classes, pa.string())
    return {run: table.filter(pc.is_in(table["class"], names)) for run, table in tables.items()}


def _concat(tables: Mapping[str, pa.Table], columns: IdentifyingColumns) -> pd.DataFrame:
    """Concatenate the objects of runs, with the columns of the runs and the declared dtypes."""
    import pandas as pd
    import pyarrow as pa

    if not tables:
        dtypes = LAB_TABLES["objects"].dtypes
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})
    rows = pa.concat_tables([table.replace_schema_metadata() for table in tables.values()])
    position = {id_: i for i, (_, id_) in enumerate(columns.keys)}
    counts = [len(table) for table in tables.values()]
    places = np.repeat(np.array([position[run] for run in tables], np.intp), counts)
    ids = np.array([id_ for _, id_ in columns.keys], dtype=object)
    found: dict[str, Any] = {"run": ids[places], **columns.take(places)}
    for name, dtype in OUTCOMES_TABLE.dtypes.items():
        if dtype == WHOLE:  # astype would check each number
            column = rows[name]
            values = column.fill_null(0).to_numpy().astype("int64")
            found[name] = pd.arrays.IntegerArray(values, column.is_null().to_numpy())
        else:
            found[name] = rows[name].to_pandas().astype(dtype)
    return pd.DataFrame(found, copy=False)
