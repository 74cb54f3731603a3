from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab import compare
from rvlab.compare._rank_changes import rank_change_counts
from rvlab.errors import SpecError, TableError
from tests.compare.samples import table
from tests.frame.samples import Made

# No correct road pixel, but the lead in Raster Vision's average.
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


def test_board_lists_the_best_run_first_with_differing_parameters(runs: pd.DataFrame) -> None:
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


def test_ascending_board_ranks_the_smallest_value_first(runs: pd.DataFrame) -> None:
    board = compare.board(runs, "f1", ascending=True, columns=["params.width"])
    assert list(board.index) == ["r1", "r2", "r4", "r3"]
    assert board["diff_to_best"].iloc[1] == pytest.approx(0.04)
    assert "params.width" in board


def test_unknown_metric_raises_an_error_that_lists_existing_metrics(runs: pd.DataFrame) -> None:
    message = r"Did you mean 'metrics.f1'.*Metrics that exist: metrics.f1, metrics.mean_iou, "
    with pytest.raises(TableError, match=message):
        compare.board(runs, "metrics.f2")
    with pytest.raises(TableError, match=r"'f1.roof'\. Metrics that exist: metrics.f1, metrics.me"):
        compare.board(runs, "f1.roof")
    with pytest.raises(TableError, match=r"no column 'params.depth'"):
        compare.board(runs, columns=["params.depth"])


def test_runs_of_different_evaluation_sets_are_ranked_separately(runs: pd.DataFrame) -> None:
    runs["eval_set"] = pd.Series(["x", "y", "x", "x"], index=runs.index, dtype="string")
    with pytest.warns(UserWarning, match="on 2 different sets of scenes.*across_sets=True"):
        board = compare.board(runs)
    assert list(board.index) == ["r4", "r1", "r2", "r3"]
    assert board["rank"].tolist() == [1, 2, 1, pd.NA]
    assert board["eval_set"].tolist() == ["x", "x", "y", "x"]
    assert board["rank_changes"].tolist() == [0, 0, 0, 0]
    together = compare.board(runs, across_sets=True)
    assert list(together.index) == ["r2", "r4", "r1", "r3"]


def test_failed_runs_are_listed_last(runs: pd.DataFrame) -> None:
    """Runs that were not evaluated do not form an evaluation set of their own."""
    failed = runs.loc[["r3"] * 5].set_axis([f"f{i}" for i in range(5)])
    both = pd.concat([failed, runs]).assign(eval_set=pd.Series("x", ["r1", "r2", "r4"]))
    board = compare.board(both)
    assert list(board.index[:3]) == ["r2", "r4", "r1"]
    assert board["rank"].tolist()[:3] == [1, 1, 3]
    assert board["rank"].isna().sum() == 6
    assert "eval_set" not in board


def test_runs_without_a_recorded_evaluation_set_are_ranked_separately_with_a_warning(
    runs: pd.DataFrame,
) -> None:
    runs["eval_set"] = pd.Series(["x", pd.NA, "x", "x"], index=runs.index, dtype="string")
    with pytest.warns(UserWarning, match=r"^1 of these 3 runs has no record of the evaluation set"):
        board = compare.board(runs)
    assert list(board.index) == ["r4", "r1", "r2", "r3"]
    assert "eval_set" in board
    assert compare.board(runs, across_sets=True)["rank"].tolist() == [1, 1, 3, pd.NA]
    runs["eval_set"] = pd.Series(pd.NA, index=runs.index, dtype="string")
    assert list(compare.board(runs).index) == ["r2", "r4", "r1", "r3"]


def test_rank_changes_skips_pairs_of_different_evaluation_sets(runs: pd.DataFrame) -> None:
    assert len(compare.rank_changes(runs)) == 2
    runs["eval_set"] = pd.Series(["x", "y", "x", "x"], index=runs.index, dtype="string")
    assert compare.rank_changes(runs).empty
    assert len(compare.rank_changes(runs, across_sets=True)) == 2


def test_metric_of_another_group_uses_the_evaluation_set_of_that_group(
    runs: pd.DataFrame,
) -> None:
    runs["eval_set"] = "x"
    runs["eval_set.test"] = pd.Series(["p", "q", "p", "p"], index=runs.index, dtype="string")
    runs["metrics.test.f1"] = [0.5, 0.9, 0.6, 0.7]
    assert "eval_set" not in compare.board(runs)
    with pytest.warns(UserWarning, match="column 'eval_set.test'"):
        board = compare.board(runs, "test.f1")
    assert list(board.index) == ["r4", "r3", "r1", "r2"]


def test_board_preserves_both_rows_of_a_run_that_is_listed_twice(runs: pd.DataFrame) -> None:
    twice = pd.concat([runs, runs.iloc[[0]]])
    board = compare.board(twice)
    assert list(board.index) == ["r2", "r4", "r1", "r1", "r3"]
    assert board["rank_changes"].tolist() == [2, 0, 1, 1, 0]


def test_rank_changes_lists_a_pair_with_both_metrics(runs: pd.DataFrame) -> None:
    found = compare.rank_changes(runs)
    assert len(found) == 2  # macro F1 and mean IoU, each against Raster Vision's average
    pair = found[found["leads_by"] == "metrics.f1"].iloc[0]
    assert (pair["run"], pair["other"]) == ("r2", "r1")
    assert pair["leads_other_by"] == "metrics.rv_average_f1"
    assert (pair["by"], pair["by_other"]) == (pytest.approx(0.04), pytest.approx(0.009))
    assert compare.board(runs)["rank_changes"].tolist() == [1, 0, 1, 0]


def test_rank_changes_requires_two_metrics(runs: pd.DataFrame) -> None:
    assert compare.rank_changes(runs, ["f1", "mean_iou"]).empty
    with pytest.raises(SpecError, match=r"metrics must name at least two, got metrics\.f1"):
        compare.rank_changes(runs, ["f1"])
    with pytest.raises(TableError, match="No run has the metric 'f3'"):
        compare.rank_changes(runs, ["f1", "f3"])


def test_styled_formats_the_board_without_changing_it(runs: pd.DataFrame) -> None:
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


def test_varying_returns_differing_columns_and_counts_missing_as_a_value() -> None:
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


def test_importing_compare_loads_no_heavy_packages() -> None:
    code = (
        "import rvlab.compare, sys; dir(rvlab.compare); heavy = {'pandas', 'numpy', 'scipy', "
        "'matplotlib', 'pyarrow', 'obstore'}; print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_public_name_of_compare_resolves() -> None:
    assert sorted(compare.__all__) == dir(compare)
    assert all(callable(getattr(compare, name)) for name in compare.__all__)
    with pytest.raises(AttributeError, match=r"attribute '?bord"):
        compare.bord  # noqa: B018


def test_styled_board_of_equal_runs_has_no_bars(runs: pd.DataFrame) -> None:
    runs["metrics.f1"] = 0.5
    assert "0.5000" in compare.styled(compare.board(runs)).to_html()


def test_board_includes_a_column_given_by_name(runs: pd.DataFrame) -> None:
    assert "params.width" in compare.board(runs, columns="params.width")
    with pytest.raises(TableError, match=r"no column 'user'"):
        compare.board(runs, columns="user")


@pytest.mark.parametrize("as_given", [list, lambda runs: [run.uri for run in runs]])
def test_runs_and_uris_are_accepted_like_a_table(made: Made, as_given: Any) -> None:
    both = {"f1": 0.5, "mean_iou": 0.4}
    runs = [made.ended({"lr": lr}, both, seed=seed) for lr in (0.1, 0.2) for seed in (0, 1)]
    given = as_given(runs)
    assert sorted(compare.board(given).index) == [run.id for run in runs]
    assert compare.seeds(given)["n"].tolist() == [2, 2]
    assert list(compare.varying(given)) == ["params.lr"]
    assert compare.rank_changes(given).empty
    row = compare.board(given).iloc[0]
    assert compare.board(row).index.tolist() == [row.name]


def test_board_does_not_require_uris(runs: pd.DataFrame) -> None:
    runs = runs.drop(columns="uri")
    assert "uri" not in compare.board(runs)
    assert len(compare.seeds(runs)) == 2


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 3))
def test_rank_changes_agree_with_a_count_of_all_pairs(seed: int, n: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["metrics.f1", "metrics.mean_iou", "metrics.rv_average_f1"]
    table = pd.DataFrame(np.round(rng.random((n, 3)), digits), columns=names)
    table = table.mask(rng.random((n, 3)) < 0.1)
    table.loc[0] = 0.5
    f1, *others = (table[name].to_numpy() for name in names)
    flips = [(f1[:, None] - f1) * (one[:, None] - one) < 0 for one in others]
    counted = np.logical_or(*flips).sum(axis=1)
    assert rank_change_counts(table, "metrics.f1").tolist() == counted.tolist()


def test_metrics_that_no_run_has_are_left_out(runs: pd.DataFrame) -> None:
    board = compare.board(runs.assign(**{"metrics.mean_iou": np.nan}))
    assert "metrics.mean_iou" not in board
