from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from rvlab import plot
from rvlab.errors import TableError
from rvlab.model.tables import STEPS_TABLE
from rvlab.plot._timeline import STEP_COLORS

START = pd.Timestamp("2026-11-23T15:42:00Z")


def steps(*rows, **columns):
    """Build the table of steps from rows (run, step, begin, end[, split[, state]])."""
    out = []
    for run, step, begin, end, *more in rows:
        split, state = (*more, None, "succeeded")[:2] if more else (None, "succeeded")
        until = START + pd.Timedelta(seconds=end)
        out.append({
            "run": run, "step": step, "split": split,
            "started": START + pd.Timedelta(seconds=begin),
            "ended": pd.NaT if state == "running" else until,
            "state": state, "peak_mb": 100.0 * (end - begin), "cpu_s": 2.0 * (end - begin),
            "beat": until,
        })  # fmt: skip
    table = pd.DataFrame(out).astype({name: STEPS_TABLE.dtypes[name] for name in out[0]})
    return table.assign(**columns)


USUAL = [("a", "configure", 0, 1), ("a", "train", 1, 31), ("a", "eval", 32, 40),
         ("b", "configure", 10, 12), ("b", "train", 12, 70)]  # fmt: skip


def bars(figure):
    """Return label, left, width and top of each bar."""
    return [
        (c.get_label(), *(round(float(v), 6) for v in (box.x0, box.width, box.y0)))
        for c in figure.axes[0].collections
        for box in [c.get_paths()[0].get_extents()]
    ]


def names(figure):
    return [t.get_text() for t in figure.axes[0].get_yticklabels()]


def words(figure):
    return [t.get_text() for t in figure.axes[0].texts]


def test_each_run_is_a_row_of_step_bars_that_starts_at_0():
    table = steps(*USUAL)
    before = table.copy()
    figure = plot.timeline(table)
    found = bars(figure)
    assert [bar[:3] for bar in found] == [
        ("configure", 0, 1), ("train", 1, 30), ("eval", 32, 8), ("configure", 0, 2),
        ("train", 2, 58),
    ]  # fmt: skip
    assert len({bar[3] for bar in found[:3]}) == 1
    assert found[3][3] > found[0][3]
    assert names(figure) == ["a", "b"]
    assert figure.axes[0].get_xlabel() == "s since each run began"
    pd.testing.assert_frame_equal(table, before)


def test_together_draws_runs_on_one_time_axis():
    figure = plot.timeline(steps(*USUAL), together=True)
    assert bars(figure)[3][1] == 10
    assert figure.axes[0].get_xlabel() == "s since the first run began"


def test_concurrent_splits_are_in_separate_lanes():
    rows = [("a", "chip", 0, 10), *(("a", "predict", 10 + i / 10, 20, i) for i in range(3)),
            ("a", "eval", 20, 30)]  # fmt: skip
    tops = [bar[3] for bar in bars(plot.timeline(steps(*rows)))]
    assert len(set(tops[1:4])) == 3
    assert tops[0] == tops[1] == tops[4]


def test_long_runs_use_minutes_and_hours():
    assert plot.timeline(steps(("a", "train", 0, 600))).axes[0].get_xlabel().startswith("min ")
    assert plot.timeline(steps(("a", "train", 0, 9000))).axes[0].get_xlabel().startswith("h ")


def test_step_colors_are_the_same_in_every_figure():
    for rows in (USUAL, USUAL[1:2]):
        figure = plot.timeline(steps(*rows))
        for bar in figure.axes[0].collections:
            assert to_hex(bar.get_facecolor()[0]) == STEP_COLORS[bar.get_label()].lower()
    legend = plot.timeline(steps(*USUAL)).axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["configure", "train", "eval"]
    assert len(set(STEP_COLORS.values())) == len(STEP_COLORS) == 8


def test_time_memory_and_cpu_are_beside_the_bars():
    assert words(plot.timeline(steps(*USUAL)))[:3] == ["40 s", "2.9 GiB", "1 min 18 s"]
    nothing = steps(*USUAL[:2], peak_mb=float("nan"), cpu_s=float("nan"))
    assert words(plot.timeline(nothing))[:3] == ["31 s", "–", "–"]


def test_failed_steps_are_hatched_and_labelled():
    figure = plot.timeline(steps(USUAL[0], ("a", "train", 1, 20, None, "failed")))
    assert figure.axes[0].collections[1].get_hatch()
    assert "train failed" in words(figure)
    assert not figure.axes[0].collections[0].get_hatch()


def test_label_of_a_late_failure_does_not_overlap_bars_or_columns():
    rows = [("a", "chip", 0, 30), ("a", "train", 30, 400), ("a", "predict", 400, 402, 0, "failed")]
    figure = plot.timeline(steps(*rows, ("a", "predict", 400, 403, 1, "cancelled")))
    figure.canvas.draw()
    extents = {t.get_text(): t.get_window_extent() for t in figure.axes[0].texts}
    to_px = figure.axes[0].transData
    drawn = [to_px.transform_path(c.get_paths()[0]) for c in figure.axes[0].collections]
    for words in ("predict failed", "predict cancelled"):
        assert extents[words].x0 > max(bar.get_extents().x1 for bar in drawn)
        assert extents[words].x1 < min(extents["time"].x0, extents["6 min 43 s"].x0)


def test_running_steps_are_pale_and_end_at_the_last_heartbeat():
    table = steps(USUAL[0], ("a", "train", 1, 21, None, "running"))
    figure = plot.timeline(table)
    assert bars(figure)[1][:3] == ("train", 1, 20)
    assert figure.axes[0].collections[1].get_alpha() < 0.6
    assert figure.axes[0].get_legend().get_texts()[-1].get_text() == "still running"
    assert bars(plot.timeline(table.drop(columns="beat")))[1][2] < 0.1


def test_run_names_are_joined_parameters_or_a_label():
    table = steps(*USUAL)
    lr = table["run"].map({"a": 0.1, "b": 0.01})
    assert names(plot.timeline(table.assign(**{"params.lr": lr}))) == ["lr = 0.1", "lr = 0.01"]
    assert names(plot.timeline(table.assign(who=lr.astype(str)), label="who")) == ["0.1", "0.01"]


def test_all_text_is_inside_the_figure():
    rows = [(f"20261123-{i:06d}", "train", 0, 5 + i) for i in range(30)]
    figure = plot.timeline(steps(*rows, ("20261123-000000", "eval", 30, 34, None, "failed")))
    figure.canvas.draw()
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.x1 <= figure.get_figwidth()
    assert box.y1 <= figure.get_figheight()


def test_missing_columns_raise_errors_with_suggestions():
    with pytest.raises(TableError, match=r"table of steps has no column 'started'"):
        plot.timeline(steps(*USUAL).drop(columns="started"))


def test_empty_table_draws_a_note():
    figure = plot.timeline(steps(*USUAL).head(0))
    assert "the table is empty" in figure.axes[0].texts[0].get_text()
