"""The schemas of tables whose rows are not of runs: experiments, recipes, promoted models."""

from __future__ import annotations

from rvlab.model.promotion import VersionChoice, VersionRecord
from rvlab.model.schema import TEXT, TIME_S, Column, TableSchema, columns_of


def _models_columns() -> tuple[Column, ...]:
    by_name = {one.name: one for one in columns_of(VersionRecord)}
    last = ("experiment", "bundle_sha256", "bundle_bytes")
    first = [name for name in by_name if name not in last]
    first.insert(2, "current")
    added = (
        Column("current", "bool", "Whether it is the current version of the model."),
        Column("bundle_uri", TEXT, "The address of its bundle in the store."),
        Column("card_uri", TEXT, "The address of its model card."),
        Column("item_uri", TEXT, "The address of its STAC item."),
        Column(
            "uri",
            TEXT,
            "The address of its run, so that the table can be passed where runs are expected.",
        ),
    )
    by_name |= {one.name: one for one in added}
    names = [*first, *last, *(one.name for one in added[1:])]
    return tuple(by_name[name] for name in names)


MODELS_TABLE = TableSchema(
    "models",
    "version of a promoted model, the newest first",
    _models_columns(),
    (
        Column(
            "metrics.{metric}",
            "float64",
            "A metric: up to three follow `current`, the others precede `experiment`.",
        ),
    ),
)
"""The table that `rvlab.Lab.models` returns."""

MODEL_LOG_TABLE = TableSchema(
    "model log",
    "choice of the current version of a model, the oldest first",
    columns_of(VersionChoice),
)
"""The table that `rvlab.Lab.model_log` returns."""

EXPERIMENTS_TABLE = TableSchema(
    "experiments",
    "experiment, whose name is the index `experiment`",
    (
        Column("runs", "int64", "The number of its runs."),
        Column("best_run", TEXT, "The id of the run with the best value of the metric."),
        Column("newest", TIME_S, "When its newest run was created."),
        Column("succeeded", "int64", "The number of runs that have succeeded."),
        Column("active", "int64", "Those that are queued or running."),
        Column("failed", "int64", "Those that failed, were lost or not submitted, or are broken."),
        Column("cancelled", "int64", "Those that were cancelled."),
        Column(
            "eval_sets",
            "int64",
            "The number of evaluation sets; with several, the best run is that of the largest set.",
        ),
        Column("recipes", TEXT, "The recipes of its runs."),
    ),
    (Column("{metric}", "float64", "The best value of the metric, after `runs`."),),
)

RECIPES_TABLE = TableSchema(
    "recipes",
    "included recipe, whose name is the index `recipe`",
    (
        Column("task", TEXT, "Such as `semantic segmentation`."),
        Column("description", TEXT, "What it trains, in one line."),
        Column("needs", TEXT, "Data and downloads."),
        Column("parameters", TEXT, "The parameters with their defaults, as in a call."),
    ),
)

OVERVIEW_TABLES = {
    "experiments": EXPERIMENTS_TABLE,
    "recipes": RECIPES_TABLE,
    "models": MODELS_TABLE,
    "model_log": MODEL_LOG_TABLE,
}
"""Tables of `rvlab.Lab` whose rows are not of runs, by the name of the method."""
