"""Contract of every comparison: runs in any form, and refusal of all else."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import pytest

import rvlab
from rvlab import compare
from tests.contracts.selections import assert_refuses_what_are_not_runs, assert_same_result
from tests.plot.runs_with_records import write_runs

TWO_SIDED = ("by_scene", "diff", "gate", "source_diff", "test")
NOT_OF_RUNS = ("Gate", "Test", "holm", "plain_table")
OF_TABLES = sorted({*compare.__all__} - {*TWO_SIDED, *NOT_OF_RUNS})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> rvlab.Lab:
    root = tmp_path_factory.mktemp("runs")
    for run in write_runs(root):
        (root / run.key("recipe.py")).write_text(f"# {run.id}\n")
    return rvlab.Lab(root)


@pytest.fixture(scope="module")
def board(lab: rvlab.Lab) -> pd.DataFrame:
    return lab.runs("town")


def content(result: Any) -> Any:
    data = getattr(result, "data", result)  # of a styled table
    return data if isinstance(data, pd.DataFrame) else str(data)


@pytest.mark.parametrize("name", OF_TABLES)
def test_comparison_takes_runs_in_any_form_and_refuses_all_else(
    name: str, board: pd.DataFrame
) -> None:
    call: Any = getattr(compare, name)
    if name == "table_of_tests":
        call = partial(call, baseline=board.iloc[0], resamples=99)
    assert_same_result(call, board, content)
    if name != "table_of_tests":
        assert_same_result(call, board.head(1), content)
    assert_refuses_what_are_not_runs(call, board)


@pytest.mark.parametrize("name", TWO_SIDED)
def test_both_sides_of_a_comparison_take_a_run_in_any_form(name: str, board: pd.DataFrame) -> None:
    compare_two = getattr(compare, name)
    other = board.iloc[1]
    for call in (lambda one: compare_two(one, other), lambda one: compare_two(other, one)):
        assert_same_result(call, board.head(1), content)
        assert_refuses_what_are_not_runs(call, board)


def test_long_tables_are_recognised_by_their_columns(lab: rvlab.Lab, board: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(compare.epochs(lab.history(board)), compare.epochs(board))
    pd.testing.assert_frame_equal(compare.pivot(lab.evals(board)), compare.pivot(board))
