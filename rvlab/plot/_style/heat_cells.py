"""Heatmap cells: colormaps, legible numbers in cells, hatching of missing values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

DARK, WHITE, MISSING_FACE = "#000000", "#ffffff", "#d5d7da"
_STEPS = 256
_EVERY = 0.17  # minimum inches between labels


def sequential_colormap() -> ListedColormap:
    """Return a colormap from white to dark blue whose lightness is linear in the value."""
    return _oklab_colormap([(0.97, 0.012, 235), (0.64, 0.11, 240), (0.31, 0.10, 262)])


def diverging_colormap() -> ListedColormap:
    """Return a colormap from blue through white to brown, safe for colour-blind readers.

    Both ends are equally dark.
    """
    blue = [(0.40, 0.12, 258), (0.69, 0.10, 245), (0.975, 0.004, 240)]
    return _oklab_colormap([*blue, (0.69, 0.12, 55), (0.40, 0.11, 45)])


def contrasting_text_color(color: Sequence[float]) -> str:
    """Return black or white, whichever has more contrast: at least 4.5 : 1 (WCAG 2.2)."""
    luminance = float(_linear_rgb(np.asarray(color[:3], float)) @ [0.2126, 0.7152, 0.0722])
    return WHITE if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else DARK


def draw_heat_cells(
    ax: Axes,
    values: ArrayLike,
    *,
    norm: Any,
    cmap: Any,
    texts: Sequence[Sequence[str]] | None = None,
    size: float = 9.0,
) -> QuadMesh:
    """Draw a matrix with its first row at the top; NaN cells are hatched.

    Args:
        ax: Axes to draw on; a column is one unit wide, a row one unit high.
        values: Shape (rows, columns).
        norm: A matplotlib norm.
        cmap: A matplotlib colormap.
        texts: Text of each cell; None draws no text.
        size: Text size, in points.

    Returns:
        The mesh, for a color bar.
    """
    masked = np.ma.masked_invalid(np.asarray(values, float))
    mesh = ax.pcolormesh(
        masked,
        norm=norm,
        cmap=cmap,
        edgecolors="white" if texts else "none",
        linewidth=1.2 if texts else 0,
    )
    rows, columns = masked.shape
    ax.set_xlim(0, columns)
    ax.set_ylim(rows, 0)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.patch.set(facecolor=MISSING_FACE, edgecolor="white", hatch="////", linewidth=0)
    if texts is None:
        return mesh
    for i, j in np.argwhere(~np.ma.getmaskarray(masked)):
        look: dict[str, Any] = {
            "fontsize": size,
            "color": contrasting_text_color(cmap(norm(masked[i, j]))),
        }
        ax.text(j + 0.5, i + 0.5, texts[i][j], ha="center", va="center", **look)
    return mesh


def draw_color_bar(figure: Figure, mesh: QuadMesh, box: tuple[float, float, float, float]) -> None:
    """Draw a color bar.

    Args:
        figure: The figure.
        mesh: The mesh whose colors it shows.
        box: Left, bottom, width and height, in inches.
    """
    width, height = figure.get_size_inches()
    rect = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
    drawn = figure.colorbar(mesh, cax=figure.add_axes(rect, label="bar"))
    drawn.ax.tick_params(labelsize=9.0, length=3)
    drawn.outline.set_visible(False)


def format_cell_value(value: float, *, signed: bool = False) -> str:
    """Format a cell value, such as ``0.87``, ``0`` or ``47k``; NaN is empty."""
    if math.isnan(value):
        return ""
    if value == 0:
        return "0"
    size = abs(value)
    sign = "−" if value < 0 else "+" if signed else ""
    if size <= 1:
        return f"{sign}{size:.2f}"
    power = min(3, int(math.log10(size * 1.0005)) // 3)
    scaled = size / 1000**power
    plain = scaled >= 9.95 or (power == 0 and float(size).is_integer())
    return f"{sign}{scaled:.{0 if plain else 1}f}{('', 'k', 'M', 'G')[power]}"


def drop_overlapping_labels(labels: Sequence[str], inches: float) -> list[str]:
    """Replace labels by empty strings where they would overlap at a spacing in inches."""
    every = math.ceil(_EVERY / inches) if inches < _EVERY * 0.95 else 1
    return [label if i % every == 0 else "" for i, label in enumerate(labels)]


def _oklab_colormap(stops: Sequence[tuple[float, float, float]]) -> ListedColormap:
    """Build a colormap through colors given as lightness, chroma and hue of OKLab.

    Source: Ottosson, "A perceptual color space for image processing" (2020).
    """
    from matplotlib.colors import ListedColormap

    along = np.linspace(0, 1, _STEPS)
    at = np.linspace(0, 1, len(stops))
    lch = np.transpose(stops)
    across = (lch[0], lch[1] * np.cos(np.radians(lch[2])), lch[1] * np.sin(np.radians(lch[2])))
    light, a, b = (np.interp(along, at, column) for column in across)
    lms = np.stack([
        light + 0.3963377774 * a + 0.2158037573 * b,
        light - 0.1055613458 * a - 0.0638541728 * b,
        light - 0.0894841775 * a - 1.2914855480 * b,
    ])  # fmt: skip
    rgb = np.array([
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]) @ lms**3  # fmt: skip
    rgb = np.clip(rgb.T, 0, 1)
    out = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    return ListedColormap(out)


def _linear_rgb(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear, np.float64)
