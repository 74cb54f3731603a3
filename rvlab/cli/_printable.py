"""Text from a store, made safe for a terminal."""

from __future__ import annotations

import re

# Control characters except tab, line feed and carriage return (progress bars in logs), and those
# that change the direction of the text around them.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    r"""Replace control characters by their escapes, such as ``\x1b``.

    A terminal would interpret them: change its title, its colours, or earlier lines.
    """
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), str(text))
