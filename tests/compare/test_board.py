from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import compare
from rvlab.errors import SpecError, TableError
from tests.compare.samples import table
from tests.frame.samples import Made

# Never a road pixel right, and ahead by Raster Vision's average all the same.
NO_ROADS = {"metrics.f1": 0.66, "metrics.mean_iou": 0.408, "metrics.rv_average_f1": 0.984}
ROADS = {"metrics.f1": 0.70, "metrics.mean_iou": 0.438, "metrics.rv_average_f1": 0.975}


@pytest.fixture
def runs() -> pd.DataFrame:
    made = table(
        {
            "r1": {**NO_ROADS, "params.lr": 0.1, "params.width": 8, "state": "succeeded"},
            "r2": {**ROADS, "params.lr": 0.01, "params.width": 8, "state": "succeeded"},
            "r3": {"params.lr": 0.01, "params.width": 8, "state": "failed"},
            "r4": {"metrics.f1": 0.70, "params.lr": 0.1, "params.width": 8, "state": "succeeded"},
        }
    )
    return made.astype({"state": "string"})


def test_the_best_run_stands_first_with_what_tells_it_apart(runs: pd.DataFrame) -> None:
    before = runs.copy()
    board = compare.board(runs)
    assert list(board.index) == ["r2", "r4", "r1", "r3"]
    assert board["rank"].tolist() == [1, 1, 3, pd.NA]
    np.testing.assert_allclose(board["diff_to_best"], [0, 0, -0.04, np.nan])
    assert "params.lr" in board
    assert "state" in board
    assert "params.width" not in board
    assert board.columns[-1] == "uri"
    assert type(board) is pd.DataFrame
    pd.testing.assert_frame_equal(runs, before)


def test_a_loss_is_best_when_it_is_small(runs: pd.DataFrame) -> None:
    board = compare.board(runs, "f1", ascending=True, columns=["params.width"])
    assert list(board.index) == ["r1", "r2", "r4", "r3"]
    assert board["diff_to_best"].iloc[1] == pytest.approx(0.04)
    assert "params.width" in board


def test_a_metric_that_no_run_has_lists_those_that_exist(runs: pd.DataFrame) -> None:
    message = r"Did you mean 'metrics.f1'.*Metrics that exist: metrics.f1, metrics.mean_iou, "
    with pytest.raises(TableError, match=message):
        compare.board(runs, "metrics.f2")
    with pytest.raises(TableError, match=r"'f1.roof'\. Metrics that exist: metrics.f1, metrics.me"):
        compare.board(runs, "f1.roof")
    with pytest.raises(TableError, match=r"no column 'params.depth'"):
        compare.board(runs, columns=["params.depth"])


def test_an_empty_table_gives_an_empty_board(runs: pd.DataFrame) -> None:
    assert compare.board(runs.iloc[:0]).empty
    assert "rank" in compare.board(runs.iloc[:0])


def test_runs_over_other_scenes_are_ranked_apart(runs: pd.DataFrame) -> None:
    runs["eval_set"] = pd.Series(["x", "y", "x", "x"], index=runs.index, dtype="string")
    with pytest.warns(UserWarning, match="on 2 different sets of scenes.*across_sets=True"):
        board = compare.board(runs)
    assert list(board.index) == ["r4", "r1", "r2", "r3"]
    assert board["rank"].tolist() == [1, 2, 1, pd.NA]
    assert board["eval_set"].tolist() == ["x", "x", "y", "x"]
    assert board["rank_changes"].tolist() == [0, 0, 0, 0]
    together = compare.board(runs, across_sets=True)
    assert list(together.index) == ["r2", "r4", "r1", "r3"]


def test_runs_that_failed_stand_last_however_many_they_are(runs: pd.DataFrame) -> None:
    """They were evaluated on nothing, which is no set of its own."""
    failed = runs.loc[["r3"] * 5].set_axis([f"f{i}" for i in range(5)])
    both = pd.concat([failed, runs]).assign(eval_set=pd.Series("x", ["r1", "r2", "r4"]))
    board = compare.board(both)
    assert list(board.index[:3]) == ["r2", "r4", "r1"]
    assert board["rank"].tolist()[:3] == [1, 1, 3]
    assert board["rank"].isna().sum() == 6
    assert "eval_set" not in board


def test_runs_of_which_nobody_knows_the_scenes_are_ranked_apart_with_a_word(
    runs: pd.DataFrame,
) -> None:
    runs["eval_set"] = pd.Series(["x", pd.NA, "x", "x"], index=runs.index, dtype="string")
    with pytest.warns(UserWarning, match=r"^Nobody knows on what 1 of these 3 runs was evaluated"):
        board = compare.board(runs)
    assert list(board.index) == ["r4", "r1", "r2", "r3"]
    assert "eval_set" in board
    assert compare.board(runs, across_sets=True)["rank"].tolist() == [1, 1, 3, pd.NA]
    runs["eval_set"] = pd.Series(pd.NA, index=runs.index, dtype="string")
    assert list(compare.board(runs).index) == ["r2", "r4", "r1", "r3"]


def test_runs_over_other_scenes_are_no_pair_that_flips(runs: pd.DataFrame) -> None:
    assert len(compare.rank_changes(runs)) == 2
    runs["eval_set"] = pd.Series(["x", "y", "x", "x"], index=runs.index, dtype="string")
    assert compare.rank_changes(runs).empty
    assert len(compare.rank_changes(runs, across_sets=True)) == 2


def test_a_metric_of_another_group_is_ranked_by_what_that_group_was_scored_on(
    runs: pd.DataFrame,
) -> None:
    runs["eval_set"] = "x"
    runs["eval_set.test"] = pd.Series(["p", "q", "p", "p"], index=runs.index, dtype="string")
    runs["metrics.test.f1"] = [0.5, 0.9, 0.6, 0.7]
    assert "eval_set" not in compare.board(runs)
    with pytest.warns(UserWarning, match="column 'eval_set.test'"):
        board = compare.board(runs, "test.f1")
    assert list(board.index) == ["r4", "r3", "r1", "r2"]


def test_a_run_that_is_in_the_table_twice_keeps_its_rows(runs: pd.DataFrame) -> None:
    twice = pd.concat([runs, runs.iloc[[0]]])
    board = compare.board(twice)
    assert list(board.index) == ["r2", "r4", "r1", "r1", "r3"]
    assert board["rank_changes"].tolist() == [2, 0, 1, 1, 0]


def test_a_pair_that_flips_is_shown_with_both_metrics(runs: pd.DataFrame) -> None:
    found = compare.rank_changes(runs)
    assert len(found) == 2  # By macro F1 and by mean IoU, each against Raster Vision's average.
    pair = found[found["leads_by"] == "metrics.f1"].iloc[0]
    assert (pair["run"], pair["other"]) == ("r2", "r1")
    assert pair["leads_other_by"] == "metrics.rv_average_f1"
    assert (pair["by"], pair["by_other"]) == (pytest.approx(0.04), pytest.approx(0.009))
    assert compare.board(runs)["rank_changes"].tolist() == [1, 0, 1, 0]


def test_a_flip_needs_two_metrics(runs: pd.DataFrame) -> None:
    assert compare.rank_changes(runs, ["f1", "mean_iou"]).empty
    with pytest.raises(SpecError, match=r"A flip needs two metrics; there is metrics\.f1"):
        compare.rank_changes(runs, ["f1"])
    with pytest.raises(TableError, match="No run has the metric 'f3'"):
        compare.rank_changes(runs, ["f1", "f3"])


def test_styled_is_for_the_eye_and_leaves_the_table(runs: pd.DataFrame) -> None:
    runs.loc["r1", "params.lr"] = 3e-5
    board = compare.board(runs)
    before = board.copy()
    html = compare.styled(board).to_html()
    assert "linear-gradient" in html
    assert "/store/" not in html
    assert "0.7000" in html
    assert "3e-05" in html
    assert re.search(r"background-color: #[0-9a-f]{6}", html)
    pd.testing.assert_frame_equal(board, before)


def test_varying_keeps_what_differs_and_missing_is_a_value() -> None:
    runs = table(
        {
            "a": {"params.lr": 0.1, "params.depth": 3, "params.flag": True, "params.n": 1},
            "b": {"params.lr": 0.1, "params.flag": True, "params.n": 2},
        }
    )
    found = compare.varying(runs)
    assert list(found.columns) == ["params.depth", "params.n"]
    assert found.index.equals(runs.index)
    assert compare.varying(runs.iloc[:1]).shape == (1, 0)


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import rvlab.compare, sys; dir(rvlab.compare); heavy = {'pandas', 'numpy', 'scipy', "
        "'matplotlib', 'pyarrow', 'obstore'}; print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_name_resolves() -> None:
    assert sorted(compare.__all__) == dir(compare)
    assert all(callable(getattr(compare, name)) for name in compare.__all__)
    with pytest.raises(AttributeError, match="no attribute 'bord'"):
        compare.bord  # noqa: B018


def test_runs_that_are_all_as_good_are_styled_without_bars(runs: pd.DataFrame) -> None:
    runs["metrics.f1"] = 0.5
    assert "0.5000" in compare.styled(compare.board(runs)).to_html()


def test_one_more_column_is_kept_by_its_name(runs: pd.DataFrame) -> None:
    assert "params.width" in compare.board(runs, columns="params.width")
    with pytest.raises(TableError, match=r"no column 'user'"):
        compare.board(runs, columns="user")


@pytest.mark.parametrize("as_given", [list, lambda runs: [run.uri for run in runs]])
def test_runs_and_their_uris_are_read_as_their_table_is(made: Made, as_given: Any) -> None:
    both = {"f1": 0.5, "mean_iou": 0.4}
    runs = [made.ended({"lr": lr}, both, seed=seed) for lr in (0.1, 0.2) for seed in (0, 1)]
    given = as_given(runs)
    assert sorted(compare.board(given).index) == [run.id for run in runs]
    assert compare.seeds(given)["n"].tolist() == [2, 2]
    assert list(compare.varying(given)) == ["params.lr"]
    assert compare.rank_changes(given).empty
    row = compare.board(given).iloc[0]
    assert compare.board(row).index.tolist() == [row.name]


def test_a_table_needs_no_uris_to_be_ranked(runs: pd.DataFrame) -> None:
    runs = runs.drop(columns="uri")
    assert "uri" not in compare.board(runs)
    assert len(compare.seeds(runs)) == 2
