"""Durations as text."""

from __future__ import annotations

import pytest

from rvlab.display.printable import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.004, "0 s"),
        (0.519, "0.52 s"),
        (8.06, "8.1 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (86_399, "1 d 00 h"),
        (273_600, "3 d 04 h"),
    ],
)
def test_durations_have_one_form_everywhere(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
