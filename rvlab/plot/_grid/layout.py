"""A grid of pictures with captions, drawn on one axes, because many axes are slow to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.plot._grid import legend
from rvlab.plot._grid.legend import GridLegend
from rvlab.plot._grid.rectangles import Rectangles, draw_rectangles
from rvlab.plot._style import theme
from rvlab.plot._style.figure import new_figure, wrap_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_LEFT, _GAP, _LINE = 1.35, 0.1, 0.18  # inches
_WIDE, _CELL_MIN, _CELL_MAX = 11.5, 1.5, 2.6
_FLAT, _TALL = 0.45, 1.6  # height over width of a cell, at least and at most
_SMALL = 8.5  # points
_TITLE = theme.SMALL_PT + 0.5
_CAPTION = theme.SMALL_PT * 1.15  # estimates the width of bold text
_DPI = 100  # of the figure in a notebook


@dataclass(frozen=True)
class AxesRect:
    """A rectangle on axes whose y axis points down.

    Args:
        left: Left edge.
        top: Top edge.
        width: Width.
        height: Height.
    """

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Bottom edge."""
        return self.top + self.height

    @property
    def corners(self) -> list[tuple[float, float]]:
        """The four corners, from the upper left clockwise."""
        left, top, right, bottom = self.left, self.top, self.right, self.bottom
        return [(left, top), (right, top), (right, bottom), (left, bottom)]


@dataclass(frozen=True)
class GridCell:
    """One picture, or the text in its place.

    Args:
        pixels: Shape (rows, columns, 3 or 4), uint8; or (rows, columns) with a `palette`. None
            shows `message`.
        message: Text in the place of a picture that cannot be drawn: the error in one sentence.
        caption: Text below the picture.
        best: Whether the caption is bold, as the best of the row.
        px_m: Width of a pixel of `pixels` in metres; draws a scale bar. None draws none.
        blend: Whether to average pixels when the picture is drawn smaller; not with a `palette`.
        boxes: Rectangles over the picture, in drawing order.
        palette: Colors of the values of `pixels`, shape (256, 3); a third of the memory of RGB.
    """

    pixels: NDArray[np.uint8] | None = None
    message: str = ""
    caption: str = ""
    best: bool = False
    px_m: float | None = None
    blend: bool = True
    boxes: Sequence[Rectangles] = field(default_factory=tuple)
    palette: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class CellRow:
    """A row of pictures of the same window.

    Args:
        title: Bold text at the left.
        lines: Text below the title.
        cells: One cell per column.
        aspect: Height of the pictures divided by their width.
    """

    title: str
    lines: Sequence[str]
    cells: Sequence[GridCell]
    aspect: float = 1.0


def cell_inches(columns: int) -> float:
    """Return the width of a cell in inches, for a number of columns."""
    return min(_CELL_MAX, max(_CELL_MIN, (_WIDE - _LEFT) / columns - _GAP))


def screen_px(columns: int, aspect: float) -> float:
    """Estimate the length of a picture's longer side in screen pixels.

    Args:
        columns: Number of columns of the grid.
        aspect: Height of the picture divided by its width.
    """
    wide = cell_inches(columns)
    tall = wide * min(max(aspect, _FLAT), _TALL)
    return _DPI * (min(wide, tall / aspect) if aspect <= 1 else min(tall, wide * aspect))


def draw_grid(
    headings: Sequence[Sequence[str]], rows: Sequence[CellRow], grid_legend: GridLegend
) -> Figure:
    """Draw a grid of pictures.

    Args:
        headings: The lines of text above each column.
        rows: The rows, with cells in the order of `headings`.
        grid_legend: The legend of the grid.

    Returns:
        A figure at most 11.5 inches wide, or wider for more than six columns. Its only axes covers
        the figure; the unit is an inch, from the upper left corner down.
    """
    columns = len(headings)
    cell = cell_inches(columns)
    headings = [wrap_lines(lines, cell, _TITLE) for lines in headings]
    head = 0.12 + _LINE * max(len(lines) for lines in headings)
    titles = [
        wrap_lines([row.title], _LEFT - 0.12, theme.TEXT_PT * 1.15) for row in rows
    ]  # bold is wider
    # Wrap all captions as bold, so that the best cell does not change the layout of the others.
    captions = [[wrap_lines([c.caption], cell, _CAPTION) for c in row.cells] for row in rows]
    under = max((len(lines) for row in captions for lines in row if any(lines)), default=0)
    caption = 0.06 + _LINE * under
    # A very long window is drawn in a box of limited aspect, with white beside it.
    heights = [cell * min(max(row.aspect, _FLAT), _TALL) for row in rows]
    steps = [
        max(tall + caption, 0.18 * (len(title) + len(row.lines)) + 0.06) + _GAP
        for tall, title, row in zip(heights, titles, rows, strict=True)
    ]
    width = _LEFT + columns * (cell + _GAP)
    foot = legend.layout_legend(grid_legend, width - _LEFT - _GAP)
    height = head + sum(steps) + foot.height
    figure = new_figure(width, height)
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    top = head
    frames: list[AxesRect] = []
    for row, title, lines, tall, step in zip(rows, titles, captions, heights, steps, strict=True):
        _draw_row_title(figure, row, title, top)
        for i, one in enumerate(row.cells):
            box = AxesRect(_LEFT + i * (cell + _GAP), top, cell, tall)
            frames.append(_draw_cell(ax, one, lines[i], box))
        top += step
    _draw_frames(ax, frames)
    for i, parts in enumerate(headings):
        for up, line in enumerate(reversed(parts)):
            x, y = _LEFT + i * (cell + _GAP), head - 0.08 - up * _LINE
            figure.text(x / width, 1 - y / height, line, fontsize=_TITLE, va="baseline")
    legend.draw_grid_legend(figure, ax, grid_legend, foot, (_LEFT, top))
    return figure


def _draw_row_title(figure: Figure, row: CellRow, title: Sequence[str], top: float) -> None:
    width, height = figure.get_size_inches()
    bold: dict[str, Any] = {"fontsize": _TITLE, "fontweight": "bold", "va": "top"}
    figure.text(0.06 / width, 1 - top / height, "\n".join(title), gid="row", **bold)
    figure.text(
        0.06 / width,
        1 - (top + len(title) * 0.175 + 0.04) / height,
        "\n".join(row.lines),
        fontsize=_SMALL,
        color=theme.GREY,
        va="top",
        linespacing=1.35,
    )


def _draw_cell(ax: Axes, cell: GridCell, caption: Sequence[str], box: AxesRect) -> AxesRect:
    """Draw a cell and return the rectangle that it fills."""
    if cell.pixels is None:
        _draw_message(ax, cell.message, box)
        return box
    rows, columns = cell.pixels.shape[:2]
    scale = min(box.width / columns, box.height / rows)
    picture_rect = AxesRect(box.left, box.top, columns * scale, rows * scale)
    draw_pixels(ax, cell.pixels, picture_rect, blend=cell.blend, palette=cell.palette)
    for one in cell.boxes:
        draw_rectangles(ax, one, picture_rect, scale)
    if cell.px_m:
        draw_scale_bar(ax, picture_rect, columns * cell.px_m)
    if any(caption):
        ax.text(
            picture_rect.left + 0.01,
            picture_rect.bottom + 0.05,
            "\n".join(caption),
            va="top",
            fontsize=theme.SMALL_PT,
            fontweight="bold" if cell.best else "normal",
            color="black" if cell.best else "#3c4043",
            gid="caption",
        )
    return picture_rect


def draw_pixels(
    ax: Axes,
    pixels: NDArray[np.uint8],
    box: AxesRect,
    *,
    blend: bool,
    palette: NDArray[np.uint8] | None = None,
) -> AxesImage:
    """Draw pixels on axes, several times faster than `Axes.imshow`.

    Args:
        ax: Axes whose y axis points down.
        pixels: Shape (rows, columns, 3 or 4), or (rows, columns) with a palette.
        box: The area to fill.
        blend: Whether to average pixels when the figure has fewer; otherwise the nearest pixel is
            used, so that only existing colors appear.
        palette: Colors of the values of `pixels`, shape (256, 3).
    """
    extent = (box.left, box.right, box.bottom, box.top)
    shown: AxesImage = _image_class()(ax, origin="upper", extent=extent)
    shown.set_data(pixels)
    shown.blend, shown.palette = blend, palette  # type: ignore[attr-defined]
    ax.add_image(shown)
    return shown


@cache
def _image_class() -> Any:
    from matplotlib.image import AxesImage
    from matplotlib.transforms import Affine2D
    from PIL import Image

    class PixelImage(AxesImage):
        blend = True
        palette: Any = None

        # The colors, as other code expects them of an image; `_A` has a third of the size.
        def get_array(self) -> Any:
            return self._A if self.palette is None else self.palette[self._A]

        # Overridden because matplotlib's method copies the array and searches for a mask.
        def set_data(self, pixels: Any) -> None:
            self._A = pixels
            self.stale = True

        # Overridden because matplotlib's method resamples floats and a mask, at twice the pixels.
        def make_image(
            self, renderer: Any, magnification: float = 1.0, unsampled: bool = False
        ) -> Any:
            left, right, bottom, top = self.get_extent()
            corners = self.axes.transData.transform([(left, bottom), (right, top)])
            (x0, y0), (x1, y1) = np.rint(corners * magnification).astype(int)
            size = (max(1, x1 - x0), max(1, y1 - y0))
            picture = Image.fromarray(np.ascontiguousarray(self._A))
            if self.palette is not None:
                picture.putpalette(self.palette.tobytes())
            fewer = size[0] < picture.width or size[1] < picture.height
            how = Image.Resampling.BOX if self.blend and fewer else Image.Resampling.NEAREST
            made = np.asarray(picture.resize(size, how).convert("RGBA"))
            return made[::-1], x0 / magnification, y0 / magnification, Affine2D()

    return PixelImage


def _draw_message(ax: Axes, message: str, box: AxesRect) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(
        Rectangle((box.left, box.top), box.width, box.height, facecolor="#f4f4f4", linewidth=0)
    )
    lines = wrap_lines([message], box.width - 0.2, _SMALL)
    room = max(2, int((box.height - 0.2) * 72 / (1.3 * _SMALL)))
    if len(lines) > room:
        lines = [*lines[: room - 1], f"{lines[room - 1][:-1]}…"]
    ax.text(
        box.left + box.width / 2,
        box.top + box.height / 2,
        "\n".join(lines),
        ha="center",
        va="center",
        fontsize=_SMALL,
        color=theme.GREY,
        linespacing=1.3,
        gid="words",
    )


def _draw_frames(ax: Axes, boxes: Sequence[AxesRect]) -> None:
    from matplotlib.collections import PolyCollection

    look: dict[str, Any] = {"facecolors": "none", "edgecolors": "#c4c7c5", "linewidths": 0.6}
    frames = PolyCollection([box.corners for box in boxes], gid="frames", **look)
    ax.add_collection(frames, autolim=False)


def draw_scale_bar(ax: Axes, box: AxesRect, metres: float) -> None:
    """Draw a scale bar at the lower left, of a round length of at most 0.3 of the width.

    Args:
        ax: Axes whose y axis points down.
        box: The area of the picture on the axes.
        metres: Width of the picture in metres.
    """
    from matplotlib.patheffects import withStroke

    long = round_length(metres * 0.3)
    start, base = box.left + 0.04 * box.width, box.top + 0.94 * box.height
    ax.plot(
        [start, start + long / metres * box.width],
        [base, base],
        color="white",
        linewidth=2,
        solid_capstyle="butt",
        path_effects=[withStroke(linewidth=3.2, foreground="black", alpha=0.75)],
        scalex=False,
        scaley=False,
        gid="scale bar",
    )
    ax.annotate(
        f"{long / 1000:g} km" if long >= 1000 else f"{long:g} m",
        (start, base),
        (0, 4),
        textcoords="offset points",
        color="white",
        fontsize=8.5,
        path_effects=[withStroke(linewidth=2, foreground="black", alpha=0.75)],
    )


def round_length(longest: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is at most `longest`."""
    power = 10.0 ** math.floor(math.log10(longest))
    return float(next(n * power for n in (5, 2, 1) if n * power <= longest * (1 + 1e-9)))
