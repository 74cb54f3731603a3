from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm, to_hex

from rvlab import plot
from rvlab.errors import SpecError, TableError


def history(runs=3, epochs=4, **more):
    rows = [
        {"run": f"r{run:02d}", "epoch": epoch, "train_loss": 1 / (1 + epoch + run),
         "val_loss": 1.2 / (1 + epoch + run), "avg_f1": epoch / epochs}
        for run in range(runs)
        for epoch in range(epochs)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(**{k: table["run"].map(dict(v)) for k, v in more.items()})


def lr(values):
    return {"params.lr": [(f"r{i:02d}", v) for i, v in enumerate(values)]}


def panels(figure):
    return [ax for ax in figure.axes if ax.get_label() != "hue"]


def labels(figure):
    (legend,) = figure.legends
    return legend.get_title().get_text(), [t.get_text() for t in legend.get_texts()]


def test_each_series_has_a_panel_and_each_run_a_line():
    table = history().sample(frac=1, random_state=0)
    before = table.copy()
    figure = plot.curves(table)
    assert [ax.get_title(loc="left") for ax in panels(figure)] == [
        "train_loss",
        "val_loss",
        "avg_f1",
    ]
    for ax in panels(figure):
        assert len(ax.lines) == 3
        assert all((line.get_xdata() == [0, 1, 2, 3]).all() for line in ax.lines)
        assert ax.get_xlabel() == "epoch"
    pd.testing.assert_frame_equal(table, before)
    title, words = labels(figure)
    assert title == "run"
    assert sorted(words) == ["r00", "r01", "r02"]


def test_few_numbers_get_a_legend_ordered_from_dark_to_light():
    figure = plot.curves(history(**lr([0.01, 0.0001, 0.001])), "val_loss", hue="params.lr")
    assert labels(figure) == ("params.lr", ["0.0001", "0.001", "0.01"])
    by_run = {line.get_label(): line.get_color() for line in panels(figure)[0].lines}
    handles = [line.get_color() for line in figure.legends[0].get_lines()]
    assert [to_hex(by_run[run]) for run in ("r01", "r02", "r00")] == [to_hex(c) for c in handles]


def test_many_numbers_get_a_color_bar_with_log_scale_for_decades():
    figure = plot.curves(history(12, **lr(np.geomspace(1e-4, 1e-1, 12))), hue="params.lr")
    assert not figure.legends
    (bar,) = [ax for ax in figure.axes if ax.get_label() == "hue"]
    assert bar.get_title(loc="left") == "params.lr"
    assert isinstance(bar._colorbar.norm, LogNorm)


def test_categories_get_distinct_colour_blind_safe_colors():
    table = history(3, model=[("r00", "a"), ("r01", "b"), ("r02", "a")])
    figure = plot.curves(table, ["val_loss"], hue="model")
    colors = {line.get_label(): line.get_color() for line in panels(figure)[0].lines}
    assert colors["r00"] == colors["r02"] == "#0072B2"
    assert colors["r01"] == "#D55E00"


def test_thirty_runs_have_distinct_styles_and_fit_the_figure():
    figure = plot.curves(history(30), "val_loss")
    lines = panels(figure)[0].lines
    styles = {(str(line.get_color()), str(line._unscaled_dash_pattern)) for line in lines}
    assert len(styles) == 30
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1 + 1


def test_ids_of_forty_runs_are_inside_the_figure():
    table = history(40)
    table["run"] = "20261123-195510-d8574e" + table["run"].str[1:]
    figure = plot.curves(table)
    figure.canvas.draw()
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1


def test_panel_counts_runs_without_the_series():
    table = history()
    table.loc[table["run"] == "r01", "val_loss"] = np.nan
    ax = panels(plot.curves(table, "val_loss"))[0]
    assert len(ax.lines) == 2
    assert ax.get_title(loc="right") == "1 run without values"


def test_run_with_one_epoch_is_a_dot():
    ax = panels(plot.curves(history(2, 1), "val_loss"))[0]
    assert all(line.get_marker() == "o" for line in ax.lines)


def find_marks(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


def test_smoothed_lines_have_faint_raw_values_behind_them():
    table = history(2, 6)
    table.loc[3, "val_loss"] = 9.0
    before = table.copy()
    ax = panels(plot.curves(table, "val_loss", smooth=3))[0]
    raw, smooth = find_marks(ax, "raw"), find_marks(ax, None)
    assert len(raw) == len(smooth) == 2
    values = table.loc[table["run"] == "r00", "val_loss"]
    np.testing.assert_array_equal(raw[0].get_ydata(), values)
    # Computed by hand: weights (1 - 2 / (span + 1)) ** age, over the epochs so far.
    for i, found in enumerate(smooth[0].get_ydata()):
        assert found == pytest.approx(
            np.average(values[: i + 1], weights=0.5 ** np.arange(i, -1, -1))
        )
    assert raw[0].get_color() == smooth[0].get_color()
    assert raw[0].get_alpha() < 0.5
    assert raw[0].get_zorder() < smooth[0].get_zorder()
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("smooth", [None, 4])
def test_best_epoch_is_marked_on_the_raw_value(smooth):
    table = history(2, 5)
    table.loc[2, "val_loss"] = 0.01
    table.index = [0] * len(table)  # a repeated index, as after pd.concat
    figure = plot.curves(table, smooth=smooth, best={"val_loss": "min", "avg_f1": "max"})
    train, val, f1 = panels(figure)
    assert not find_marks(train, "best")
    first = find_marks(val, "best")[0]
    assert (first.get_xdata()[0], first.get_ydata()[0]) == (2, 0.01)
    assert [dot.get_xdata()[0] for dot in find_marks(f1, "best")] == [4, 4]
    everywhere = panels(plot.curves(table, best="max"))
    assert [len(find_marks(ax, "best")) for ax in everywhere] == [2, 2, 2]


def test_invalid_smooth_or_best_raises():
    for span in (0, -1, float("nan")):
        with pytest.raises(SpecError, match=r"smooth must be a span of at least 1 epoch, got"):
            plot.curves(history(), smooth=span)
    with pytest.raises(SpecError, match=r"best cannot be 'mini'. Did you mean 'min'"):
        plot.curves(history(), best="mini")
    with pytest.raises(TableError, match=r"best names 'val_los'.* Did you mean 'val_loss'"):
        plot.curves(history(), best={"val_los": "min"})


def test_run_column_may_be_the_index():
    assert len(panels(plot.curves(history().set_index("run"), "val_loss"))[0].lines) == 3


def test_missing_columns_raise_errors_with_suggestions():
    with pytest.raises(
        TableError, match=r"history has no column 'val_los'. Did you mean 'val_loss'"
    ):
        plot.curves(history(), "val_los")
    with pytest.raises(TableError, match=r"no column 'params.lr'"):
        plot.curves(history(), hue="params.lr")
    with pytest.raises(TableError, match=r"Name the series to draw as y. There are 'epoch', 'run'"):
        plot.curves(history()[["run", "epoch"]])


def test_empty_history_draws_a_note():
    figure = plot.curves(history().head(0))
    assert "the history is empty" in figure.axes[0].texts[0].get_text()
