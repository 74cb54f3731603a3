"""Tables that a user passes, and the columns that they must have."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from rvlab import frame
from rvlab.errors import TableError
from rvlab.frame.input_tables import require_columns
from rvlab.model import Run
from rvlab.store import Store
from tests.frame.samples import Made


def test_row_is_accepted_as_a_table_of_one_row(store: Store, made: Made) -> None:
    run = made.ended({"lr": 0.1}, {"f1": 0.5})
    row = frame.runs_table(store, [run]).iloc[0]
    found = require_columns(row, ["run", "uri", "metrics.f1"], "table of runs")
    assert found[["run", "uri", "metrics.f1"]].iloc[0].tolist() == [run.id, run.uri, 0.5]
    assert found["metrics.f1"].dtype == "float64"
    assert require_columns(row, ["uri"], "table of runs").index.name == "run"
    with pytest.raises(TableError, match=r"has no column 'metrics.f2'.*'metrics.f1'"):
        require_columns(row, ["metrics.f2"], "table of runs")


def test_unknown_metric_lists_all_metrics_and_short_name_suggests_its_column() -> None:
    runs = pd.DataFrame(columns=["run", "params.lr", "metrics.f1", "metrics.mean_iou", "uri"])
    exist = "Metrics that exist: metrics.f1, metrics.mean_iou."
    for name, hint in {
        "metrics.f2": f"Did you mean 'metrics.f1' or 'metrics.mean_iou'? {exist}",
        "metrics.confusion_entropy": exist,
        "f1": "Did you mean 'metrics.f1'?",
        "lr": "Did you mean 'params.lr'?",
        "uir": "Did you mean 'uri'?",
    }.items():
        with pytest.raises(TableError) as raised:
            require_columns(runs, [name], "table of runs")
        assert str(raised.value) == f"The table of runs has no column {name!r}. {hint}"
    with pytest.raises(TableError, match=r"'metrics.f1'\. There are 'run', 'uri'\.$"):
        require_columns(runs[["run", "uri"]], ["metrics.f1"], "table of runs")


def test_row_preserves_its_column_run() -> None:
    history = pd.DataFrame({"run": ["a", "b"], "epoch": [0, 1]})
    found = require_columns(history.iloc[1], ["run", "epoch"], "history")
    assert {run: len(rows) for run, rows in found.groupby("run")} == {"b": 1}


@pytest.mark.parametrize("given", [Run("/store", "towns", "a"), [1], "towns", None])
def test_value_that_is_not_a_table_raises(given: Any) -> None:
    message = rf"The table of runs must be a DataFrame, got {type(given).__name__}\. Pass the table"
    with pytest.raises(TableError, match=message):
        require_columns(given, ["uri"], "table of runs")
