"""Contents of a report, read once: a run's row, metrics, scenes and confusion matrix."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rvlab import frame
from rvlab.display.printable import format_duration
from rvlab.errors import RvlabError
from rvlab.frame.input_tables import store_of
from rvlab.metrics import NULL_CLASS
from rvlab.model import Run, headline_group
from rvlab.model.tables import RUNS_TABLE

if TYPE_CHECKING:
    import pandas as pd

MISSING_TEXT = "–"
MAX_VALUE_CHARS, MAX_ERROR_CHARS = 300, 2000
CLASS_TABLE_METRICS = ("precision", "recall", "f1", "iou", "truth_count")

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class RunSummary:
    """A run and its tables.

    Args:
        run: The run.
        row: Its row of the table of runs.
        evals: Its rows of `rvlab.frame.evals_table`.
        confusion: Its rows of `rvlab.frame.confusion_table`.
        history: Its rows of `rvlab.frame.history_table`.
    """

    run: Run
    row: pd.Series[Any]
    evals: pd.DataFrame
    confusion: pd.DataFrame
    history: pd.DataFrame

    @property
    def name(self) -> str:
        """The run's name, else its id."""
        return (
            self.format_field("name") if self.format_field("name") != MISSING_TEXT else self.run.id
        )

    @property
    def error(self) -> str | None:
        """The reason why the run failed or its records cannot be read."""
        words = shorten_text(self.row.get("error"), MAX_ERROR_CHARS)
        return None if words == MISSING_TEXT else words

    @cached_property
    def group(self) -> str | None:
        """The group of scenes of the headline metrics; None if the run was not evaluated."""
        known = self.evals["group"].dropna().unique().tolist()
        return headline_group(known) if known else None

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The headline metrics by name, without undefined ones."""
        return self._numbers("metrics.")

    @cached_property
    def costs(self) -> dict[str, float]:
        """Costs by name: times in seconds (``_s``), memory in MiB (``_mb``) and sizes in bytes."""
        return self._numbers("costs.")

    @property
    def params(self) -> Pairs:
        """The parameters, in the order of the recipe."""
        names = [str(c) for c in self.row.index if str(c).startswith("params.")]
        return [(name.removeprefix("params."), self.format_field(name)) for name in names]

    @cached_property
    def classes(self) -> list[str]:
        """The classes with metrics: all except the class of unlabelled pixels."""
        found = self._overall_rows[
            self._overall_rows["class"].notna() & (self._overall_rows["metric"] == "f1")
        ]
        return [str(name) for name in found["class"].tolist()]

    def class_metrics(self, name: str) -> dict[str, float]:
        """Return the metrics of a class over all scenes of the group; NaN where undefined."""
        rows = self._overall_rows[self._overall_rows["class"] == name]
        found = dict(zip(rows["metric"], rows["value"], strict=True))
        return {metric: float(found.get(metric, math.nan)) for metric in CLASS_TABLE_METRICS}

    @cached_property
    def scenes(self) -> list[tuple[str, float]]:
        """The scenes of the group and their macro F1, the worst first, undefined ones last."""
        of_scenes = self.evals["scene"].notna() & self.evals["class"].isna()
        f1 = (self.evals["group"] == self.group) & (self.evals["metric"] == "f1")
        rows = self.evals[of_scenes & f1].sort_values(["value", "scene"], na_position="last")
        return [(str(s), float(v)) for s, v in zip(rows["scene"], rows["value"], strict=True)]

    @cached_property
    def matrix(self) -> tuple[list[str], list[list[int]]] | None:
        """Classes, and counts with a row per true class; None without a matrix.

        Unlabelled pixels are in no metric, so their class has no row and no column.

        Raises:
            TableError: If a cell has two counts.
        """
        from rvlab.plot.confusion_matrices import require_single_counts

        rows = self._counts
        if rows.empty:
            return None
        require_single_counts(rows)
        wide = rows.pivot(index="truth", columns="prediction", values="count")
        names = [n for n in rows["truth"].unique().tolist() if not self._is_unlabelled(n)]
        counts = wide.reindex(index=names, columns=names).fillna(0)
        return [str(n) for n in names], [[int(v) for v in line] for line in counts.to_numpy()]

    @cached_property
    def predicted_as_null(self) -> int:
        """The number of labelled pixels predicted as unlabelled, which the matrix omits."""
        rows = self._counts
        if not self._is_unlabelled(NULL_CLASS):
            return 0
        omitted = (rows["prediction"] == NULL_CLASS) & (rows["truth"] != NULL_CLASS)
        return int(rows.loc[omitted, "count"].sum())

    @property
    def about_pairs(self) -> Pairs:
        """Recipe, user, times and other fields of the run."""
        pairs = [("experiment", self.run.experiment), ("run", self.run.id)]
        pairs += [(name, self.format_field(name)) for name in RUNS_TABLE.report_names]
        return [(name, value) for name, value in pairs if value != MISSING_TEXT]

    @property
    def eval_pairs(self) -> Pairs:
        """Groups with their numbers of scenes and fingerprints."""
        if self.group is None:
            return []
        out = []
        groups = self.evals["group"].dropna().unique().tolist()
        for group in sorted(groups, key=lambda g: (g != self.group, g)):
            scenes = self.evals[self.evals["group"] == group]["scene"].dropna().nunique()
            column = "eval_set" if group == self.group else f"eval_set.{group}"
            many = "1 scene" if scenes == 1 else f"{scenes} scenes"
            out.append((str(group), f"{many}, eval_set {self.format_field(column)}"))
        return out

    @property
    def cost_pairs(self) -> Pairs:
        """Costs under their names in the table of runs, with units."""
        return [(name, _with_unit(name, value)) for name, value in self.costs.items()]

    @property
    def open_lines(self) -> tuple[str, str]:
        """Two lines of Python that open the run in a notebook."""
        return (
            "from rvlab import Lab, plot",
            f"plot.predictions(Lab({store_argument(self.run)!r}).runs({self.run.prefix!r}))",
        )

    def format_field(self, column: str) -> str:
        """Return a value of the row as text; a dash if it is missing."""
        return shorten_text(self.row.get(column))

    @property
    def _overall_rows(self) -> pd.DataFrame:
        rows: pd.DataFrame = self.evals[self.evals["group"] == self.group]
        return rows[rows["scene"].isna()]

    @property
    def _counts(self) -> pd.DataFrame:
        rows: pd.DataFrame = self.confusion[self.confusion["group"] == self.group]
        return rows[rows["scene"].isna()]

    def _is_unlabelled(self, name: str) -> bool:
        # A class named null in the run's own config is an ordinary class and has metrics.
        return name == NULL_CLASS and name not in self.classes

    def _numbers(self, prefix: str) -> dict[str, float]:
        names = [str(c) for c in self.row.index if str(c).startswith(prefix)]
        return {n.removeprefix(prefix): v for n, v in _finite_values(self.row, names)}


def load_run_summary(run: Run) -> RunSummary:
    """Read the contents of a report.

    Args:
        run: An ended or active run; missing tables of an active run are empty.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    store = store_of(run)
    return RunSummary(
        run,
        frame.runs_table(store, [run]).iloc[0],
        frame.evals_table(store, [run]),
        frame.confusion_table(store, [run]),
        frame.history_table(store, [run]),
    )


def store_argument(run: Run) -> str:
    """Return the argument of `rvlab.Lab` that opens the store of a run.

    The port and the keys of the embedded server differ on every machine, so it is opened by name.
    """
    from rvlab.store import server

    try:
        found = server.find_server() if run.store.startswith("s3://") else None
    except RvlabError:  # not supported on this machine
        found = None
    if found is None or (f"s3://{found.bucket}", found.endpoint) != (
        run.store,
        store_of(run).access.endpoint,
    ):
        return run.store
    return "embedded"


def format_metric(value: float) -> str:
    """Format a metric with three decimals; a dash where it is undefined."""
    return f"{value:.3f}" if math.isfinite(value) else MISSING_TEXT


def format_count(value: float) -> str:
    """Format a number of pixels, cells or boxes."""
    return f"{value:,.0f}" if math.isfinite(value) else MISSING_TEXT


def shorten_text(value: Any, most: int = MAX_VALUE_CHARS) -> str:
    """Format a value as text of at most `most` characters."""
    import pandas as pd

    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC" if not pd.isna(value) else MISSING_TEXT
    if isinstance(value, list | tuple | dict):
        value = json.dumps(value, default=str)
    if value is None or bool(pd.isna(value)):
        return MISSING_TEXT
    if isinstance(value, pd.Timedelta):
        return format_duration(value.total_seconds())
    text = str(value.item() if hasattr(value, "item") else value) or '""'
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _finite_values(row: pd.Series[Any], names: Sequence[str]) -> Iterator[tuple[str, float]]:
    import pandas as pd

    for name in names:
        if not pd.isna(row[name]) and math.isfinite(row[name]):
            yield name, float(row[name])


def _with_unit(name: str, value: float) -> str:
    if name.endswith("_s"):
        return format_duration(value)
    if name.endswith("_mb"):
        return f"{value:,.0f} MiB"
    return f"{value / 2**20:,.1f} MiB" if name == "bytes" else f"{value:,g}"
