"""A grid of pictures with captions, laid out by hand because that draws several times faster."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.plot import ink
from rvlab.plot.scale_bar import scale_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEFT, _GAP, _CAPTION, _LINE, _FOOT = 1.35, 0.1, 0.24, 0.18, 0.5  # inches
_WIDE, _CELL_MIN, _CELL_MAX = 11.5, 1.5, 2.6
_SMALL = 8.5  # points
_JOIN = "\x1f"  # marks where a name may be broken


@dataclass(frozen=True)
class Cell:
    """One picture, or the words in its place.

    Args:
        pixels: Shape (rows, columns, 3 or 4), uint8; None shows `words`.
        words: Why there is no picture.
        caption: Below the picture.
        best: Whether the caption is set off as the row's best.
        px_m: Metres that a pixel of `pixels` is wide: draws a scale bar.
    """

    pixels: NDArray[np.uint8] | None = None
    words: str = ""
    caption: str = ""
    best: bool = False
    px_m: float | None = None


@dataclass(frozen=True)
class Row:
    """A line of pictures of the same pixels.

    Args:
        title: Set in bold at the left.
        lines: Below the title.
        cells: One a column.
        aspect: Height of the pictures over their width.
    """

    title: str
    lines: Sequence[str]
    cells: Sequence[Cell]
    aspect: float = 1.0


@dataclass(frozen=True)
class Key:
    """What the colors mean.

    Args:
        entries: Label and color, 0 to 255.
        note: Said at the right, in small print.
    """

    entries: Sequence[tuple[str, tuple[int, int, int]]] = field(default_factory=tuple)
    note: str = ""


def mosaic(heads: Sequence[Sequence[str]], rows: Sequence[Row], key: Key) -> Figure:
    """Draw the grid.

    Args:
        heads: The lines above each column.
        rows: Their cells in the order of `heads`.
        key: One legend for all.

    Returns:
        A figure about 11 inches wide; wider where more than six columns would not be legible.
    """
    columns = len(heads)
    cell = min(_CELL_MAX, max(_CELL_MIN, (_WIDE - _LEFT) / columns - _GAP))
    heads = [_wrapped(lines, cell) for lines in heads]
    head = 0.12 + _LINE * max(len(lines) for lines in heads)
    has_caption = any(c.caption for row in rows for c in row.cells)
    caption = _CAPTION if has_caption else 0.02
    # A very long window is drawn in a box of at most 1 : 1.6, with white beside it.
    heights = [cell * min(max(row.aspect, 0.45), 1.6) for row in rows]
    width = _LEFT + columns * (cell + _GAP)
    height = head + sum(h + caption + _GAP for h in heights) + _FOOT
    made = ink.figure(width, height)
    top = height - head
    for row, tall in zip(rows, heights, strict=True):
        _row_title(made, row, top / height, width)
        for i, one in enumerate(row.cells):
            left = _LEFT + i * (cell + _GAP)
            box = (left / width, (top - tall) / height, cell / width, tall / height)
            _cell(made.add_axes(box, label=f"{row.title}/{i}"), one, cell, tall)
        top -= tall + caption + _GAP
    for i, lines in enumerate(heads):
        for up, line in enumerate(reversed(lines)):
            made.text(
                (_LEFT + i * (cell + _GAP)) / width,
                (height - head + 0.08 + up * _LINE) / height,
                line,
                fontsize=ink.SMALL + 0.5,
                va="baseline",
            )
    _legend(made, key, width, height)
    return made


def _wrapped(lines: Sequence[str], inches: float, points: float = ink.SMALL + 0.5) -> list[str]:
    wide = max(8, int(inches * 72 / (0.52 * points)))
    return [part for line in lines for part in _broken(line, wide)]


def _broken(text: str, most: int) -> list[str]:
    """Lines of `most` characters; a name may be broken behind ``/`` and ``_`` too."""
    marked = re.sub("(?<![/_])([/_])(?![/_])", rf"\1{_JOIN} ", text)
    lines = textwrap.wrap(marked, most, break_on_hyphens=False)
    return [line.replace(f"{_JOIN} ", "").replace(_JOIN, "") for line in lines] or [""]


def _row_title(made: Figure, row: Row, top: float, width: float) -> None:
    title = "\n".join(_wrapped([row.title], _LEFT - 0.12, ink.TEXT * 1.15))  # bold is wider
    text = made.text(
        0.06 / width, top, title, fontsize=ink.SMALL + 0.5, fontweight="bold", va="top"
    )
    under = title.count("\n") + 1
    height = made.get_figheight()
    made.text(
        0.06 / width,
        top - (under * 0.175 + 0.04) / height,
        "\n".join(row.lines),
        fontsize=_SMALL,
        color=ink.GREY,
        va="top",
        linespacing=1.35,
    )
    text.set_gid("row")


def _cell(ax: Axes, cell: Cell, wide: float, tall: float) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color("#c4c7c5")
        spine.set_linewidth(0.6)
    if cell.pixels is None:
        _words(ax, cell.words, wide, tall)
        return
    ax.imshow(cell.pixels, interpolation="nearest", aspect="equal")
    ax.set_anchor("NW")
    if cell.px_m:
        scale_bar(ax, cell.pixels.shape[1], cell.pixels.shape[0], cell.px_m)
    if cell.caption:
        ax.annotate(
            cell.caption,
            (0, 0),
            (1, -3),
            xycoords="axes fraction",
            textcoords="offset points",
            va="top",
            fontsize=ink.SMALL,
            fontweight="bold" if cell.best else "normal",
            color="black" if cell.best else "#3c4043",
        )


def _words(ax: Axes, words: str, wide: float, tall: float) -> None:
    ax.set_facecolor("#f4f4f4")
    broad = max(12, int((wide - 0.2) * 72 / (0.52 * _SMALL)))
    lines = _broken(words, broad)
    room = max(2, int((tall - 0.2) * 72 / (1.3 * _SMALL)))
    if len(lines) > room:
        lines = [*lines[: room - 1], f"{lines[room - 1][:-1]}…"]
    ax.text(
        0.5,
        0.5,
        "\n".join(lines),
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize=_SMALL,
        color=ink.GREY,
        linespacing=1.3,
    )


def _legend(made: Figure, key: Key, width: float, height: float) -> None:
    from matplotlib.patches import Patch

    if key.entries:
        patches: list[Any] = [
            Patch(
                facecolor=(color[0] / 255, color[1] / 255, color[2] / 255),
                edgecolor="#80868b",
                linewidth=0.6,
                label=name,
            )
            for name, color in key.entries
        ]
        made.legend(
            handles=patches,
            loc="lower left",
            bbox_to_anchor=((_LEFT - 0.08) / width, 0.08 / height),
            ncols=min(len(patches), 8),
            frameon=False,
            fontsize=ink.SMALL,
            handlelength=1.1,
            handleheight=1.1,
            columnspacing=1.4,
            borderpad=0.0,
        )
    if key.note:
        made.text(
            1 - _GAP / width,
            0.16 / height,
            key.note,
            fontsize=_SMALL - 0.5,
            color=ink.GREY,
            ha="right",
        )
