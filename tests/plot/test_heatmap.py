from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from rvlab import plot
from rvlab.errors import SpecError, TableError
from rvlab.plot._style import heat_cells


def evals(values, rows="scene", metric="f1", over=None, **joined):
    """Build the long table of values (rows × runs); `over` is the overall value per run."""
    other = "class" if rows == "scene" else "scene"
    out = []
    for j in range(np.shape(values)[1]):
        cells: list[tuple[object, object]] = [(f"x{i}", line[j]) for i, line in enumerate(values)]
        cells += [(pd.NA, over[j])] if over else []
        out += [
            {"run": f"20261123-r{j}", "group": "validation", rows: name, other: pd.NA,
             "metric": metric if name is not pd.NA else {"iou": "mean_iou"}.get(metric, metric),
             "value": value, **{k: v[j] for k, v in joined.items()}}
            for name, value in cells
        ]  # fmt: skip
    return pd.DataFrame(out)


def axes(figure, name="cells"):
    return next((ax for ax in figure.axes if ax.get_label() == name), None)


def cells(figure, name="cells"):
    return axes(figure, name).collections[0].get_array()


def words(figure, name="cells"):
    return [t.get_text() for t in axes(figure, name).texts]


def names(figure, which="y"):
    return [t.get_text() for t in getattr(axes(figure), f"get_{which}ticklabels")()]


def notes(figure):
    return [t.get_text() for t in figure.texts]


def test_rows_and_columns_are_sorted_by_mean_highest_first():
    table = evals([[0.1, 0.3], [0.5, 0.9]])
    before = table.copy()
    figure = plot.heatmap(table)
    np.testing.assert_array_equal(cells(figure), [[0.9, 0.5], [0.3, 0.1]])
    assert words(figure) == ["0.90", "0.50", "0.30", "0.10"]
    assert names(figure) == ["x1", "x0"]
    assert names(figure, "x") == ["…r1", "…r0"]
    assert axes(figure).yaxis_inverted()
    assert notes(figure) == ["f1 in validation"]
    pd.testing.assert_frame_equal(table, before)


def test_missing_value_is_hatched_and_not_zero():
    table = evals([[0.5, np.nan], [0.0, 0.4]]).iloc[:-1]  # one value is NaN, one has no row
    figure = plot.heatmap(table)
    assert np.ma.getmaskarray(cells(figure)).sum() == 2
    assert words(figure) == ["0.50", "0"]
    assert axes(figure).patch.get_hatch()
    assert "grey, hatched: no value" in notes(figure)[1]


def test_overall_value_is_a_separate_row_with_the_value_of_the_table():
    figure = plot.heatmap(evals([[0.2, 0.4], [0.6, 0.8]], over=[0.7, 0.3]))
    np.testing.assert_array_equal(cells(figure, "all"), [[0.3, 0.7]])
    assert axes(figure, "all").get_yticklabels()[0].get_text() == "all scenes"
    assert axes(plot.heatmap(evals([[0.2]])), "all") is None
    same = cells(figure).min(), cells(figure, "all").min()
    limits = {axes(figure, n).collections[0].get_clim() for n in ("cells", "all")}
    assert limits == {(0.2, 0.8)}, same


@pytest.mark.parametrize("metric", ["iou", "mean_iou"])
def test_iou_over_all_classes_is_mean_iou(metric):
    per_class = evals([[0.2, 0.4]], rows="class", metric="iou", over=[0.3, 0.5])
    figure = plot.heatmap(per_class, rows="class", metric=metric)
    np.testing.assert_array_equal(cells(figure), [[0.4, 0.2]])
    np.testing.assert_array_equal(cells(figure, "all"), [[0.5, 0.3]])
    assert axes(figure, "all").get_yticklabels()[0].get_text() == "all classes"
    per_scene = evals([[0.2, 0.4]], metric="mean_iou")
    assert notes(plot.heatmap(per_scene, metric=metric)) == ["mean_iou in validation"]


def test_of_argument_selects_one_class():
    table = evals([[0.2, 0.4]], metric="iou", over=[0.3, 0.6]).assign(**{"class": "road"})
    table["metric"] = "iou"
    figure = plot.heatmap(table, of="road", metric="iou")
    np.testing.assert_array_equal(cells(figure), [[0.4, 0.2]])
    np.testing.assert_array_equal(cells(figure, "all"), [[0.6, 0.3]])
    assert notes(figure) == ["iou of road in validation"]


def test_run_names_are_joined_parameters_or_a_label():
    table = evals([[0.4, 0.2]], **{"params.lr": [0.1, 0.01], "name": ["a", "b"]})
    assert names(plot.heatmap(table), "x") == ["lr = 0.1", "lr = 0.01"]
    assert names(plot.heatmap(table, label="name"), "x") == ["a", "b"]


def test_runs_that_differ_only_in_seed_are_named_by_a_joined_seed():
    three = [[0.4, 0.3, 0.2]]
    alike = evals(three, **{"params.lr": [0.1, 0.1, 0.1], "seed": [0, 1, 2]})
    assert names(plot.heatmap(alike), "x") == ["seed = 0", "seed = 1", "seed = 2"]
    some = evals(three, **{"params.lr": [0.1, 0.1, 0.01], "seed": [0, 1, 0]})
    assert names(plot.heatmap(some), "x") == [
        "lr = 0.1\nseed = 0", "lr = 0.1\nseed = 1", "lr = 0.01\nseed = 0",
    ]  # fmt: skip
    apart = evals(three, **{"params.lr": [0.1, 0.2, 0.3], "seed": [0, 1, 0]})
    assert names(plot.heatmap(apart), "x") == ["lr = 0.1", "lr = 0.2", "lr = 0.3"]
    twice = evals(three, **{"params.lr": [0.1, 0.1, 0.01], "seed": [0, 0, 1]})
    assert "lr = 0.1\nseed = 0\n…r1" in names(plot.heatmap(twice), "x")


def test_hundreds_of_cells_get_a_color_bar_and_labels_without_overlap():
    figure = plot.heatmap(evals(np.random.default_rng(0).uniform(size=(150, 60))))
    assert not words(figure)
    assert axes(figure, "bar") is not None
    figure.canvas.draw()
    for which in "xy":
        shown = [t.get_window_extent() for t in getattr(axes(figure), f"get_{which}ticklabels")()
                 if t.get_text()]  # fmt: skip
        assert len(shown) > 10
        assert not any(a.overlaps(b) for a, b in pairwise(shown))


def test_runs_without_the_group_are_counted():
    table = evals([[0.4, 0.2]])
    table.loc[1, "group"] = "test"
    assert notes(plot.heatmap(table))[1] == "1 run without values"


def test_numbers_have_contrast_on_every_color_and_lightness_steps_are_equal():
    def luminance(rgb):
        rgb = np.asarray(rgb)
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [
            0.2126, 0.7152, 0.0722]  # fmt: skip

    from matplotlib.colors import to_rgb

    for scale in (heat_cells.sequential_colormap(), heat_cells.diverging_colormap()):
        for color in scale(np.linspace(0, 1, 64))[:, :3]:
            pair = sorted(
                [luminance(color), luminance(to_rgb(heat_cells.contrasting_text_color(color)))]
            )
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5
    light = (
        116 * np.cbrt(luminance(heat_cells.sequential_colormap()(np.linspace(0, 1, 33))[:, :3]))
        - 16
    )
    steps = -np.diff(light)
    assert steps.min() > 0
    assert steps.max() / steps.min() < 1.35
    ends = luminance(heat_cells.diverging_colormap()([0, 255])[:, :3])
    assert ends[0] == pytest.approx(ends[1], rel=0.25)


@pytest.mark.parametrize(
    ("value", "word"),
    [(0, "0"), (0.004, "0.00"), (1, "1.00"), (7, "7"), (2.5, "2.5"), (47176, "47k"),
     (5000, "5.0k"), (999999, "1.0M"), (-0.25, "−0.25"), (np.nan, "")],
)  # fmt: skip
def test_cell_values_are_formatted(value, word):
    assert heat_cells.format_cell_value(value) == word


def test_invalid_arguments_raise_errors_with_suggestions():
    table = evals([[0.4, 0.2]])
    with pytest.raises(TableError, match=r"has the metric 'f2'. There are 'f1'"):
        plot.heatmap(table, metric="f2")
    with pytest.raises(TableError, match=r"the group 'valid'. Did you mean 'validation'"):
        plot.heatmap(table, group="valid")
    with pytest.raises(TableError, match=r"has no class 'road'. There are none"):
        plot.heatmap(table, of="road")
    with pytest.raises(SpecError, match=r"rows cannot be 'scenes'. Did you mean 'scene'"):
        plot.heatmap(table, rows="scenes")
    with pytest.raises(TableError, match=r"table of evaluations has no column 'value'"):
        plot.heatmap(table.drop(columns="value"))
    with pytest.raises(TableError, match="two values for one cell"):
        plot.heatmap(pd.concat([table, table]))


def test_empty_table_draws_a_note():
    figure = plot.heatmap(evals([[0.4]]).head(0))
    assert "the table is empty" in figure.axes[0].texts[0].get_text()
    nothing = plot.heatmap(evals([[np.nan, np.nan]]))
    assert not words(nothing)
