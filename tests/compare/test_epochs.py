from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import compare
from rvlab.errors import TableError
from rvlab.frame.best_epoch import best_index, lower_is_better


def history(**runs: dict[str, list[Any]]) -> pd.DataFrame:
    """Return a table like ``lab.history()`` from the series of each run."""
    parts = [
        pd.DataFrame({"run": run, "epoch": range(len(next(iter(series.values())))), **series})
        for run, series in runs.items()
    ]
    return pd.concat(parts, ignore_index=True)


def two() -> pd.DataFrame:
    return history(
        b={"train_loss": [0.9, 0.5, 0.3, 0.2], "val_loss": [0.8, 0.4, 0.5, 0.7],
           "avg_f1": [0.5, 0.8, 0.9, 0.9], "train_time_s": [20.0, 8.0, 10.0, 9.0],
           "valid_time_s": [2.0, 1.0, 1.0, 1.0]},
        a={"train_loss": [0.9, 0.6], "val_loss": [0.9, 0.7], "avg_f1": [0.4, 0.6],
           "train_time_s": [5.0, 7.0], "valid_time_s": [1.0, 1.0]},
    )  # fmt: skip


def test_epochs_return_best_epoch_time_and_overfit_gap_per_run() -> None:
    found = compare.epochs(two())
    assert found.index.tolist() == ["b", "a"]
    assert found.loc["b"].to_dict() == pytest.approx(
        {
            "epochs": 4, "best_epoch": 1, "best.val_loss": 0.4, "last.val_loss": 0.7,
            "epoch_s": 10.5, "train_s": 52.0, "overfit_gap": 0.3,
        }
    )  # fmt: skip
    # The last epoch was the best, so the gap is 0.
    assert found.loc["a", ["best_epoch", "overfit_gap"]].tolist() == [1, 0]


def test_best_epoch_of_a_score_is_the_first_maximum() -> None:
    found = compare.epochs(two(), "avg_f1")
    assert found.loc["b", ["best_epoch", "best.avg_f1", "last.avg_f1"]].tolist() == [2, 0.9, 0.9]
    assert found.loc["b", "overfit_gap"] == pytest.approx(0.3)  # always of val_loss
    assert compare.epochs(two(), "avg_f1", ascending=True)["best_epoch"].tolist() == [0, 0]
    assert compare.epochs(two(), "train_loss")["best_epoch"].tolist() == [3, 1]


def test_detection_uses_map_because_it_has_no_validation_loss() -> None:
    table = history(a={"train_loss": [2.0, 1.0], "mAP": [0.3, 0.2], "train_time_s": [1.0, 1.0],
                       "valid_time_s": [1.0, 1.0]})  # fmt: skip
    found = compare.epochs(table).loc["a"]
    assert (found["best_epoch"], found["best.mAP"], found["last.mAP"]) == (0, 0.3, 0.2)
    assert "overfit_gap" not in found


def test_epochs_are_missing_without_validation_or_after_a_nan_loss() -> None:
    plain = history(a={"train_loss": [2.0, 1.0], "train_time_s": [3.0, 4.0]})
    found = compare.epochs(plain).loc["a"]
    assert found["best_epoch"] is pd.NA
    assert pd.isna(found["best.val_loss"])
    assert not {"last.val_loss", "overfit_gap"} & set(found.index)
    assert (found["epoch_s"], found["train_s"]) == (3.5, 7.0)
    mixed = history(a={"val_loss": [np.nan, np.nan]}, b={"val_loss": [0.5, np.nan]})
    found = compare.epochs(mixed)
    assert found["best_epoch"].isna().tolist() == [True, False]
    assert found.loc["b", "best.val_loss"] == 0.5
    assert not {"last.val_loss", "overfit_gap", "epoch_s", "train_s"} & set(found)
    assert str(found["best_epoch"].dtype) == "Int64"


def test_single_epoch_is_best_and_last() -> None:
    one = compare.epochs(two().drop_duplicates("run"))
    assert one["epochs"].tolist() == [1, 1]
    assert one["best_epoch"].tolist() == [0, 0]
    assert one["overfit_gap"].tolist() == [0, 0]


def test_epochs_accept_unsorted_rows_and_do_not_change_the_table() -> None:
    table = two().sample(frac=1, random_state=3)
    before = table.copy()
    found = compare.epochs(table)
    pd.testing.assert_frame_equal(found.loc[["b", "a"]], compare.epochs(two()))
    pd.testing.assert_frame_equal(table, before)
    again = compare.epochs(two().set_index("run"))
    pd.testing.assert_frame_equal(again, compare.epochs(two()))


def test_epochs_join_with_the_table_of_runs() -> None:
    runs = pd.DataFrame({"params.lr": [1, 2]}, index=pd.Index(["a", "b"], name="run"))
    assert runs.join(compare.epochs(two()))["epochs"].tolist() == [2, 4]


def test_unknown_series_raises_and_empty_history_gives_an_empty_table() -> None:
    with pytest.raises(TableError, match=r"history has no column 'val_los'. Did you mean 'val_lo"):
        compare.epochs(two(), "val_los")
    empty = pd.DataFrame({"run": pd.Series(dtype="object"), "epoch": pd.Series(dtype="int64")})
    found = compare.epochs(empty, "avg_f1")
    assert found.empty
    assert "best.avg_f1" in found
    assert found.dtypes["epochs"] == "int64"


def test_losses_and_times_are_better_when_lower() -> None:
    assert [lower_is_better(s) for s in ("val_loss", "loss_box_reg", "train_time_s")] == [True] * 3
    assert [lower_is_better(s) for s in ("avg_f1", "mAP50", "road_recall")] == [False] * 3
    assert best_index(pd.Series([np.nan, 2.0, 1.0, 1.0]), minimize=True) == 2
    assert best_index(pd.Series([np.nan, None], dtype="float64"), minimize=False) is None
