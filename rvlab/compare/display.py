"""HTML of a test: the verdict in words, a picture of the interval, and the numbers."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvlab.compare._significance import Test

PICTURE_WIDTH, PICTURE_HEIGHT, PICTURE_MARGIN, LINE_Y = 420, 46, 46, 16
LABEL_WIDTH, LABEL_HEIGHT = 60, 12

_TONES = {"better": "good", "passes": "good", "worse": "bad", "fails": "bad"}


def comparison_html(test: Test, sentence: str, verdict: str, *, limit: float = 0.0) -> str:
    """Return the display of a test, or of a gate that uses it.

    Args:
        test: The test.
        sentence: The result in words.
        verdict: The verdict in one or two words.
        limit: The difference at which the verdict of a gate changes, drawn beside 0.
    """
    from rvlab.display.render import render_display

    values = [(one.name, getattr(test, one.name)) for one in fields(test)]
    return render_display(
        "test.html.j2",
        sentence=sentence,
        verdict=verdict,
        tone=_TONES.get(verdict, "none"),
        head=f"{test.metric} of {test.group}, {test.scenes} scenes",
        picture=interval_picture(test, limit),
        sides=[(test.a, f"{test.value_a:.4f}"), (test.b, f"{test.value_b:.4f}")],
        numbers=[
            (name, _format(value))
            for name, value in values
            if name != "sentence" and not (isinstance(value, float) and math.isnan(value))
        ],
    )


def interval_picture(test: Test, limit: float) -> dict[str, Any] | None:
    """Return the places of the difference, its interval and 0 on a line; None without numbers."""
    values = [test.low, test.difference, test.high]
    if not all(map(math.isfinite, values)):
        return None
    low, high = min(*values, 0.0, limit), max(*values, 0.0, limit)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return round(
            PICTURE_MARGIN + (PICTURE_WIDTH - 2 * PICTURE_MARGIN) * (value - low) / span, 1
        )

    names = {0.0: "0"} | ({limit: f"margin {limit:g}"} if limit else {})
    overlap = abs(place(0.0) - place(limit)) < LABEL_WIDTH
    lower = LABEL_HEIGHT if limit and overlap else 0
    return {
        "width": PICTURE_WIDTH,
        "height": PICTURE_HEIGHT + lower,
        "y": LINE_Y,
        "low": place(test.low),
        "high": place(test.high),
        "middle": place(test.difference),
        "limits": [
            (place(value), name, PICTURE_HEIGHT - 4 + (lower if value else 0))
            for value, name in names.items()
        ],
        "text": f"{test.difference:+.4f}  [{test.low:+.4f}, {test.high:+.4f}]",
    }


def _format(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
