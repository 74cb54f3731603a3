"""The result of a test in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvlab.compare.metric_functions import metric_label

if TYPE_CHECKING:
    from rvlab.compare._significance import Test


def describe_test(test: Test, notes: Sequence[str] = ()) -> str:
    """Describe a test in words: verdict, difference, interval, p-value and limits.

    Args:
        test: The test; its own sentence is ignored.
        notes: Sentences to add, about runs and scenes that were left out.
    """
    return " ".join([*_clauses(test), *notes])


def _clauses(test: Test) -> list[str]:
    what, percent = metric_label(test.metric), f"{100 * test.level:g} %"
    scenes = f"{test.scenes} {'scene' if test.scenes == 1 else 'scenes'}"
    if test.difference != test.difference:
        return [f"The {what} is undefined for {test.a} or {test.b}: the class is in no scene."]
    head = {
        "better": f"{test.a} is better than {test.b}",
        "worse": f"{test.a} is worse than {test.b}",
        "cannot tell": f"The data do not show whether {test.a} or {test.b} is better",
    }[test.verdict]
    where = f"{what} {test.value_a:.3f} against {test.value_b:.3f}"
    interval = (
        f"{percent} interval {test.low:+.3f} to {test.high:+.3f}, {test.interval}"
        if test.low == test.low
        else "no interval"
    )
    parts = [
        f"{head}: {where}, a difference of {test.difference:+.3f} ({interval}; "
        f"p = {_format_p(test.p)}; better in {test.better} of {scenes}, worse in {test.worse})."
    ]
    if not test.has_enough_scenes:
        parts.append(
            f"With {scenes} this test cannot be significant: its smallest possible p-value is "
            f"{test.p_smallest:.3g}. Evaluate on more scenes."
        )
    if test.disagreement:
        parts.append(test.disagreement)
    if min(test.runs_a, test.runs_b) < 2:
        which = "each" if max(test.runs_a, test.runs_b) < 2 else "on one side"
        parts.append(f"One run {which}: this says nothing about other seeds.")
    return parts


def _format_p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"
