from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from rvlab import plot
from rvlab.errors import TableError
from rvlab.plot._parallel import MAX_LINES
from rvlab.plot.parallel_axis import MISSING_AT


def runs(**columns):
    base = {
        "params.lr": [1e-4, 1e-3, 1e-2],
        "params.model": ["unet", "fpn", "unet"],
        "params.width": [8, 8, 8],
        "metrics.f1": [0.9, 0.5, 0.7],
    } | columns
    return pd.DataFrame(base, index=pd.Index(["a", "b", "c"], name="run"))


def lines(figure):
    """Return the position of each run on each axis, lowest metric first."""
    ax = figure.axes[0]
    return [line for line in ax.lines if len(line.get_xdata()) > 1]


def ticks(figure, name):
    return {t.get_text(): t.xy[1] for t in figure.axes[0].texts if t.get_gid() == name}


def titles(figure):
    return [t.get_text() for t in figure.axes[0].texts if t.get_gid() is None]


def test_each_run_has_a_line_over_differing_parameters_and_metric():
    table = runs()
    before = table.copy()
    figure = plot.parallel(table)
    assert titles(figure) == ["params.lr\n(log)", "params.model", "metrics.f1"]
    found = np.array([line.get_ydata() for line in lines(figure)])
    np.testing.assert_allclose(found[:, 0], [0.5, 1, 0])  # log axis: 1e-3 is in the middle
    np.testing.assert_allclose(found[:, 2], [0, 0.5, 1])
    assert ticks(figure, "params.lr") == {"0.0001": 0, "0.001": 0.5, "0.01": 1}
    assert ticks(figure, "params.model") == {"fpn": 0.25, "unet": 0.75}
    pd.testing.assert_frame_equal(table, before)


def test_lines_are_colored_by_metric_with_the_highest_drawn_last():
    figure = plot.parallel(runs())
    light = [to_rgb(line.get_color())[1] for line in lines(figure)]
    assert light == sorted(light)
    assert [line.get_ydata()[-1] for line in lines(figure)] == pytest.approx([0, 0.5, 1])
    assert [ax.get_label() for ax in figure.axes[0].child_axes] == ["hue"]


def test_lines_of_the_same_value_are_offset_around_it():
    table = runs(**{"params.width": [8, 8, 4]})
    found = np.array(
        [line.get_ydata()[0] for line in lines(plot.parallel(table, ["params.width"]))]
    )
    assert len(set(found)) == 3
    assert sorted(np.round(found, 1)) == [0, 1, 1]
    assert np.mean(found[[0, 2]]) == pytest.approx(1)


def test_missing_value_is_below_the_axis_and_missing_metric_is_grey():
    table = runs(**{"params.lr": [1e-4, np.nan, 1e-2], "metrics.f1": [0.9, 0.5, np.nan]})
    figure = plot.parallel(table)
    assert ticks(figure, "params.lr")["none"] == MISSING_AT
    first, second, _ = lines(figure)
    assert first.get_color() == "#bdbdbd"
    assert first.get_ydata()[-1] == MISSING_AT
    assert second.get_ydata()[0] == MISSING_AT
    nothing = runs(**{"metrics.f1": [np.nan] * 3, "params.model": pd.array([pd.NA] * 3, "string")})
    assert len(lines(plot.parallel(nothing, ["params.lr", "params.model"]))) == 3


def test_extension_dtypes_durations_and_booleans_get_axes():
    table = runs(
        **{
            "params.width": pd.array([8, None, 16], "Int64"),
            "params.pretrained": pd.array([True, None, False], "boolean"),
            "duration": pd.to_timedelta([60, 120, 180], unit="s"),
        }
    )
    figure = plot.parallel(table, ["params.width", "params.pretrained", "duration"])
    assert set(ticks(figure, "params.width")) == {"8", "16", "none"}
    assert set(ticks(figure, "params.pretrained")) == {"False", "True", "none"}
    assert ticks(figure, "duration") == {"60": 0, "120": 0.5, "180": 1}


def test_many_values_get_round_ticks_and_hue_may_be_a_category():
    n = 40
    table = pd.DataFrame(
        {"params.decay": np.geomspace(1e-6, 1e-2, n), "params.x": np.linspace(0.03, 0.97, n),
         "model": ["a", "b"] * (n // 2)}
    )  # fmt: skip
    figure = plot.parallel(table, hue="model")
    assert {"1e-05", "0.0001", "0.001"} <= set(ticks(figure, "params.decay"))
    assert {"0.2", "0.4", "0.6", "0.8"} <= set(ticks(figure, "params.x"))
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["a", "b"]
    assert not figure.axes[0].child_axes


def test_values_that_differ_only_by_rounding_get_ticks():
    values = [0.3, np.nextafter(0.3, 1), np.nextafter(0.3, 0)]
    figure = plot.parallel(runs(**{"metrics.f1": values}))
    assert set(ticks(figure, "metrics.f1")) == {"0.3"}


def test_all_text_is_inside_the_figure():
    n = 30
    table = pd.DataFrame({f"params.a_rather_long_name_{i}": np.arange(n) * 1e3 for i in range(8)})
    figure = plot.parallel(table.assign(**{"metrics.f1": np.linspace(0.12345, 0.2, n)}))
    figure.canvas.draw()
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.x1 <= figure.get_figwidth()
    assert box.y1 <= figure.get_figheight()


def test_long_category_labels_do_not_reach_the_previous_axis():
    kinds = ["resnet50-pretrained-on-imagenet", "resnet50-pretrained-elsewhere", "unet"]
    table = runs().assign(**{"params.model": [kinds[i % 3] for i in range(len(runs()))]})
    figure = plot.parallel(table, ["params.lr", "params.model", "params.width"])
    figure.canvas.draw()
    ax = figure.axes[0]
    left = ax.transData.transform((0, 0))[0]
    found = [t for t in ax.texts if t.get_gid() == "params.model"]
    assert all(t.get_window_extent().x0 > left for t in found)
    words = [t.get_text() for t in found]
    assert len(set(words)) == 3
    assert "unet" in words
    assert all(len(w) > 12 for w in words if w != "unet")


def test_missing_columns_raise_errors_with_suggestions():
    with pytest.raises(TableError, match=r"'metrics.f2'. Did you mean 'metrics.f1'"):
        plot.parallel(runs(), hue="metrics.f2")
    with pytest.raises(TableError, match=r"'params.lrr'. Did you mean 'params.lr'"):
        plot.parallel(runs(), ["params.lrr"])


def test_runs_with_the_same_parameters_draw_a_note():
    alike = plot.parallel(runs().head(1))
    assert "All runs have the same parameters" in alike.axes[0].texts[0].get_text()


def many_runs(n=1200):
    rng = np.random.default_rng(0)
    index = pd.Index([f"r{i}" for i in range(n)], name="run")
    f1 = rng.random(n)
    f1[[7, 9]] = -0.5, 1.5
    return pd.DataFrame(
        {"params.lr": 10 ** rng.uniform(-4, -1, n), "params.model": rng.choice(["a", "b"], n),
         "metrics.f1": f1}, index=index
    )  # fmt: skip


def test_many_runs_are_sampled_with_the_best_and_the_worst_and_a_note():
    table = many_runs()
    figure = plot.parallel(table)
    shown = [line.get_ydata()[-1] for line in lines(figure)]
    assert len(shown) == MAX_LINES
    assert (min(shown), max(shown)) == (0, 1)
    figure.canvas.draw()
    note = figure.axes[0].texts[-1]
    assert note.get_text().startswith("500 of 1,200 runs, evenly spaced by metrics.f1")
    assert 0 <= note.get_window_extent().y0 < figure.axes[0].get_window_extent().y0
    few = plot.parallel(table.head(MAX_LINES)).axes[0]
    assert not any("evenly spaced" in t.get_text() for t in few.texts)


def test_each_category_has_its_share_of_the_sample():
    table = many_runs().assign(kind=["rare"] * 12 + ["common"] * 1188)
    figure = plot.parallel(table, ["params.lr", "metrics.f1"], hue="kind")
    colors = [to_rgb(line.get_color()) for line in lines(figure)]
    assert len(colors) == MAX_LINES
    assert min(colors.count(color) for color in set(colors)) == 5
