"""The table of runs, in every state of a run."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab import frame
from rvlab.cache.dtypes import as_inferred_dtype
from rvlab.errors import StoreUnreachable
from rvlab.model import HEARTBEAT_TIMEOUT_S, ReportedState, Run
from rvlab.model.tables import BOOKKEEPING, RUNS_TABLE
from rvlab.store import S3Access, Store, annotation
from rvlab.store.run_listing import write_active_marks
from tests.frame.samples import Made


def table(store: Store, ask: Any = None) -> pd.DataFrame:
    return frame.runs_table(store, frame.resolve_runs(store, None), ask)


# Dtypes


def test_empty_table_has_the_declared_dtypes(store: Store) -> None:
    empty = table(store)
    assert len(empty) == 0
    assert {n: str(t) for n, t in empty.dtypes.items()} == RUNS_TABLE.dtypes
    assert empty.index.name == "run"
    assert empty.index.dtype == object


def test_full_table_has_the_declared_dtypes(store: Store, made: Made) -> None:
    made.queued()
    made.running()
    made.ended(commit="abc", dirty=True, image="img@sha256:1", sweep="s", parent="p")
    made.ended(state="failed", step="train", error="it broke")
    store.put("towns/20260101-000000-aaaaaa/spec.json", b"{")
    write_active_marks(store, [Run(store.uri, "towns", "20260101-000000-aaaaaa")])
    full = table(store)
    assert {n: str(t) for n, t in full.dtypes.items()} == RUNS_TABLE.dtypes
    assert full.index.name == "run"


def test_row_of_an_ended_run_has_all_columns(store: Store, made: Made) -> None:
    run = made.ended({"lr": 0.1}, {"f1": 0.5}, commit="abc", dirty=False, splits=2, seed=7)
    row = table(store).loc[run.id]
    age = row.pop("age")
    assert pd.Timedelta(0) <= pd.Timestamp.now(tz="UTC") - row["created"] - age
    assert age == age.floor("s")
    assert row.dropna().to_dict() == {
        "name": "run 0",
        "experiment": "towns",
        "state": "succeeded",
        "archived": False,
        "created": pd.Timestamp("2026-11-23 15:42:01", tz="UTC"),
        "started": pd.Timestamp("2026-11-23 15:42:03", tz="UTC"),
        "ended": pd.Timestamp("2026-11-23 15:42:33", tz="UTC"),
        "duration": pd.Timedelta(seconds=30),
        "engine": "local",
        "recipe": "synthetic_town",
        "source_sha256": "0" * 64,
        "seed": 7,
        "splits": 2,
        "commit": "abc",
        "dirty": False,
        "user": "me@here",
        "priority": 0,
        "kind": "training",
        "uri": run.uri,
        "params.lr": 0.1,
        "metrics.f1": 0.5,
    }


def test_times_with_and_without_fractions_are_parsed_in_one_column(
    store: Store, made: Made
) -> None:
    made.ended(created="2026-11-23T15:42:01.123+00:00")
    made.ended(created="2026-11-23T15:42:02+00:00")
    made.ended(created="2026-11-23T16:42:03.5+01:00")
    created = table(store)["created"]
    assert created.notna().all()
    assert list(created.dt.second) == [1, 2, 3]
    assert set(created.dt.hour) == {15}


MISSING = object()


@pytest.mark.parametrize(
    ("values", "dtype", "shown"),
    [
        ([1, 2], "int64", [1, 2]),
        ([1, None], "Int64", [1, pd.NA]),
        ([1, MISSING], "Int64", [1, pd.NA]),
        ([1, 0.5], "float64", [1.0, 0.5]),
        ([0.5, None], "float64", [0.5, math.nan]),
        ([0.5, MISSING, 2], "float64", [0.5, math.nan, 2.0]),
        ([True, False], "bool", [True, False]),
        ([True, None], "boolean", [True, pd.NA]),
        (["a", "b"], "string", ["a", "b"]),
        (["a", MISSING], "string", ["a", pd.NA]),
        ([None, None], "string", [pd.NA, pd.NA]),
        (["a", 1], "object", ["a", 1]),
        ([True, 1], "object", [True, 1]),
        ([[1, 2], [3]], "string", ["[1, 2]", "[3]"]),
        ([{"a": 1}, None], "string", ['{"a": 1}', pd.NA]),
        ([[1], "a"], "string", ["[1]", "a"]),
        ([2**63, 1], "object", [2**63, 1]),
        ([2**2000, 0.5], "object", [2**2000, 0.5]),
        ([2**53 + 1, 0.5], "object", [2**53 + 1, 0.5]),
        ([-(2**63), 2**63 - 1], "int64", [-(2**63), 2**63 - 1]),
    ],
)
def test_parameter_column_has_the_dtype_of_its_values(
    store: Store, made: Made, values: list[Any], dtype: str, shown: list[Any]
) -> None:
    for value in values:
        made.ended({} if value is MISSING else {"x": value})
    column = table(store)["params.x"]
    assert str(column.dtype) == dtype
    for have, want in zip(column, shown, strict=True):
        assert pd.isna(have) if pd.isna(want) else have == want


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.lists(scalars, max_size=5))
def test_parameter_column_preserves_its_values(values: list[Any]) -> None:
    column = as_inferred_dtype(values, [True] * len(values))
    for have, want in zip(column, values, strict=True):
        assert pd.isna(have) if want is None else have == want


def test_metrics_are_floats_even_if_all_are_missing(store: Store, made: Made) -> None:
    made.ended(metrics={"f1": 1, "iou": None})  # type: ignore[dict-item]
    made.queued()
    found = table(store)
    assert str(found["metrics.f1"].dtype) == str(found["metrics.iou"].dtype) == "float64"
    assert found["metrics.iou"].isna().all()


def test_costs_and_fingerprints_are_columns_of_the_runs_that_have_them(
    store: Store, made: Made
) -> None:
    old, new = made.ended(metrics={"f1": 0.5}), made.ended(metrics={"f1": 0.5})
    key = new.end_key
    more = {
        "device": "cuda (RTX 4090)",
        "costs": {"train_s": 30, "peak_mb": 812.5},
        "eval_set": "abc",
        "eval_sets": {"test": "def"},
    }
    store.put_json(key, {**store.get_json(key), **more})
    found = table(store)
    assert [name for name in found.columns if name not in RUNS_TABLE.names] == [
        "metrics.f1",
        "costs.train_s",
        "costs.peak_mb",
        "eval_set.test",
    ]
    assert list(found.columns[-11:]) == [
        *("costs.train_s", "costs.peak_mb", "eval_set.test", *BOOKKEEPING)
    ]
    assert found.loc[new.id, ["device", "eval_set", "eval_set.test"]].tolist() == [
        "cuda (RTX 4090)",
        "abc",
        "def",
    ]
    assert found.loc[new.id, "costs.train_s"] == 30
    assert found.loc[old.id, ["device", "eval_set", "eval_set.test"]].isna().all()
    assert str(found["costs.train_s"].dtype) == "float64"
    assert str(found["eval_set.test"].dtype) == "string"


def test_annotations_are_in_the_row_of_their_run_only(store: Store, made: Made) -> None:
    run, other = made.ended(), made.running()
    annotation.write_annotations(
        store, [run], "me@here", tags_added=("good", "final"), note="the one", archived=True
    )
    annotation.write_annotations(store, [other], "me@here", tags_added=("odd",))
    store.put("towns/20260101-000000-aaaaaa/spec.json", b"{")
    write_active_marks(store, [Run(store.uri, "towns", "20260101-000000-aaaaaa")])
    broken = Run(store.uri, "towns", "20260101-000000-aaaaaa")
    annotation.write_annotations(store, [broken], "me@here", note="what is this?")
    found = table(store)
    assert list(found.index) == [broken.id, run.id, other.id]
    assert found.loc[run.id, ["tags", "note", "archived"]].tolist() == [
        "final, good",
        "the one",
        True,
    ]
    assert found.loc[other.id, "tags"] == "odd"
    assert found.loc[broken.id, ["state", "note"]].tolist() == ["broken", "what is this?"]
    assert found["tags"].str.contains("good", na=False).tolist() == [False, True, False]
    assert str(found["archived"].dtype) == "bool"


def test_table_sorts_filters_groups_and_joins(store: Store, made: Made) -> None:
    for lr, epochs, f1 in ((0.1, 2, 0.5), (0.01, 2, 0.75), (0.1, 4, 0.625)):
        made.ended({"lr": lr, "epochs": epochs}, {"f1": f1})
    made.queued({"lr": 0.2, "epochs": 2})
    found = table(store)
    best = found.sort_values("metrics.f1", ascending=False)
    assert list(best["metrics.f1"])[:3] == [0.75, 0.625, 0.5]
    assert len(found.query("state == 'succeeded' and `params.lr` > 0.05")) == 2
    means = found.groupby("params.epochs")["metrics.f1"].mean()
    assert means.to_dict() == {2: 0.625, 4: 0.625}
    other = pd.DataFrame({"run": found.index[:2], "remark": ["a", "b"]})
    assert list(found.merge(other, on="run")["remark"]) == ["a", "b"]
    assert found["duration"].max() == pd.Timedelta(seconds=30)
    assert (found["created"].diff().dropna() == pd.Timedelta(seconds=1)).all()


# States


Rows = Sequence[Mapping[str, Any]]


def no_engine(rows: Rows) -> Mapping[Run, ReportedState]:
    raise AssertionError(f"the engine was queried for {rows}")


def test_run_without_a_step_is_queued_unless_the_engine_reports_otherwise(
    store: Store, made: Made
) -> None:
    run = made.queued()
    assert table(store).loc[run.id, "state"] == "queued"
    lost = ReportedState("lost")
    assert table(store, lambda rows: {rows[0]["_run"]: lost}).loc[run.id, "state"] == "lost"


def test_run_with_a_recent_heartbeat_is_running_without_a_query(store: Store, made: Made) -> None:
    run = made.running(step="train")
    row = table(store, no_engine).loc[run.id]
    assert (row["state"], row["step"]) == ("running", "train")
    assert pd.isna(row["ended"])
    assert 25 < row["duration"].total_seconds() < 60
    assert row["duration"] >= pd.Timestamp(datetime.now(UTC)) - row["started"] - pd.Timedelta("1s")


def test_engine_is_queried_for_a_run_with_an_old_heartbeat(store: Store, made: Made) -> None:
    run = made.running(beat_ago_s=HEARTBEAT_TIMEOUT_S + 5)
    asked: list[Sequence[Run]] = []

    def ask(rows: Rows) -> Mapping[Run, ReportedState]:
        asked.append([row["_run"] for row in rows])
        return {run: ReportedState("running")}

    row = table(store, ask).loc[run.id]
    assert asked == [[run]]
    assert (row["state"], row["step"]) == ("running", "train")
    assert table(store).loc[run.id, "state"] == "lost"
    row = table(store, lambda _: {}).loc[run.id]
    assert row["state"] == "lost"
    assert pd.isna(row["duration"])


def test_engine_is_queried_once_for_all_silent_runs(store: Store, made: Made) -> None:
    silent = [made.queued(), made.running(beat_ago_s=HEARTBEAT_TIMEOUT_S * 2), made.queued()]
    made.running()
    made.ended()
    asked: list[Sequence[Run]] = []

    def ask(rows: Rows) -> Mapping[Run, ReportedState]:
        asked.append([row["_run"] for row in rows])
        return dict.fromkeys(asked[0], ReportedState("lost"))

    assert list(table(store, ask)["state"]) == ["lost", "lost", "lost", "running", "succeeded"]
    assert asked == [silent]


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_end_record_overrides_step_records(store: Store, made: Made, state: str) -> None:
    run = made.ended(state=state, step="train", error="why")
    made.step(run, "train")  # with the state running
    row = table(store, no_engine).loc[run.id]
    assert (row["state"], row["step"], row["error"]) == (state, "train", "why")


# Broken records


def row_of(store: Store, run: Run) -> pd.Series[Any]:
    """Return the row of a run, after checking that the other run is not affected."""
    found = table(store)
    assert list(found["state"].drop(run.id)) == ["succeeded"]
    return found.loc[run.id]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"schema": 1, "spec": {"expe', "is not whole JSON"),
        (b"", "is not whole JSON"),
        (b"\xff\x00", "is not whole JSON"),
        (b"[]", "holds list, not a JSON object"),
        (b"{}", "is not a run's spec: it is NoneType, not a JSON object"),
        (b'{"spec": "x"}', "is not a run's spec: it is str, not a JSON object"),
        (b'{"spec": {"run": "x"}}', "is not a run's spec: experiment is missing"),
    ],
)
def test_unreadable_end_record_is_a_broken_row_with_the_reason(
    store: Store, made: Made, data: bytes, why: str
) -> None:
    made.ended()
    run = made.ended()
    store.put(run.end_key, data)
    row = row_of(store, run)
    assert row["state"] == "broken"
    assert row["error"].startswith(f"{run.end_key} {why}")
    assert (row["experiment"], row["uri"]) == ("towns", run.uri)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state": "running"}, "has the state 'running', not one of succeeded, failed, cancelled"),
        ({"state": ["a"]}, "has the state ['a'], not one of succeeded, failed, cancelled"),
        ({"metrics": [1]}, "has metrics that are not numbers: [1]"),
        ({"metrics": {"f1": "high"}}, "has metrics that are not numbers: {'f1': 'high'}"),
        ({"costs": {"cpu_s": "much"}}, "has costs that are not numbers: {'cpu_s': 'much'}"),
        ({"eval_sets": {"test": 5}}, "has eval_sets that are not text: {'test': 5}"),
        ({"eval_sets": ["test"]}, "has eval_sets that are not text: ['test']"),
        ({"eval_set": 5}, "has eval_set that is not text: 5"),
        ({"device": ["cpu"]}, "has device that is not text: ['cpu']"),
        ({"epochs": 2.0}, "has epochs that is not an integer of 0 or more: 2.0"),
        ({"epochs": -1}, "has epochs that is not an integer of 0 or more: -1"),
        ({"epochs": 2**63}, f"has epochs that is not an integer of 0 or more: {2**63}"),
    ],
)
def test_invalid_end_record_is_a_broken_row(
    store: Store, made: Made, change: dict[str, Any], why: str
) -> None:
    made.ended()
    run = made.ended()
    store.put_json(run.end_key, {**store.get_json(run.end_key), **change})
    row = row_of(store, run)
    assert row["state"] == "broken"
    assert row["error"].rstrip(".") == f"{run.end_key} {why}"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"splits": "two"}, "splits is str, not int"),
        ({"dirty": "maybe"}, "dirty is str, not bool | None"),
        ({"params": [1]}, "params is list, not Mapping[str, Any]"),
        ({"created": 5}, "created is int, not str"),
    ],
)
def test_invalid_spec_is_a_broken_row(
    store: Store, made: Made, change: dict[str, Any], why: str
) -> None:
    made.ended()
    run = made.queued()
    key = run.key("spec.json")
    store.put_json(key, {**store.get_json(key), **change})
    row = row_of(store, run)
    assert (row["state"], row["error"]) == ("broken", f"{key} is not a run's spec: {why}.")


def test_run_without_a_spec_is_a_broken_row(store: Store, made: Made) -> None:
    made.ended()
    run = Run(store.uri, "towns", "20270101-000000-aaaaaa")
    store.put(run.key("rv", "train", "log.csv"), b"")
    write_active_marks(store, [run])
    row = row_of(store, run)
    assert row["state"] == "broken"
    assert row["error"] == ("towns/20270101-000000-aaaaaa has no spec.json: was it partly deleted?")


def test_other_folders_and_keys_are_not_listed_as_runs(store: Store, made: Made) -> None:
    run = made.ended()
    for key in (
        "datasets/vegas/img/1.tif",
        "towns/.ipynb_checkpoints/a",
        "My Data/x/y",
        "towns/a b/c",
        "towns/runs/ended/a b.json",
        "towns/runs/ended/README.txt",
        "towns/runs/active/.hidden",
    ):
        store.put(key, b"")
    assert list(table(store).index) == [run.id]


def test_run_that_the_engine_reports_failed_has_the_error_of_its_last_step(
    store: Store, made: Made
) -> None:
    run = made.running(beat_ago_s=600, engine="kubeflow")
    made.step(run, "train", beat_ago_s=600, state="failed", error="It ran out of memory.")
    reported = ReportedState("failed", "eval", "Error in eval (exit code 1)")
    row = table(store, lambda rows: {one["_run"]: reported for one in rows}).loc[run.id]
    assert (row["state"], row["step"], row["error"]) == ("failed", "train", "It ran out of memory.")
    assert pd.isna(table(store).loc[run.id, "error"])


@pytest.mark.parametrize("state", ["failed", "running", "queued", "not submitted"])
def test_reason_of_the_engine_fills_a_row_whose_records_have_none(
    store: Store, made: Made, state: str
) -> None:
    silent = made.queued(engine="kubeflow")
    begun = made.running(step="chip", beat_ago_s=600, engine="kubeflow")
    reported = ReportedState(state, "train", "OOMKilled in train (exit code 137)")
    found = table(store, lambda rows: {one["_run"]: reported for one in rows})
    for run in (silent, begun):
        assert found.loc[run.id, ["state", "step", "error"]].tolist() == [
            state,
            "train",
            "OOMKilled in train (exit code 137)",
        ]
    found = table(store, lambda rows: {one["_run"]: ReportedState(state) for one in rows})
    assert found.loc[begun.id, "step"] == "chip"
    assert found["error"].isna().all()


def test_run_on_a_cluster_is_not_lost_between_two_pods(store: Store, made: Made) -> None:
    made.running(beat_ago_s=600, engine="kubeflow")
    made.running(beat_ago_s=600)
    assert table(store)["state"].tolist() == ["running", "lost"]


@pytest.mark.parametrize(
    ("metrics", "seed", "why"),
    [
        ({"f1": 10**400}, 7, "has metrics that are not numbers"),
        ({"f1": 0.5}, 2**70, f"seed is {2**70}, which has more than 64 bits"),
    ],
)
def test_numbers_of_more_than_64_bits_break_their_own_row_only(
    store: Store, made: Made, metrics: dict[str, Any], seed: int, why: str
) -> None:
    made.ended()
    row = row_of(store, made.ended({}, metrics, seed=seed))
    assert row["state"] == "broken"
    assert why in row["error"]


def test_spec_of_a_later_version_is_read(store: Store, made: Made) -> None:
    run = made.queued()
    key = run.key("spec.json")
    store.put_json(key, {**store.get_json(key), "schema": 2, "new": "thing"})
    assert table(store).loc[run.id, "state"] == "queued"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"step": "chi', "is not whole JSON"),
        (b'{"step": "chip"}', "is not a step's record: started is missing"),
        (
            b'{"step": "chip", "state": "running", "started": "now", "beat": "now", "host": "h",'
            b' "pid": 1}',
            "is not a step's record: started is 'now', not a UTC time",
        ),
        (
            b'{"step": "chip", "state": "running", "started": "2026-11-23T15:42:01",'
            b' "beat": "2026-11-23T15:42:01", "host": "h", "pid": 1}',
            "is not a step's record: started is '2026-11-23T15:42:01', not a UTC time",
        ),
    ],
)
def test_unreadable_step_record_does_not_hide_other_steps(
    store: Store, made: Made, data: bytes, why: str
) -> None:
    run = made.running()
    store.put(run.step_key("chip"), data)
    row = table(store).loc[run.id]
    assert (row["state"], row["step"]) == ("running", "train")
    assert row["error"].startswith(f"{run.step_key('chip')} {why}")


def test_unreachable_store_raises_instead_of_a_broken_row(made: Made) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    store = Store("s3://bucket", S3Access(endpoint, "key", "secret"))
    with pytest.raises(StoreUnreachable, match=f"at {endpoint} cannot be reached"):
        frame.runs_table(store, [Run(store.uri, "towns", "20260101-000000-aaaaaa")])
