"""Colors of text and lines that are visible on their background, whatever the style sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rvlab.errors import SpecError
from rvlab.plot._style.text import make_texts_literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
class ThemeColors:
    """Colors for a background.

    Args:
        paper: The background, also of halos and of the edges of dots.
        text: Text.
        tick: Labels of ticks.
        note: Notes.
        line: Axis lines.
        faint: Grid lines.
        categorical: Colors of categories.
        scale: The part of the color scale that is visible, from 0 to 1.
    """

    paper: str
    text: str
    tick: str
    note: str
    line: str
    faint: str
    categorical: Sequence[str]
    scale: tuple[float, float]


# The yellow end of viridis is not visible on white, and its dark end not on black.
ON_LIGHT = ThemeColors(
    "#ffffff", "#000000", "#3c4043", "#5f6368", "#9aa0a6", "#e6e6e6", QUALITATIVE_COLORS, (0, 0.86)
)
ON_DARK = ThemeColors(
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
R = TypeVar("R")


def choose_theme_colors(ax: Axes) -> ThemeColors:
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


def plot_function(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorate a plot: it returns the figure that it creates, or the axes that it is given.

    Its own figure has the same colors with every style sheet, such as ``dark_background``: dark
    text on white. On axes of the caller, its colors are those that are visible on their background.
    Its text is drawn as `make_texts_literal` does. The ``rcParams`` are restored.
    """

    @wraps(draw)
    def draw_literally(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        ax: Any = kwargs.get("ax")
        if ax is not None:
            _require_axes(ax)
            figure, known = ax.figure, _texts(ax.figure)
            before = set(figure.axes)
            made: Any = draw(*args, **kwargs)
            new = (one for one in figure.axes if one not in before)
            make_texts_literal(ax, *new, known=known)
            return made  # type: ignore[no-any-return]
        with matplotlib.rc_context(_own_style()):
            made = draw(*args, **kwargs)
            make_texts_literal(made)
        return made  # type: ignore[no-any-return]

    return draw_literally


def _require_axes(ax: Any) -> None:
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise SpecError(f"ax must be one matplotlib Axes, got {type(ax).__name__}.")


def _texts(figure: Any) -> dict[Any, str]:
    """Return the texts of a figure that say something."""
    from matplotlib.text import Text

    return {text: text.get_text() for text in figure.findobj(Text) if text.get_text()}


def _own_style() -> Any:
    import matplotlib

    return {
        name: value
        for name, value in matplotlib.rcParamsDefault.items()
        if name.startswith(_OWN_PARAMETERS)
    }
