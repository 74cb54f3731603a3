"""Text for display: without control characters of a store's content, and durations."""

from __future__ import annotations

import re

# Control characters except tab, line feed and carriage return (progress bars in logs), and those
# that change the direction of the text around them.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

# Colours, and movements of the cursor by nested progress bars.
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def printable(text: object) -> str:
    r"""Replace control characters by their escapes, such as ``\x1b``.

    A terminal would interpret them: change its title, its colours, or earlier lines.
    """
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), str(text))


def plain_lines(text: str) -> str:
    """Return text without colours and cursor movements, and with other controls as escapes."""
    return printable(_SEQUENCE.sub("", text))


def format_duration(seconds: float) -> str:
    """Format a duration, such as ``0.52 s``, ``8.1 s``, ``3 min 05 s``, ``2 h 10 min``.

    Pass whole seconds where the text is updated while it is shown.
    """
    if seconds < 9.95:
        return f"{round(seconds, 2):.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours:02d} h"


def collapse_returns(text: str) -> str:
    r"""Return lines as a terminal shows them at the end: a ``\r`` writes over the line so far.

    A progress bar writes hundreds of states to one line, of which only the last is of interest.
    """
    if "\r" not in text:
        return text
    return "\n".join(_last_state(line) for line in text.split("\n"))


def _last_state(line: str) -> str:
    return next((part for part in reversed(line.split("\r")) if part.strip()), "")
