"""Lines of precision by recall: their values, legends and dots, from a table of objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import plot
from rvlab.errors import SpecError, TableError


def objects(run: str, lr: float, said: list[tuple[str, float | None, int]]) -> pd.DataFrame:
    """Return two true trees and predictions of (class, score, bits)."""
    rows: list[tuple[Any, ...]] = [("truth", "tree", None, 1)] * 2
    rows += [("prediction", *one) for one in said]
    table = pd.DataFrame(rows, columns=["side", "class", "score", "matched_at"])
    table["outcome"] = np.where(table["matched_at"] > 0, "true positive", "false positive")
    table["score"] = table["score"].astype(float)
    return table.assign(run=run, group="validation", scene="a", **{"params.lr": lr})


RANKED = objects("r0", 0.1, [("tree", 0.9, 1), ("tree", 0.8, 0), ("tree", 0.7, 1)])
UNRANKED = objects("r1", 0.2, [("tree", None, 1), ("tree", None, 0)])


def legend(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_line_is_the_interpolated_precision_and_a_run_without_scores_a_dot() -> None:
    both = pd.concat([RANKED, UNRANKED.drop(columns="score")])
    ax = plot.precision_recall(both, label="run").axes[0]
    line, dot = ax.get_lines()
    assert np.asarray(line.get_ydata())[[0, 50, 51, 100]] == pytest.approx([1, 1, 2 / 3, 2 / 3])
    assert np.asarray(dot.get_xydata()).tolist() == [[1.0, 0.5]]
    assert legend(ax) == ["r0: AP 0.83", "r1: F1 0.67"]
    assert ax.get_title(loc="left") == "all classes, IoU ≥ 0.5"


def test_color_is_the_parameter_in_which_runs_differ() -> None:
    other = RANKED.assign(run="r1", **{"params.lr": 0.2})
    ax = plot.precision_recall(pd.concat([RANKED, other])).axes[0]
    assert ax.get_legend().get_title().get_text() == "params.lr"
    assert legend(ax) == ["0.1: AP 0.83", "0.2: AP 0.83"]
    third = RANKED.assign(run="r2", **{"params.lr": 0.2})
    ax = plot.precision_recall(pd.concat([RANKED, other, third]), hue="params.lr").axes[0]
    assert legend(ax) == ["0.1", "0.2"]  # the second one is of two runs


def test_invalid_arguments_raise() -> None:
    with pytest.raises(SpecError, match=r"iou must be 0\.50, 0\.55"):
        plot.precision_recall(RANKED, iou=0.3)
    with pytest.raises(TableError, match="No run has objects of the class 'tre'"):
        plot.precision_recall(RANKED, classes="tre")
    assert plot.precision_recall(RANKED.iloc[:0]).axes[0].texts[0].get_text().startswith("No obj")
