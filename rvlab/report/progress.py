"""HTML of the progress of runs: steps, epochs, curves, the log's end and a leaderboard."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rvlab.display.printable import format_duration
from rvlab.frame.progress import RunProgress, StepProgress
from rvlab.model import Run
from rvlab.model.run import STATES
from rvlab.report.render import render_html
from rvlab.report.run_summary import MISSING_TEXT, format_metric

TEMPLATE = "progress.html.j2"

LOSSES = ("train_loss", "val_loss")
SCORES = ("avg_f1", "mAP", "building_f1", "f1", "val_acc")
COLORS = ("#1f6fb5", "#d1711c")
"""Blue and orange, which colour-blind readers can distinguish, on light and dark backgrounds."""

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 320, 96, 44, 4, 80

MAX_LEADERBOARD_ROWS = 20
"""Rows of the leaderboard."""


@dataclass(frozen=True)
class RunLabel:
    """How a run is named in the display.

    Args:
        title: The parameters in which it differs from the others, or its name.
        params: Those parameters with their values as text, by name.
        link: Its page in its engine; None without one.
    """

    title: str
    params: Mapping[str, str] = field(default_factory=dict)
    link: str | None = None


def render_head(
    runs: Sequence[RunProgress], title: str, *, live: bool, note: str = "", message: str = ""
) -> str:
    """Render the line above the runs: how many are in each state.

    Args:
        runs: The runs.
        title: The experiment.
        live: Whether there are buttons.
        note: A remark at its right.
        message: A line below, such as the reason why a run could not be cancelled.
    """
    counts = Counter(one.state for one in runs)
    words = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    can_cancel = len(runs) > 1 and not all(one.has_ended for one in runs)
    view: dict[str, Any] = {"title": title, "counts": words, "note": note}
    view |= {"message": message, "can_cancel": can_cancel}
    return render_html(TEMPLATE, part="head", view=view, live=live)


def render_card(progress: RunProgress, label: RunLabel, *, live: bool, shows_log: bool) -> str:
    """Render one run.

    Args:
        progress: Its progress.
        label: Its name.
        live: Whether there are buttons.
        shows_log: Whether the end of the log is shown.
    """
    share, epochs = None, ""
    if progress.epochs and progress.history and not progress.has_ended:
        share = round(100 * min(1.0, progress.epochs_done / progress.epochs), 1)
        epochs = f"epoch {progress.epochs_done} of {progress.epochs}"
    show_log = shows_log or progress.state == "failed"
    run = {
        "key": progress.run.prefix,
        "state": progress.state,
        "title": label.title,
        "about": progress.run.id if label.title != progress.run.id else "",
        "time": _time_text(progress),
        "link": label.link,
        "has_ended": progress.has_ended,
        "shows_log": shows_log,
        "steps": [_step(one) for one in progress.steps],
        "share": share,
        "epochs": epochs,
        "error": progress.error,
        "metrics": [
            (name, format_metric(value))
            for name, value in progress.metrics.items()
            if value is not None and "." not in name
        ],
        "charts": charts(progress.history, progress.epochs),
        "log": "\n".join(progress.log.splitlines()[-12:]) if show_log else "",
    }
    return render_html(TEMPLATE, part="card", run=run, live=live)


def render_leaderboard(
    runs: Sequence[RunProgress], labels: Mapping[Run, RunLabel], metric: str, *, ascending: bool
) -> str | None:
    """Render the table of the runs that have the metric, the best first; None without any.

    Args:
        runs: The runs.
        labels: The name of each.
        metric: The headline metric that orders the rows.
        ascending: Whether the smallest value is the best.
    """
    scored = [one for one in runs if one.metrics.get(metric) is not None]
    if not scored:
        return None
    sign = 1 if ascending else -1
    scored.sort(key=lambda one: sign * float(one.metrics[metric] or 0.0))
    params = list(dict.fromkeys(name for one in scored for name in labels[one.run].params))
    overall = [name for name in scored[0].metrics if "." not in name and name != metric]
    metrics = [metric, *overall]
    rows = []
    for one in scored[:MAX_LEADERBOARD_ROWS]:
        about = labels[one.run]
        scores = [one.metrics.get(name) for name in metrics]
        words = [format_metric(math.nan if v is None else v) for v in scores]
        named = [about.params.get(name, "–") for name in params] or [about.title]
        rows.append([*named, *words, _duration(one.elapsed_s)])
    more = len(scored) - MAX_LEADERBOARD_ROWS
    table = {
        "columns": [*(params or ["run"]), *metrics, "duration"],
        "rows": rows,
        "more": f"and {more} more" if more > 0 else "",
    }
    return render_html(TEMPLATE, part="board", table=table, live=False)


def charts(history: Sequence[Mapping[str, Any]], epochs: int | None) -> list[dict[str, Any]]:
    """Return the coordinates of the curves of loss and score; none before the second epoch.

    Args:
        history: One dict per epoch.
        epochs: The number of epochs of the whole training, for the width of the axis.
    """
    known = [name for name in SCORES if any(row.get(name) is not None for row in history)]
    found = []
    for title, names in (("loss by epoch", LOSSES), ("score by epoch", known[:1])):
        lines = []
        for name in names:
            pairs = [(row["epoch"], row.get(name)) for row in history]
            points = [(float(x), float(y)) for x, y in pairs if y is not None and math.isfinite(y)]
            if len(points) > 1:
                lines.append((name, points))
        if lines:
            found.append(_chart(title, lines, epochs))
    return found


def _chart(
    title: str, lines: Sequence[tuple[str, list[tuple[float, float]]]], epochs: int | None
) -> dict[str, Any]:
    values = [y for _, points in lines for _, y in points]
    low, high = min(values), max(values)
    last = max(float(epochs or 1) - 1, *(points[-1][0] for _, points in lines))
    span = (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - 6) * x / (last or 1.0)
        return round(across, 1), round(BOTTOM - (BOTTOM - TOP) * (y - low) / span, 1)

    drawn = []
    for (name, points), color in zip(lines, COLORS, strict=False):
        spots = [place(x, y) for x, y in points]
        drawn.append(
            {
                "name": name,
                "color": color,
                "last": format_metric(points[-1][1]),
                "points": " ".join(f"{x},{y}" for x, y in spots),
                "end": spots[-1],
            }
        )
    return {
        "title": title,
        "lines": drawn,
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - 6,
        "top": TOP,
        "bottom": BOTTOM,
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "x_label": f"epoch {last:.0f}",
    }


def _step(step: StepProgress) -> dict[str, str]:
    note = f"{step.done}/{step.splits}" if step.splits > 1 and step.state != "waiting" else ""
    elapsed = _duration(step.elapsed_s)
    if step.state == "running":
        note = f"{note} {elapsed}".strip()
    return {
        "name": step.name,
        "state": step.state,
        "note": note,
        "title": f"{step.state}, {elapsed}" if step.elapsed_s is not None else step.state,
    }


def _time_text(progress: RunProgress) -> str:
    if progress.elapsed_s is None:
        return ""
    if progress.has_ended:
        return _duration(progress.elapsed_s)
    text = f"{_duration(progress.elapsed_s)} elapsed"
    if progress.left_s is not None:
        text += f", about {_duration(progress.left_s)} left"
    return text


def _duration(seconds: float | None) -> str:
    return MISSING_TEXT if seconds is None else format_duration(round(seconds))
