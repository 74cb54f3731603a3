"""Wrapping of text to a width in inches."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence

_LETTER_WIDTH = 0.52  # of the type size, slightly more than the mean of English text
_BREAK_MARK = "\x1f"  # marks where a name may be broken
_BREAK_POINT = re.compile("(?<=[a-z])(?=[A-Z])|(?<=-)(?=.)")


def text_inches(text: str, points: float) -> float:
    """Estimate the width of a line in inches."""
    return width_in_letters(text) * _LETTER_WIDTH * points / 72


def width_in_letters(text: str) -> int:
    """Return the width of a text in mean letters: an ideograph is as wide as two.

    Text of mostly capitals is a fifth wider.
    """
    wide = 0 if text.isascii() else sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    capitals = sum(one.isupper() for one in text)
    return len(text) + wide + (capitals // 4 if 2 * capitals >= len(text) - capitals else 0)


def wrap_lines(lines: Sequence[str], width: float, points: float) -> list[str]:
    """Wrap lines to a width.

    Args:
        lines: Lines of any length. Names may also be broken after ``/`` and ``_``, and long names
            before capitals and after ``-``.
        width: Maximum width in inches.
        points: Type size.
    """
    max_chars = max(8, int(width * 72 / (_LETTER_WIDTH * points)))
    return [part for line in lines for part in _break_words(line, max_chars)]


def _break_words(text: str, max_chars: int) -> list[str]:
    marked = re.sub("(?<![/_])([/_])(?![/_])", rf"\1{_BREAK_MARK} ", text)
    # Names such as SemanticSegmentationConfig and run ids have no other break points.
    marked = re.sub(
        rf"\S{{{max_chars},}}", lambda m: _BREAK_POINT.sub(f"{_BREAK_MARK} ", m[0]), marked
    )
    max_chars = max(4, max_chars * len(text) // max(1, width_in_letters(text)))
    lines = textwrap.wrap(marked, max_chars, break_on_hyphens=False)
    return [line.replace(f"{_BREAK_MARK} ", "").replace(_BREAK_MARK, "") for line in lines] or [""]
