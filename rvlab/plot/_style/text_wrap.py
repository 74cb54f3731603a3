"""Words broken into lines of a given width."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

_LETTER_WIDTH = 0.52  # of the type size, a little more than the mean of English
_BREAK_MARK = "\x1f"  # marks where a name may be broken
_BREAK_POINT = re.compile("(?<=[a-z])(?=[A-Z])|(?<=-)(?=.)")


def text_inches(text: str, points: float) -> float:
    """About how wide a line is."""
    return len(text) * _LETTER_WIDTH * points / 72


def wrap_lines(lines: Sequence[str], width: float, points: float) -> list[str]:
    """Lines that are no wider than that.

    Args:
        lines: Of any length; a name may be broken behind ``/`` and ``_`` too, a long one
            before its capitals and behind ``-``.
        width: In inches.
        points: Type size.
    """
    most = max(8, int(width * 72 / (_LETTER_WIDTH * points)))
    return [part for line in lines for part in _break_words(line, most)]


def _break_words(text: str, most: int) -> list[str]:
    marked = re.sub("(?<![/_])([/_])(?![/_])", rf"\1{_BREAK_MARK} ", text)
    # Names such as SemanticSegmentationConfig and ids of runs have no other place to break.
    marked = re.sub(rf"\S{{{most},}}", lambda m: _BREAK_POINT.sub(f"{_BREAK_MARK} ", m[0]), marked)
    lines = textwrap.wrap(marked, most, break_on_hyphens=False)
    return [line.replace(f"{_BREAK_MARK} ", "").replace(_BREAK_MARK, "") for line in lines] or [""]
