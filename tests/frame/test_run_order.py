"""The order of the columns of the table of runs: the first ones answer what a person asks first."""

from __future__ import annotations

from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from rvlab import frame
from rvlab.cache.arrow import columns_from_arrow, differing_param_columns, run_rows_to_arrow
from rvlab.frame.params import differing_columns
from rvlab.model import Run
from rvlab.model.tables import BOOKKEEPING, COLUMNS_SHOWN, RUNS_TABLE
from rvlab.store import Store
from rvlab.store.run_listing import write_active_marks
from tests.frame.samples import Made

METRICS = {
    "f1": 0.9,
    "precision": 0.8,
    "recall": 0.7,
    "mean_iou": 0.6,
    "accuracy": 0.9,
    "rv_average_f1": 0.95,
    "f1.road": 0.4,
}
SHOWN = ["metrics.f1", "metrics.mean_iou", "metrics.rv_average_f1"]


def first(store: Store, runs: Any = None) -> list[str]:
    return list(frame.runs_table(store, runs).columns[:COLUMNS_SHOWN])


def test_default_display_shows_metrics_differing_parameters_duration_and_age(
    store: Store, made: Made
) -> None:
    for n in range(3):
        made.ended({"lr": 10**-n, "epochs": 8, "width": 4 + n}, METRICS, seed=n)
    found = frame.runs_table(store, "towns")
    answer = ["name", "state", *SHOWN, "params.lr", "params.width", "seed", "duration", "age"]
    assert list(found.columns) == [
        *(*answer, "params.epochs", "metrics.precision", "metrics.recall", "metrics.accuracy"),
        *("metrics.f1.road", "step", "epochs", "error", "created", "started", "ended"),
        *("tags", "note", "archived", "experiment", "recipe"),
        *("engine", "splits", "sweep", "parent", "priority", "device", *BOOKKEEPING),
    ]
    with pd.option_context("display.max_columns", 20, "display.show_dimensions", False):
        html = found._repr_html_()
    assert [name for name in answer if f"<th>{name}</th>" in html] == answer
    assert "<th>params.epochs</th>" not in html
    assert type(found) is pd.DataFrame
    assert found.attrs == {}


def test_duration_and_age_are_shown_when_many_parameters_differ(store: Store, made: Made) -> None:
    for n in range(2):
        made.ended(dict.fromkeys("abcdef", n) | {"same": 1}, {"f1": 0.5})
    found = list(frame.runs_table(store, None).columns)
    assert found[:COLUMNS_SHOWN] == [
        *("name", "state", "metrics.f1", *(f"params.{name}" for name in "abcde")),
        *("duration", "age"),
    ]
    assert found[COLUMNS_SHOWN : COLUMNS_SHOWN + 3] == ["params.f", "params.same", "seed"]


def test_only_the_requested_runs_decide_which_parameters_differ(store: Store, made: Made) -> None:
    one, two = (made.ended({"lr": 0.1, "width": n}) for n in range(2))
    made.ended({"lr": 0.2, "width": 1})
    start = ["name", "state"]
    assert first(store)[:4] == [*start, "params.lr", "params.width"]
    assert first(store, [one, two])[:4] == [*start, "params.width", "duration"]
    assert first(store, [two])[:6] == [*start, "duration", "age", "params.lr", "params.width"]
    assert first(store, [])[:4] == [*start, "duration", "age"]


def test_experiments_and_recipes_are_shown_if_there_are_several(store: Store, made: Made) -> None:
    made.ended({"width": 4, "lr": 0.1}, {"f1": 0.5})
    made.ended({"width": 4, "lr": 0.2}, {"f1": 0.5}, experiment="roads")
    made.ended({"lr": 0.2, "backbone": "resnet18"}, {"f1": 0.5}, experiment="b", recipe="vegas")
    start = ["name", "state", "experiment"]
    assert first(store, ["towns", "roads"])[:5] == [*start, "metrics.f1", "params.lr"]
    # A parameter of one of the recipes says less than one with two values.
    params = ["params.lr", "params.backbone", "params.width"]
    assert first(store) == [*start, "recipe", "metrics.f1", *params, "duration", "age"]


def test_other_metrics_are_shown_if_no_run_has_those_of_rvlab(store: Store, made: Made) -> None:
    made.ended({}, {"loss": 0.1, "auc": 0.9, "top1": 0.8, "top5": 0.95})
    assert first(store)[2:6] == ["metrics.loss", "metrics.auc", "metrics.top1", "duration"]
    made.ended({}, {"f1": 0.5})
    assert first(store)[2:4] == ["metrics.f1", "duration"]


def test_run_with_broken_records_does_not_make_parameters_differ(store: Store, made: Made) -> None:
    made.ended({"lr": 0.1, "width": 4})
    made.running(params={"lr": 0.2, "width": 4})
    store.put("towns/20260101-000000-aaaaaa/spec.json", b"{")
    write_active_marks(store, [Run(store.uri, "towns", "20260101-000000-aaaaaa")])
    assert "broken" in set(frame.runs_table(store, None)["state"])
    assert first(store)[2:6] == ["params.lr", "duration", "age", "params.width"]


def test_times_have_no_fractions_and_agree_with_the_duration(store: Store, made: Made) -> None:
    made.ended(created="2026-11-23T15:42:01.900+00:00")
    made.running()
    found = frame.runs_table(store, None)
    assert found["created"].iloc[0] == pd.Timestamp("2026-11-23T15:42:01Z")
    assert found["duration"].iloc[0] == found["ended"].iloc[0] - found["started"].iloc[0]
    assert RUNS_TABLE.dtypes["duration"] == RUNS_TABLE.dtypes["age"] == "timedelta64[s]"
    assert str(found["duration"].dtype) == str(found["age"].dtype) == "timedelta64[s]"
    assert "." not in found[["created", "started", "ended", "duration", "age"]].to_string()


def test_age_is_missing_if_the_clock_of_the_submission_is_ahead(store: Store, made: Made) -> None:
    made.ended(created="2200-01-01T00:00:00+00:00")
    assert frame.runs_table(store, None)["age"].isna().all()


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, 1.0, 0.5, 2.0**70, float("nan")])
    | st.sampled_from([2**63, 2**70])
    | st.sampled_from(["", "1", "a", "[1]"])
    | st.just([1])
)


@given(st.lists(st.dictionaries(st.sampled_from(["x", "y"]), VALUES), max_size=4))
def test_differing_parameters_are_those_of_the_table(rows: list[dict[str, Any]]) -> None:
    table = run_rows_to_arrow([{"recipe": "r", "seed": 0, "params": params} for params in rows])
    columns = columns_from_arrow(table)
    found = pd.DataFrame({n: c for n, c in columns.items() if n.startswith("params.")})
    assert set(differing_param_columns(table)) == set(differing_columns(found))
