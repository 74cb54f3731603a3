"""Tables of runs whose files exist, are missing, or are broken."""

from __future__ import annotations

import io
import math
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rvlab import frame
from rvlab.model.tables import ARTIFACT_URIS_TABLE, CONFUSION_TABLE, EVALS_TABLE, HISTORY_TABLE
from rvlab.store import Store
from tests.frame.samples import Made

EVAL: list[dict[str, Any]] = [
    {"group": "validation", "scene": None, "class": None, "metric": "f1", "value": 0.5},
    {"group": "validation", "scene": "a", "class": "road", "metric": "f1", "value": None},
]
COUNT: list[dict[str, Any]] = [
    {"group": "test", "scene": None, "truth": "a", "prediction": "b", "count": 7}
]
FILE: list[dict[str, Any]] = [
    {"step": "train", "kind": "weights", "scene": None, "key": "rv/train/w.pth", "bytes": 12},
    {"step": "predict", "kind": "labels", "scene": "s", "key": "rv/predict/s.tif", "bytes": 3},
]
HISTORY_COLUMNS = HISTORY_TABLE.with_run().dtypes
TABLES: list[tuple[str, Any, list[dict[str, Any]], dict[str, Any]]] = [
    ("evals", frame.evals_table, EVAL, EVALS_TABLE.with_run().dtypes),
    ("confusion", frame.confusion_table, COUNT, CONFUSION_TABLE.with_run().dtypes),
    ("artifacts", frame.artifacts_table, FILE, ARTIFACT_URIS_TABLE.with_run().dtypes),
]


def dtypes(table: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in table.dtypes.items()}


@pytest.mark.parametrize(("name", "read", "rows", "columns"), TABLES)
def test_table_has_its_dtypes_with_and_without_rows(
    store: Store, made: Made, name: str, read: Any, rows: list[dict[str, Any]], columns: Any
) -> None:
    assert dtypes(read(store, [])) == columns
    queued, ended, other = made.queued(), made.ended(), made.ended()
    assert dtypes(read(store, [queued])) == columns
    made.table(ended, name, rows)
    made.table(other, name, [])
    table = read(store, [queued, ended, other])
    assert dtypes(table) == columns
    assert list(table["run"]) == [ended.id] * len(rows)
    assert dtypes(read(store, [other])) == columns


def test_overall_rows_have_na_and_missing_values_are_nan(store: Store, made: Made) -> None:
    run = made.ended()
    made.table(run, "evals", EVAL)
    table = frame.evals_table(store, [run])
    assert table["scene"].isna().tolist() == [True, False]
    assert table["class"].tolist()[1] == "road"
    assert table["value"][0] == 0.5
    assert math.isnan(table["value"][1])


def test_artifact_has_the_uri_of_its_file(store: Store, made: Made) -> None:
    first, second = made.ended(), made.ended()
    for run in (first, second):
        made.table(run, "artifacts", FILE)
    table = frame.artifacts_table(store, [second, first])
    assert list(table["uri"]) == [
        f"{second.uri}/rv/train/w.pth",
        f"{second.uri}/rv/predict/s.tif",
        f"{first.uri}/rv/train/w.pth",
        f"{first.uri}/rv/predict/s.tif",
    ]


def test_tables_join_on_run(store: Store, made: Made) -> None:
    runs = [made.ended({"lr": lr}) for lr in (0.1, 0.2)]
    for run in runs:
        made.table(run, "evals", EVAL)
    board = frame.runs_table(store, runs)
    evals = frame.evals_table(store, runs)
    assert list(evals["params.lr"]) == [0.1, 0.1, 0.2, 0.2]
    assert list(evals.merge(board[["state"]], on="run")["state"]) == ["succeeded"] * 4
    assert (
        frame.evals_table(store, runs).join(board["engine"], on="run")["engine"].eq("local").all()
    )


def parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "read", "rows", "columns"), TABLES)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not parquet",
        parquet(EVAL)[:-20],
        b"PAR1" + bytes(200) + b"PAR1",
        parquet([{"other": 1}]),
        parquet([{**EVAL[0], **COUNT[0], **FILE[0], "value": "high", "count": "x", "bytes": "y"}]),
    ],
    ids=["empty", "text", "truncated", "damaged", "other columns", "other types"],
)
def test_broken_table_is_left_out_with_a_warning(
    store: Store,
    made: Made,
    name: str,
    read: Any,
    rows: list[dict[str, Any]],
    columns: Any,
    data: bytes,
) -> None:
    good, bad = made.ended(), made.ended()
    made.table(good, name, rows)
    store.put(bad.key("tables", f"{name}.parquet"), data)
    with pytest.warns(
        UserWarning, match=f"^The run {bad.id} is left out of the table: {bad.key()}"
    ):
        table = read(store, [good, bad])
    assert list(table["run"]) == [good.id] * len(rows)
    assert dtypes(table) == columns


# History


LOG = "epoch,train_loss,train_time,avg_f1\n0,1.5,0:00:08.5,0.25\n1,,1 day, 0:00:01,0.5\n".replace(
    "1 day, 0:00:01", '"1 day, 0:00:01"'
)


def test_history_is_read_while_the_training_writes_it(store: Store, made: Made) -> None:
    run = made.running()
    key = run.key("rv", "train", "log.csv")
    assert dtypes(frame.history_table(store, [run])) == HISTORY_COLUMNS
    epochs = []
    for end in range(len(LOG) + 1):
        store.put(key, LOG[:end].encode())
        table = frame.history_table(store, [run])
        epochs.append(len(table))
        assert dtypes(table) == (
            {
                **HISTORY_COLUMNS,
                "train_loss": "float64",
                "train_time_s": "float64",
                "avg_f1": "float64",
            }
            if len(table)
            else HISTORY_COLUMNS
        )
    assert sorted(set(epochs)) == [0, 1, 2]
    assert epochs == sorted(epochs)
    assert table.fillna(-1).to_dict("list") == {
        "run": [run.id] * 2,
        "name": ["run 0"] * 2,
        "epoch": [0, 1],
        "train_loss": [1.5, -1],
        "train_time_s": [8.5, 86401.0],
        "avg_f1": [0.25, 0.5],
    }


def test_histories_with_different_columns_are_concatenated(store: Store, made: Made) -> None:
    first, second, none = made.ended(), made.ended(), made.queued()
    store.put(first.key("rv", "train", "log.csv"), b"epoch,a_f1,loss\n0,0.5,\n1,0.6,\n")
    store.put(second.key("rv", "train", "log.csv"), b"epoch,b_f1\n0,\n")
    table = frame.history_table(store, [first, none, second])
    assert list(table.columns) == ["run", "name", "epoch", "a_f1", "loss", "b_f1"]
    assert list(table["run"]) == [first.id, first.id, second.id]
    assert dtypes(table.drop(columns=["run", "name", "epoch"])) == dict.fromkeys(
        ["a_f1", "loss", "b_f1"], "float64"
    )
    assert table["loss"].isna().all()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"a,b\n1,2\n", "has no column 'epoch', only a, b"),
        (b"epoch,a\n0,1,2\n", "row 1, has 3 fields; its header has 2"),
        (b"epoch,a\n0,\xff\n", "row 1, column 'a' must be a number, got '\ufffd'"),
        (b"epoch,a\none,1\n", "row 1, column 'epoch' must be a number, got 'one'"),
    ],
)
def test_broken_log_is_left_out_with_a_warning(
    store: Store, made: Made, text: bytes, why: str
) -> None:
    good, bad = made.ended(), made.ended()
    store.put(good.key("rv", "train", "log.csv"), b"epoch,a\n0,1\n")
    store.put(bad.key("rv", "train", "log.csv"), text)
    with pytest.warns(UserWarning, match=f"^The run {bad.id} is left out of the table: .*{why}"):
        table = frame.history_table(store, [bad, good])
    assert list(table["run"]) == [good.id]


def test_table_of_scenes_of_an_earlier_version_has_no_grid(made: Made) -> None:
    run, newer = made.ended({"lr": 0.1}), made.ended({"lr": 0.2})
    row = {"group": "validation", "scene": "a", "image": "i", "labels": "l", "aois": None}
    for one, more in ((run, {}), (newer, {"grid": "g"})):
        columns = {k: pa.array([v], pa.string()) for k, v in {**row, **more}.items()}
        buffer = io.BytesIO()
        pq.write_table(pa.table({**columns, "hashed_from": ["content"]}), buffer)
        made.store.put(one.key("tables", "scenes.parquet"), buffer.getvalue())
    found = frame.scene_fingerprints_table(made.store, [run, newer]).set_index("run")
    assert pd.isna(found.loc[run.id, "grid"])
    assert found.loc[newer.id, "grid"] == "g"
