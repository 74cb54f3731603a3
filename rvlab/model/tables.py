"""The schemas of all tables: names, dtypes, units and meanings of their columns.

Writers (`rvlab.worker`), readers (`rvlab.frame`, `rvlab.cache`) and ``docs/records.md`` use these.
Columns of the table of runs and of the table of steps are declared at the fields of the records
that have their values: `Spec`, `EndRecord`, `StepRecord`.
"""

from __future__ import annotations

from rvlab.model.end import EndRecord
from rvlab.model.schema import (
    SPAN_S,
    TEXT,
    WHOLE,
    Column,
    TableSchema,
    columns_of,
)
from rvlab.model.spec import Spec
from rvlab.model.step import StepRecord

_GROUP = Column(
    "group",
    TEXT,
    "The scene group: `train`, `validation`, `test` or one of the user.",
    required=True,
)
_SCENE = Column("scene", TEXT, "The id of the scene; missing for the whole group.")
_COUNT_UNIT = "pixels, cells or boxes"

EVALS_TABLE = TableSchema(
    "evals",
    "group, scene, class and metric",
    (
        _GROUP,
        _SCENE,
        Column("class", TEXT, "The class; missing over all classes."),
        Column("metric", TEXT, "The name of the metric, such as `f1`.", required=True),
        Column("value", "float64", "The value; missing if it is undefined."),
    ),
)

CONFUSION_TABLE = TableSchema(
    "confusion",
    "group, scene and pair of classes; no rows for an object detection",
    (
        _GROUP,
        _SCENE,
        Column("truth", TEXT, "The labelled class.", required=True),
        Column("prediction", TEXT, "The predicted class.", required=True),
        Column("count", "int64", "How often the pair occurs.", unit="pixels or cells"),
    ),
)

SCENES_TABLE = TableSchema(
    "scenes",
    "group and scene that was scored",
    (
        _GROUP,
        Column("scene", TEXT, "The id of the scene.", required=True),
        Column("image", TEXT, "The fingerprint of its image."),
        Column("labels", TEXT, "The fingerprint of its labels and of their settings."),
        Column("aois", TEXT, "The fingerprint of its areas of interest; missing if it has none."),
        Column(
            "grid",
            TEXT,
            "The fingerprint of its pixel grid; missing in runs of an earlier version.",
            is_new=True,
        ),
        Column(
            "hashed_from",
            TEXT,
            "`content`, or `address` if a file could not be read and its address was hashed.",
        ),
    ),
)

ARTIFACTS_TABLE = TableSchema(
    "artifacts",
    "file below `rv/`, and one per copy of a prediction",
    (
        Column("step", TEXT, "The step that wrote it."),
        Column("kind", TEXT, "What it is, such as `weights`, `labels` or `labels_copy`."),
        Column("scene", TEXT, "The id of its scene; missing if it belongs to none."),
        Column(
            "key",
            TEXT,
            "Its path below the run's folder; of an adopted run a complete address.",
            required=True,
        ),
        Column("bytes", "int64", "Its size.", unit="bytes"),
    ),
)

ARTIFACT_URIS_TABLE = ARTIFACTS_TABLE.replace_column("key", Column("uri", TEXT, "Its address."))
"""The table of artifacts as `rvlab.Lab.artifacts` returns it."""

HISTORY_TABLE = TableSchema(
    "history",
    "epoch",
    (Column("epoch", "int64", "The number of the epoch, from 0."),),
    (
        Column(
            "…",
            "float64",
            "A column of Raster Vision's `train/log.csv` under its name, or a metric of an "
            "imported run; a name that ends in `_s` is a time in seconds.",
        ),
    ),
)

WINDOWS_TABLE = TableSchema(
    "windows",
    "window of a predicted scene, and class that occurs in it",
    (
        _GROUP,
        Column("scene", TEXT, "The id of the scene.", required=True),
        Column("col", "int32", "The first column of the window.", unit="px"),
        Column("row", "int32", "The first row of the window.", unit="px"),
        Column("width", "int32", "Its width, clipped to the scene.", unit="px"),
        Column("height", "int32", "Its height, clipped to the scene.", unit="px"),
        Column("class", TEXT, "The class.", required=True),
        Column("tp", "int64", "True positives.", unit=_COUNT_UNIT),
        Column("fp", "int64", "False positives.", unit=_COUNT_UNIT),
        Column("fn", "int64", "False negatives.", unit=_COUNT_UNIT),
        Column(
            "confident_fp",
            WHOLE,
            "False positives with a score of 0.9 or more; missing without scores.",
            unit=_COUNT_UNIT,
        ),
    ),
)

_SIDE = Column("side", TEXT, "`truth` or `prediction`.", required=True)

OBJECTS_TABLE = TableSchema(
    "objects",
    "true or predicted object of a predicted scene",
    (
        _GROUP,
        Column("scene", TEXT, "The id of the scene.", required=True),
        _SIDE,
        Column("class", TEXT, "The class.", required=True),
        Column("col", "int32", "The first column of its bounding window.", unit="px"),
        Column("row", "int32", "The first row of its bounding window.", unit="px"),
        Column("width", "int32", "The width of its bounding window.", unit="px"),
        Column("height", "int32", "The height of its bounding window.", unit="px"),
        Column("area_px", "float64", "Its area.", unit="px"),
        Column("area_m2", "float64", "Its area on the ground; missing without a CRS.", unit="m²"),
        Column(
            "score",
            "float64",
            "Of a predicted object: the score of the box, or the mean score of its pixels; missing "
            "without scores.",
        ),
        Column(
            "best_iou",
            "float64",
            "The largest IoU with an object of its class on the other side; 0 without overlap.",
        ),
        Column("center_col", "float64", "The column of its centre.", unit="px"),
        Column("center_row", "float64", "The row of its centre.", unit="px"),
        Column(
            "edge_px",
            "int32",
            "The distance of its bounding window from the scene's edge; 0 where it may be cut off.",
            unit="px",
        ),
        Column("object", "int32", "Its number in the scene, from 0; true objects come first."),
        Column(
            "partner",
            WHOLE,
            "The `object` of the same scene with the `best_iou`; missing without overlap.",
        ),
        Column(
            "matched_at",
            "int32",
            "Whether it is matched at the IoUs 0.50, 0.55, … 0.95: bit 0 for 0.50.",
        ),
    ),
)

BOUNDARIES_TABLE = TableSchema(
    "boundaries",
    "predicted scene of a semantic segmentation, and class except `null`",
    (
        _GROUP,
        Column("scene", TEXT, "The id of the scene.", required=True),
        Column("class", TEXT, "The class.", required=True),
        Column(
            "distance_px",
            "int32",
            "The largest distance of a counted pixel from the contour, in rows and columns.",
            unit="px",
        ),
        Column("truth_px", "int64", "Counted pixels of the class in the labels.", unit="px"),
        Column(
            "prediction_px", "int64", "Counted pixels of the class in the prediction.", unit="px"
        ),
        Column("intersection_px", "int64", "Pixels that are counted in both.", unit="px"),
    ),
)

FILE_TABLES = {
    one.name: one
    for one in (
        EVALS_TABLE,
        CONFUSION_TABLE,
        SCENES_TABLE,
        ARTIFACTS_TABLE,
        HISTORY_TABLE,
        WINDOWS_TABLE,
        OBJECTS_TABLE,
        BOUNDARIES_TABLE,
    )
}
"""The tables that the step summarize writes to ``tables/{name}.parquet``."""

COUNTED_TABLES = (WINDOWS_TABLE, OBJECTS_TABLE, BOUNDARIES_TABLE)
"""The tables that are counted from rasters; for a run without them, readers count on demand."""

OUTCOMES_TABLE = OBJECTS_TABLE.insert_after(
    "class",
    Column(
        "outcome",
        TEXT,
        "`true positive`, of a true and of a predicted object that match; `false positive` or "
        "`false negative`.",
    ),
)
"""The table that `rvlab.Lab.objects` returns, without the columns of the runs."""

RANKED_WINDOWS_TABLE = TableSchema(
    "windows",
    "window, the most informative first",
    (
        Column("scene", TEXT, "The id of the scene."),
        Column("col", "int64", "The first column of the window.", unit="px"),
        Column("row", "int64", "The first row of the window.", unit="px"),
        Column("width", "int64", "Its width, clipped to the counted area.", unit="px"),
        Column("height", "int64", "Its height, clipped to the counted area.", unit="px"),
        Column(
            "score",
            "float64",
            "The rank criterion, as a share of the `pixels` of the fullest window, so that a "
            "sliver at the edge does not come first; for an object detection a number of boxes, "
            "for `by='object_error'` of objects. "
            "For `by='difference'` it is negative where the first run is better.",
        ),
        Column("group", TEXT, "The scene group."),
        Column("by", TEXT, "The rank criterion."),
        Column(
            "run",
            "object",
            "The run with the most errors, or for `by='difference'` the better run; missing if "
            "there is none.",
        ),
        Column(
            "pixels", "int64", "Labelled pixels, cells, or true boxes or objects.", unit=_COUNT_UNIT
        ),
    ),
)
"""The table that `rvlab.Lab.windows` returns, without the columns of the runs."""

STEPS_TABLE = TableSchema(
    "steps", "step, or split of it, that has started", columns_of(StepRecord)
).with_run()

_COMPUTED = (
    Column("experiment", TEXT, "The experiment of the run."),
    Column("tags", TEXT, "The tags, sorted and joined by a comma and a space.", in_report=True),
    Column("note", TEXT, "The note.", in_report=True),
    Column("archived", "bool", "Whether the run is archived."),
    Column(
        "duration",
        SPAN_S,
        "From `started` to `ended`, or up to now while the run is running; missing for a lost "
        "run, and if it would be negative because the clocks of two machines differ.",
        in_report=True,
    ),
    Column(
        "age", SPAN_S, "The time since `created`; missing where it would be negative, likewise."
    ),
    Column("uri", TEXT, "The address of the run."),
)

_FIRST = (
    *("name", "state", "duration", "age", "seed", "step", "epochs", "error"),
    *("created", "started", "ended"),
    *("tags", "note", "archived", "experiment", "recipe"),
)
BOOKKEEPING = ("kind", "eval_set", "source_sha256", "commit", "dirty", "image", "user", "uri")
"""The last columns of the table of runs."""

RANK_METRICS = ("metrics.f1", "metrics.mean_iou", "metrics.rv_average_f1")
"""The metrics by which runs are compared: the first metrics in the table of runs."""

COLUMNS_SHOWN = 10
"""How many of the first columns pandas shows of a wide table, half of its ``max_columns``."""


def _run_columns() -> tuple[Column, ...]:
    declared = (*columns_of(Spec, "spec"), *columns_of(EndRecord, "end"), *_COMPUTED)
    by_name = {one.name: one for one in declared}
    middle = [name for name in by_name if name not in BOOKKEEPING]
    return tuple({name: by_name[name] for name in [*_FIRST, *middle, *BOOKKEEPING]}.values())


_RUN_VALUES = (
    Column(
        "params.{name}",
        "by its values",
        "A parameter of the recipe. Lists and dicts are JSON text; the dtype is object if the "
        "values of several runs have no common one.",
    ),
    Column("metrics.{metric}", "float64", "A headline metric, such as `metrics.f1`."),
    Column(
        "costs.{step}_s",
        "float64",
        "The time from the start of the first split of a step to the end of the last one.",
        unit="s",
    ),
    Column("costs.peak_mb", "float64", "The largest memory of one process.", unit="MiB"),
    Column("costs.gpu_peak_mb", "float64", "The largest GPU memory of one process.", unit="MiB"),
    Column("costs.cpu_s", "float64", "The processor time of all steps.", unit="s"),
    Column("costs.bytes", "float64", "The size of the run's folder.", unit="bytes"),
    Column("eval_set.{group}", TEXT, "The fingerprint of another group than that of the metrics."),
)

RUNS_TABLE = TableSchema("runs", "run, whose id is the index `run`", _run_columns(), _RUN_VALUES)
"""The table of runs, in the order of its columns in a table without values.

`rvlab.frame.runs` orders the columns of a table with values.
"""

LAB_TABLES = {
    one.name: one
    for one in (
        RUNS_TABLE,
        STEPS_TABLE,
        *(table.with_run() for table in (EVALS_TABLE, CONFUSION_TABLE, SCENES_TABLE)),
        ARTIFACT_URIS_TABLE.with_run(),
        HISTORY_TABLE.with_run(),
        RANKED_WINDOWS_TABLE.with_run(),
        OUTCOMES_TABLE.with_run(),
    )
}
"""The tables that the methods of `rvlab.Lab` return, by the name of the method."""
