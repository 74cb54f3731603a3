"""Colors of text and lines that are visible on their background, whatever the style sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from rvlab.plot._style.plain_text import make_texts_literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color universal design" (2008), without yellow, which is not visible on white.
QUALITATIVE_COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#7F7F7F",
)


@dataclass(frozen=True)
class Ink:
    """Colors for a background.

    Args:
        paper: The background, also of halos and of the edges of dots.
        text: Text.
        tick: Labels of ticks.
        note: Notes.
        line: Axis lines.
        faint: Grid lines.
        colors: Colors of categories.
        scale: The part of the color scale that is visible, from 0 to 1.
    """

    paper: str
    text: str
    tick: str
    note: str
    line: str
    faint: str
    colors: Sequence[str]
    scale: tuple[float, float]


# The yellow end of viridis is not visible on white, and its dark end not on black.
ON_LIGHT = Ink(
    "#ffffff", "#000000", "#3c4043", "#5f6368", "#9aa0a6", "#e6e6e6", QUALITATIVE_COLORS, (0, 0.86)
)
ON_DARK = Ink(
    "#000000",
    "#ffffff",
    "#dadce0",
    "#bdc1c6",
    "#9aa0a6",
    "#3c4043",
    ("#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#F0E442", "#ffffff", "#9e9e9e"),
    (0.3, 1),
)

_OWN_PARAMETERS = (
    *("axes.", "xtick.", "ytick.", "text.", "legend.", "lines.", "patch.", "hatch.", "grid."),
    *("figure.facecolor", "figure.edgecolor", "scatter."),
)

P = ParamSpec("P")


def choose_ink(ax: Axes) -> Ink:
    """Return the colors for the background of axes: their own, or that of the figure."""
    from matplotlib.colors import to_rgba

    figure = ax.get_figure()
    behind = to_rgba(figure.get_facecolor() if figure else "white")
    red, green, blue, alpha = to_rgba(ax.get_facecolor())
    if not ax.patch.get_visible():
        alpha = 0.0
    # A transparent figure is shown on white.
    far = [one * behind[3] + 1 - behind[3] for one in behind[:3]]
    near = [one * alpha for one in (red, green, blue)]
    light = [a + b * (1 - alpha) for a, b in zip(near, far, strict=True)]
    return ON_LIGHT if 0.299 * light[0] + 0.587 * light[1] + 0.114 * light[2] > 0.45 else ON_DARK


def draws_figure(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a plot that creates its own figure.

    The figure has the same colors with every style sheet, such as ``dark_background``: dark text on
    white. Its text is drawn as `make_texts_literal` does. The ``rcParams`` are restored.
    """

    @wraps(draw)
    def draw_with_own_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        import matplotlib

        with matplotlib.rc_context(_own_style()):
            made = draw(*args, **kwargs)
            make_texts_literal(made)
        return made

    return draw_with_own_style


def _own_style() -> Any:
    import matplotlib

    return {
        name: value
        for name, value in matplotlib.rcParamsDefault.items()
        if name.startswith(_OWN_PARAMETERS)
    }
