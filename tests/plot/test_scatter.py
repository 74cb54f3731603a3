from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from rvlab import plot
from rvlab.errors import SpecError, TableError


def runs(**columns):
    base = {"params.lr": [1e-4, 1e-3, 1e-2], "metrics.f1": [0.5, 0.9, 0.8]} | columns
    return pd.DataFrame(base, index=pd.Index(["a", "b", "c"], name="run"))


def scatter(*args, **options):
    """Return the axes of the plot."""
    made = plot.scatter(*args, **options)
    return made.axes[0] if isinstance(made, Figure) else made


def dots(ax):
    return ax.collections[0].get_offsets().tolist()


def notes(ax):
    return [t.get_text() for t in ax.texts]


def test_each_run_is_a_dot_on_a_log_axis_if_values_span_decades():
    ax = scatter(runs())
    assert dots(ax) == [[1e-4, 0.5], [1e-3, 0.9], [1e-2, 0.8]]
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("params.lr", "metrics.f1")
    assert scatter(runs(), log_x=False).get_xscale() == "linear"
    assert scatter(runs(**{"params.lr": [1, 2, 50]})).get_xscale() == "linear"
    assert scatter(runs(**{"params.lr": [-1, 2, 500]})).get_xscale() == "linear"


def test_note_counts_runs_without_a_value():
    ax = scatter(runs(**{"metrics.f1": [0.5, np.nan, np.nan]}))
    assert notes(ax) == ["2 runs without metrics.f1 are not shown."]
    assert len(dots(ax)) == 1
    both = scatter(runs(**{"metrics.f1": [np.nan, 1, 1], "params.lr": [1, np.nan, 2]}))
    assert notes(both) == ["1 run without params.lr is and 1 run without metrics.f1 is not shown."]
    none = scatter(runs(**{"metrics.f1": [np.nan] * 3}))
    assert notes(none) == ["3 runs without metrics.f1 are not shown."]


def test_categories_durations_and_times_are_supported_on_x():
    ax = scatter(runs(model=["unet", "fpn", "unet"]), x="model")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["fpn", "unet"]
    assert dots(ax) == [[1, 0.5], [0, 0.9], [1, 0.8]]
    mixed = scatter(runs(pretrained=[True, "imagenet", False]), x="pretrained")
    assert [t.get_text() for t in mixed.get_xticklabels()] == ["False", "True", "imagenet"]
    ax = scatter(runs(duration=pd.to_timedelta([60, 300, 600], unit="s")), x="duration")
    assert ax.get_xlabel() == "duration [min]"
    assert dots(ax)[1] == [5, 0.9]
    when = pd.date_range("2026-11-23", periods=3, tz="UTC")
    assert scatter(runs(created=when), x="created").get_xlabel() == "created (UTC)"


def test_long_category_names_do_not_shrink_the_plot():
    kinds = ["resnet50-pretrained-elsewhere", "resnet101-pretrained-too", "efficientnet"]
    ax, plain = (scatter(runs(model=k), x="model") for k in (kinds, ["a", "b", "c"]))
    for each in (ax, plain):
        each.figure.canvas.draw()
    tall, usual = (a.get_window_extent().height for a in (ax, plain))
    assert tall > 0.85 * usual
    assert ax.figure.get_tightbbox().x0 >= 0


def test_legend_title_is_the_hue_column():
    ax = scatter(runs(model=["b", "a", "b"]), hue="model")
    legend = ax.get_legend()
    assert legend.get_title().get_text() == "model"
    assert [t.get_text() for t in legend.get_texts()] == ["b", "a"]
    colors = ax.collections[0].get_facecolors()[:, :3].tolist()
    assert colors[0] == colors[2] != colors[1]


def test_many_hue_numbers_get_a_color_bar():
    table = pd.DataFrame({"params.lr": range(1, 13), "metrics.f1": 0.5, "width": range(12)})
    ax = scatter(table, hue="width")
    assert ax.get_legend() is None
    assert ax.collections[0].get_facecolors().shape == (12, 4)
    assert "width" in [other.get_ylabel() for other in ax.get_figure().axes]


def test_scatter_draws_on_the_given_axes():
    given = Figure().subplots()
    assert scatter(runs(), ax=given) is given


def test_missing_columns_raise_errors_with_suggestions():
    with pytest.raises(TableError, match=r"'metrics.f2'. Did you mean 'metrics.f1'"):
        scatter(runs(), y="metrics.f2")
    with pytest.raises(TableError, match=r"has no column 'who'"):
        scatter(runs(), hue="who")


def test_table_is_not_changed():
    table = runs()
    before = table.copy()
    scatter(table, hue="params.lr")
    pd.testing.assert_frame_equal(table, before)


def grid(seeds=3, lrs=(1e-4, 1e-3, 1e-2), **more):
    """Return a full grid of lr and seed; f1 is 0.5, 0.7, 0.9 … ± 0.01 by seed."""
    rows = [
        {"params.lr": lr, "seed": seed, "metrics.f1": 0.5 + 0.2 * i + 0.01 * (seed - 1)}
        for i, lr in enumerate(lrs)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows).assign(**more)


def lines(ax):
    return [line for line in ax.lines if line.get_gid() == "trend"]


def test_trend_is_mean_per_value_and_band_is_one_standard_deviation():
    ax = scatter(grid())
    (line,) = lines(ax)
    assert ax.get_xscale() == "log"
    assert line.get_xdata().tolist() == [1e-4, 1e-3, 1e-2]
    assert line.get_ydata() == pytest.approx([0.5, 0.7, 0.9])
    (band,) = [c for c in ax.collections if c.get_gid() == "spread"]
    heights = band.get_paths()[0].vertices[:, 1]
    assert [heights.min(), heights.max()] == pytest.approx([0.49, 0.91])
    assert notes(ax) == ["Line: mean of 3 runs at each value; band: ± 1 sd."]
    assert not lines(scatter(grid(), trend=False))
    assert notes(scatter(grid(), trend=False)) == []


def test_many_values_are_binned_with_equal_numbers_of_runs():
    n = 100
    table = pd.DataFrame({"params.lr": np.geomspace(1e-5, 1e-1, n), "metrics.f1": np.arange(n) / n})
    ax = scatter(table.sample(frac=1, random_state=0))
    (line,) = lines(ax)
    assert len(line.get_xdata()) == 8
    first = table.head(13)
    assert line.get_xdata()[0] == pytest.approx(first["params.lr"].median())
    assert line.get_ydata()[0] == pytest.approx(first["metrics.f1"].mean())
    assert notes(ax) == ["Line: mean in 8 bins of 12 to 13 runs; band: ± 1 sd."]


def test_each_category_has_a_mean_without_connecting_lines():
    table = grid(model=["fpn", "unet", "fpn"] * 3)
    ax = scatter(table, x="model")
    assert not lines(ax)
    (bars,) = [c for c in ax.collections if c.get_gid() == "trend"]
    heights = [segment[0][1] for segment in bars.get_segments()]
    by_model = table.groupby("model")["metrics.f1"]
    assert heights == pytest.approx(by_model.mean().tolist())
    assert [box.get_height() for box in ax.patches] == pytest.approx((2 * by_model.std()).tolist())
    assert notes(ax) == ["Bar: mean of 3 to 6 runs each; box: ± 1 sd."]


def test_each_of_few_colors_has_a_trend_and_an_offset_in_categories():
    table = pd.concat([grid(width=8), grid(width=16)])
    ax = scatter(table, hue="width")
    colors = [line.get_color() for line in ax.get_legend().get_lines()]
    assert [line.get_color() for line in lines(ax)] == colors
    assert notes(ax) == ["Lines: mean of 3 runs at each value; bands: ± 1 sd."]
    table["model"] = ["a", "b", "a"] * 6
    ax = scatter(table, x="model", hue="width")
    assert sorted({round(x, 2) for x, _ in dots(ax)}) == [-0.15, 0.15, 0.85, 1.15]
    assert len([c for c in ax.collections if c.get_gid() == "trend"]) == 2


def test_many_colors_or_few_runs_per_color_have_one_common_trend():
    table = pd.concat([grid(width=w) for w in range(7)])
    assert len(lines(scatter(table, hue="width"))) == 1
    ax = scatter(grid(), hue="seed")
    (line,) = lines(ax)
    assert line.get_color() not in [dot.get_color() for dot in ax.get_legend().get_lines()]
    bar = scatter(grid(20).assign(who=np.arange(60)), hue="who")
    assert len(lines(bar)) == 1


def test_trend_is_drawn_by_default_if_there_are_enough_runs():
    few = grid(1)
    assert not lines(scatter(few))
    assert notes(scatter(few, trend=True)) == ["No trend: too few runs per value of x."]
    assert not lines(scatter(grid(2, (1e-4, 1e-3))))
    assert lines(scatter(grid(2, (1e-4, 1e-3)), trend=True))
    same = scatter(grid(9, (1e-3,)), "params.lr")
    assert not lines(same)
    for wrong in ("mean", 1, "yes"):
        with pytest.raises(SpecError, match=r"trend must be True, False or None, got"):
            scatter(grid(), trend=wrong)


def test_times_and_durations_have_a_trend_with_a_repeated_index():
    table = grid(5)
    table.index = pd.Index(["a"] * len(table), name="run")
    when = pd.date_range("2026-11-23", periods=15, freq="min", tz="UTC")
    for values in (when, pd.to_timedelta(np.arange(15) * 60, unit="s")):
        ax = scatter(table.assign(created=values), x="created")
        assert len(lines(ax)[0].get_ydata()) == 3
    table["model"] = ["a", "b", "b"] * 5
    table["kind"] = pd.array(["x", "y", pd.NA] * 5, "string")
    assert len(dots(scatter(table, x="model", hue="kind"))) == 15


def test_notes_are_below_the_axis_label_and_inside_the_figure():
    table = grid(model=["a_model_with_a_long_name", "unet", "another_of_a_very_long_name"] * 3)
    table.loc[0, "metrics.f1"] = np.nan
    ax = scatter(table, x="model")
    ax.figure.canvas.draw()
    (note,) = ax.texts
    assert note.get_text().splitlines() == [
        "Bar: mean of 2 to 3 runs each; box: ± 1 sd.",
        "1 run without metrics.f1 is not shown.",
    ]
    box = note.get_window_extent()
    assert box.y0 >= 0
    assert box.y1 <= ax.xaxis.label.get_window_extent().y0


def test_many_runs_have_small_translucent_dots_in_random_order():
    n = 4000
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"params.lr": 10 ** rng.uniform(-4, -1, n), "params.model": np.repeat(["a", "b"], n // 2),
         "metrics.f1": rng.random(n)}
    )  # fmt: skip
    (dots,) = [
        c for c in scatter(table, hue="params.model").collections if len(c.get_offsets()) == n
    ]
    assert dots.get_alpha() < 0.5
    assert dots.get_sizes().max() < 10
    first = (dots.get_facecolor()[: n // 2] == dots.get_facecolor()[0]).all(axis=1)
    assert 0.4 < first.mean() < 0.6
    ax = scatter(table, "params.model")
    assert ax.get_xlabel() == "params.model"
    (dots,) = [c for c in ax.collections if len(c.get_offsets()) == n]
    across = np.asarray(dots.get_offsets())[:, 0]
    assert len(set(across)) > n // 2
    assert set(np.round(across)) == {0, 1}


def test_y_is_a_number_or_a_duration_and_hue_may_be_short():
    table = runs(
        duration=pd.to_timedelta([60, 300, 600], unit="s"), state=["succeeded"] * 3, name=[*"abc"]
    )
    ax = scatter(table, "params.lr", "duration", hue="f1")
    assert ax.get_ylabel() == "duration [min]"
    assert [y for _, y in dots(ax)] == [1, 5, 10]
    with pytest.raises(TableError, match=r"^'state' is not numeric\. Name a numeric column"):
        plot.scatter(table, y="state")
