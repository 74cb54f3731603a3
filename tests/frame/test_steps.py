"""The table of steps of runs with, without and with broken step records."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from rvlab.errors import KeyMissing, StoreUnreachable
from rvlab.frame.steps import steps_table
from rvlab.model.tables import STEPS_TABLE
from rvlab.store import Store
from tests.frame.samples import Made


def dtypes(table: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in table.dtypes.items()}


def test_rows_are_in_the_order_of_the_pipeline_with_declared_dtypes(
    store: Store, made: Made
) -> None:
    first, none, second = made.queued(), made.queued(), made.queued()
    made.step(second, "train", peak_mb=812.5, cpu_s=30.25)
    made.step(first, "train", state="failed", exit_code=1, error="boom", attempt=2)
    made.step(first, "configure", state="succeeded", exit_code=0, ended="2026-11-23T15:42:09.500Z")
    table = steps_table(store, [first, none, second])
    assert dtypes(table) == STEPS_TABLE.dtypes
    assert list(table["run"]) == [first.id, first.id, second.id]
    assert list(table["step"]) == ["configure", "train", "train"]
    assert table["ended"].isna().tolist() == [False, True, True]
    assert table["ended"][0] == pd.Timestamp("2026-11-23T15:42:09.500Z")
    assert table["state"].tolist() == ["succeeded", "failed", "running"]
    assert table["exit_code"].tolist() == [0, 1, pd.NA]
    assert table["error"].tolist() == [pd.NA, "boom", pd.NA]
    assert table["attempt"].tolist() == [1, 2, 1]
    assert table["host"].tolist() == ["here"] * 3
    assert table[["peak_mb", "cpu_s"]].iloc[2].tolist() == [812.5, 30.25]
    assert (table["beat"] > table["started"]).all()


def test_splits_are_sorted_by_number(store: Store, made: Made) -> None:
    run = made.queued()
    for split in (10, 2, 0):
        record: dict[str, Any] = {
            "step": "predict",
            "state": "running",
            "host": "h",
            "pid": 1,
            "attempt": 1,
        }
        times = {"started": "2026-11-23T15:42:01Z", "beat": "2026-11-23T15:42:02Z"}
        record |= {**times, "split": split, "of": 11}
        store.put_json(run.key("steps", f"predict-{split}.json"), record)
    made.step(run, "summarize")
    assert steps_table(store, [run])["split"].tolist() == [0, 2, 10, pd.NA]


def test_table_without_rows_has_the_declared_dtypes(store: Store, made: Made) -> None:
    assert dtypes(steps_table(store, [])) == STEPS_TABLE.dtypes
    empty = steps_table(store, [made.queued(), made.ended()])
    assert empty.empty
    assert dtypes(empty) == STEPS_TABLE.dtypes


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"step": "train"}', b'{"started": 3}'])
def test_broken_record_is_left_out_with_a_warning(store: Store, made: Made, data: bytes) -> None:
    run = made.queued()
    made.step(run, "configure")
    store.put(run.step_key("train"), data)
    with pytest.warns(UserWarning, match=f"^A step is left out of the table: .*{run.id}"):
        table = steps_table(store, [run])
    assert table["step"].tolist() == ["configure"]


def test_record_deleted_during_the_read_is_skipped_and_unreachable_store_raises(
    store: Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made.queued()
    made.step(run, "configure")

    def answer(exc: Exception) -> Any:
        return lambda _, keys: dict.fromkeys(keys, exc)

    monkeypatch.setattr(Store, "get_many", answer(KeyMissing("missing")))
    assert steps_table(store, [run]).empty
    monkeypatch.setattr(Store, "get_many", answer(StoreUnreachable("no answer")))
    with pytest.raises(StoreUnreachable):
        steps_table(store, [run])


def test_table_of_steps_joins_on_run(store: Store, made: Made) -> None:
    run = made.queued()
    made.step(run, "configure")
    board = pd.DataFrame({"params.lr": [0.1]}, index=pd.Index([run.id], name="run"))
    assert steps_table(store, [run]).join(board, on="run")["params.lr"].tolist() == [0.1]
