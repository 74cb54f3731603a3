from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from rvlab import plot
from rvlab.errors import TableError


def runs(**columns):
    base = {"params.lr": [1e-4, 1e-3, 1e-2], "metrics.f1": [0.5, 0.9, 0.8]} | columns
    return pd.DataFrame(base, index=pd.Index(["a", "b", "c"], name="run"))


def dots(ax):
    return ax.collections[0].get_offsets().tolist()


def notes(ax):
    return [t.get_text() for t in ax.texts]


def test_a_dot_per_run_on_a_log_axis_where_values_span_decades():
    ax = plot.scatter(runs())
    assert dots(ax) == [[1e-4, 0.5], [1e-3, 0.9], [1e-2, 0.8]]
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("params.lr", "metrics.f1")
    assert plot.scatter(runs(), log_x=False).get_xscale() == "linear"
    assert plot.scatter(runs(**{"params.lr": [1, 2, 50]})).get_xscale() == "linear"
    assert plot.scatter(runs(**{"params.lr": [-1, 2, 500]})).get_xscale() == "linear"


def test_runs_without_a_value_are_counted_in_a_note():
    ax = plot.scatter(runs(**{"metrics.f1": [0.5, np.nan, np.nan]}))
    assert notes(ax) == ["2 runs without metrics.f1 are not shown."]
    assert len(dots(ax)) == 1
    both = plot.scatter(runs(**{"metrics.f1": [np.nan, 1, 1], "params.lr": [1, np.nan, 2]}))
    assert notes(both) == ["1 run without params.lr is and 1 run without metrics.f1 is not shown."]
    none = plot.scatter(runs(**{"metrics.f1": [np.nan] * 3}))
    assert notes(none) == ["3 runs without metrics.f1 are not shown."]


def test_categories_durations_and_times_have_an_axis():
    ax = plot.scatter(runs(model=["unet", "fpn", "unet"]), x="model")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["fpn", "unet"]
    assert dots(ax) == [[1, 0.5], [0, 0.9], [1, 0.8]]
    mixed = plot.scatter(runs(pretrained=[True, "imagenet", False]), x="pretrained")
    assert [t.get_text() for t in mixed.get_xticklabels()] == ["False", "True", "imagenet"]
    ax = plot.scatter(runs(duration=pd.to_timedelta([60, 300, 600], unit="s")), x="duration")
    assert ax.get_xlabel() == "duration [min]"
    assert dots(ax)[1] == [5, 0.9]
    when = pd.date_range("2026-11-23", periods=3, tz="UTC")
    assert plot.scatter(runs(created=when), x="created").get_xlabel() == "created (UTC)"


def test_hue_has_a_legend_with_the_name_of_its_column():
    ax = plot.scatter(runs(model=["b", "a", "b"]), hue="model")
    legend = ax.get_legend()
    assert legend.get_title().get_text() == "model"
    assert [t.get_text() for t in legend.get_texts()] == ["b", "a"]
    colors = ax.collections[0].get_facecolors()[:, :3].tolist()
    assert colors[0] == colors[2] != colors[1]


def test_many_numbers_have_a_color_bar():
    table = pd.DataFrame({"params.lr": range(1, 13), "metrics.f1": 0.5, "width": range(12)})
    ax = plot.scatter(table, hue="width")
    assert ax.get_legend() is None
    assert ax.collections[0].get_facecolors().shape == (12, 4)
    assert "width" in [other.get_ylabel() for other in ax.get_figure().axes]


def test_it_draws_on_the_axes_it_is_given():
    mine = Figure().subplots()
    assert plot.scatter(runs(), ax=mine) is mine


def test_wrong_columns_are_named():
    with pytest.raises(TableError, match=r"'metrics.f2'. Did you mean 'metrics.f1'"):
        plot.scatter(runs(), y="metrics.f2")
    with pytest.raises(TableError, match=r"has no column 'who'"):
        plot.scatter(runs(), hue="who")


def test_an_empty_table_is_a_note_and_the_table_stays():
    assert notes(plot.scatter(runs().head(0))) == ["No runs yet: the table is empty."]
    table = runs()
    before = table.copy()
    plot.scatter(table, hue="params.lr")
    pd.testing.assert_frame_equal(table, before)
