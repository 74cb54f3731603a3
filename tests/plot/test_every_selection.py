"""Contract of every plot: runs in any form, one kind of result, ``ax=`` or the reason against."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text

import rvlab
from rvlab import plot
from rvlab.errors import SpecError, TableError
from rvlab.store import Store
from tests.contracts.selections import assert_refuses_what_are_not_runs, assert_same_result
from tests.frame.samples import Made
from tests.plot.runs_with_records import PARAMS, write_runs

pytest.importorskip("sklearn")

EACH = pytest.mark.parametrize("name", plot.__all__)
LONG_TABLES = {
    "confusion": "confusion", "curves": "history", "heatmap": "evals", "timeline": "steps",
    "precision_recall": "objects",
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {"predictions": {"scenes": ["val-0"], "max_px": 32}}
ONE_RUN: dict[str, dict[str, Any]] = {"scatter": {"x": "params.lr"}}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> rvlab.Lab:
    root = tmp_path_factory.mktemp("runs")
    write_runs(root, PARAMS * 3)
    return rvlab.Lab(root)


@pytest.fixture(scope="module")
def board(lab: rvlab.Lab) -> pd.DataFrame:
    return lab.runs("town")


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rvlab.plot._importance.TREES", 5)
    monkeypatch.setattr("rvlab.plot._importance.REPEATS", 2)


def call_of(name: str, **options: Any) -> partial[Any]:
    return partial(getattr(plot, name), **OPTIONS.get(name, {}), **options)


def few(name: str, board: pd.DataFrame) -> pd.DataFrame:
    return board if name == "importance" else board.head(3)


def content(figure: Figure) -> list[Any]:
    """Return texts, lines, areas and pictures of a figure."""
    out: list[Any] = []
    for artist in figure.findobj():
        if isinstance(artist, Text):
            out.append(artist.get_text())
        elif isinstance(artist, Line2D):
            out.append(np.asarray(artist.get_xydata()).tolist())
        elif isinstance(artist, Collection):
            out += [np.asarray(artist.get_offsets()).tolist(), artist.get_facecolor().tolist()]
        elif isinstance(artist, AxesImage):
            out.append(np.asarray(artist.get_array()).tobytes())
    return [str(one) for one in out]


@EACH
def test_plot_takes_runs_in_any_form_and_refuses_all_else(name: str, board: pd.DataFrame) -> None:
    call = call_of(name)
    assert_same_result(call, few(name, board), content)
    if name != "importance":  # which needs ten runs
        assert_same_result(call_of(name, **ONE_RUN.get(name, {})), board.head(1), content)
    assert_refuses_what_are_not_runs(call, board)


@EACH
def test_plot_names_runs_by_the_parameters_in_which_they_differ(
    name: str, lab: rvlab.Lab, board: pd.DataFrame
) -> None:
    def shown(runs: Any) -> str:
        figure = call_of(name)(runs)
        figure.canvas.draw()
        return "\n".join(t.get_text() for t in figure.findobj(Text))

    runs = few(name, board)
    texts = shown(runs)
    assert "lr" in texts
    for run in runs.index:
        assert run.rpartition("-")[2] not in texts
    if name in LONG_TABLES:  # also filtered by the user, with the parameters in it
        long = getattr(lab, LONG_TABLES[name])(runs).drop(columns=["name"], errors="ignore")
        extra = [c for c in ("params.lr",) if c not in long]
        assert "lr" in shown(long.join(runs[extra], on="run"))


@EACH
def test_plot_returns_its_figure_or_the_given_axes(name: str, board: pd.DataFrame) -> None:
    runs = few(name, board)
    made = call_of(name)(runs)
    assert isinstance(made, Figure)
    assert not plt.get_fignums()  # so that a notebook shows it once
    if "ax" not in inspect.signature(getattr(plot, name)).parameters:
        assert "no\n    ``ax``" in getattr(plot, name).__doc__ or "no ``ax``" in str(
            getattr(plot, name).__doc__
        )
        return
    before = dict(matplotlib.rcParams)
    figure, (ax, other) = plt.subplots(1, 2)
    options = {"y": "val_loss"} if name == "curves" else {}
    assert call_of(name, ax=ax, **options)(runs) is ax
    assert ax.findobj(Text, include_self=False)
    assert not other.lines + other.texts
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(SpecError, match="ax must be one matplotlib Axes, got Figure"):
        call_of(name, ax=figure)(runs)


def test_curves_on_given_axes_need_one_series(board: pd.DataFrame) -> None:
    with pytest.raises(SpecError, match="ax takes one series, got train_loss, val_loss, avg_f1"):
        plot.curves(board, ax=plt.subplots()[1])


def test_short_names_of_metrics_are_understood_everywhere(board: pd.DataFrame) -> None:
    assert content(plot.scatter(board, y="f1")) == content(plot.scatter(board))
    assert content(plot.parallel(board, hue="f1")) == content(plot.parallel(board))
    assert content(plot.importance(board, "f1")) == content(plot.importance(board))
    assert content(plot.heatmap(board, metric="metrics.f1")) == content(plot.heatmap(board))


def test_columns_of_the_table_of_runs_color_and_name_the_lines(board: pd.DataFrame) -> None:
    runs = board.head(3).assign(machine=["a", "b", "a"], owner=["x", "y", "z"])
    by_machine = plot.curves(runs, hue="machine").legends[0]
    assert [t.get_text() for t in by_machine.get_texts()] == ["a", "b"]
    by_owner = plot.curves(runs, label="owner").legends[0]
    assert [t.get_text() for t in by_owner.get_texts()] == ["x", "y", "z"]
    names = [t.get_text() for t in plot.scatter(runs, label="owner").axes[0].texts]
    assert names[:3] == ["x", "y", "z"]
    with pytest.raises(TableError, match="the table of runs has a column 'machin'"):
        plot.curves(runs, hue="machin")


@pytest.mark.parametrize("name", ["curves", "confusion"])
def test_runs_without_records_are_named_in_a_warning(
    name: str, board: pd.DataFrame, tmp_path: Path
) -> None:
    without = Made(Store(tmp_path)).ended({"lr": 9.0}, {"f1": 0.1})
    with pytest.warns(UserWarning, match="^1 of 3 runs has no rows in the ") as caught:
        call_of(name)([*board["uri"].iloc[:2], without])
    assert without.id in str(caught[0].message)
    assert caught[0].filename == __file__
    if name == "confusion":
        with (
            pytest.warns(match="1 of 2 runs"),
            pytest.raises(SpecError, match=r"two runs .* got 1\.$"),
        ):
            plot.confusion([board["uri"].iloc[0], without], difference=True)


def test_color_of_curves_may_be_a_metric_in_short(board: pd.DataFrame) -> None:
    short, full = (plot.curves(board, "val_loss", hue=hue) for hue in ("f1", "metrics.f1"))
    assert content(short) == content(full)
