"""The log of a run: a string that shows itself as lines."""

from __future__ import annotations

from typing import Any

from rvlab.display.printable import plain_lines

MAX_SHOWN_LINES = 2000
"""Lines that a notebook shows; the text itself has all."""


class LogText(str):
    """The text of a log; as the last line of a cell it is shown as lines, without quotes.

    Colours and cursor movements remain in the text, and are left out where it is shown.

    Attributes:
        heading: The title of the log.
    """

    __slots__ = ("heading",)

    heading: str

    def __new__(cls, text: str, heading: str = "log") -> LogText:
        """Create the text."""
        made = super().__new__(cls, text)
        made.heading = heading
        return made

    def __repr__(self) -> str:
        return plain_lines(str(self))

    def tail(self, lines: int) -> LogText:
        """Return the last lines, one or more."""
        return type(self)("\n".join(self.rstrip("\n").split("\n")[-lines:]), self.heading)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """Show the lines in a terminal."""
        printer.text(repr(self))

    def _repr_html_(self) -> str:
        """Show the lines in a notebook, the end in view."""
        from rvlab.display.render import render_display

        lines = repr(self).rstrip("\n").split("\n") if self else []
        hidden = max(0, len(lines) - MAX_SHOWN_LINES)
        shown = "\n".join(lines[hidden:])
        return render_display(
            "log.html.j2", title=self.heading, lines=len(lines), text=shown, hidden=hidden
        )


class PrintedLog(LogText):
    """A log that has been printed already, so that a notebook does not show it again."""

    __slots__ = ()

    def _ipython_display_(self) -> None:
        """Show nothing."""
