"""Helpers that read the contents of a drawn grid of predictions."""

from __future__ import annotations

import re

import numpy as np


def grid(figure):
    """Return the pictures as rows of cells: the array, or the text in its place."""
    rows = {}
    (ax,) = figure.axes
    for image in ax.images:
        if image.get_gid() != "scale":
            left, _, _, top = image.get_extent()
            rows.setdefault(round(top, 3), []).append((left, image.get_array()))
    tops = {round(box[:, 1].min(), 3) for box in frames(figure)}
    for box in frames(figure):
        top, left = round(box[:, 1].min(), 3), box[:, 0].min()
        inside = [t for t in ax.texts if t.get_gid() == "words" and is_in(t, box)]
        for text in inside:
            words = re.sub(
                "([/_-]) ", r"\1", text.get_text().replace("\n", " ")
            )  # rejoin wrapped names
            rows.setdefault(top, []).append((left, words))
    assert set(rows) == tops
    return [[cell for _, cell in sorted(rows[top], key=lambda c: c[0])] for top in sorted(rows)]


def frames(figure):
    (found,) = [c for c in figure.axes[0].collections if c.get_gid() == "frames"]
    return [path.vertices for path in found.get_paths()]


def is_in(text, box):
    at = np.array(text.get_position())
    return ((box.min(axis=0) < at) & (at < box.max(axis=0))).all()


def captions(figure):
    return [t.get_text() for ax in figure.axes for t in ax.texts if t.get_text().startswith("F1")]


def figure_texts(figure):
    return [text.get_text() for text in figure.texts]


def entries(figure):
    """Return the legend entries."""
    return [t.get_text() for legend in figure.legends for t in legend.get_texts()]


def outlines(figure, row, column):
    """Return a cell's boxes: edges as fractions of the cell (n, 4), colors (n, 3), dashed."""
    boxes = sorted(frames(figure), key=lambda b: (round(b[:, 1].min(), 3), b[:, 0].min()))
    across = len(grid(figure)[0])
    frame = boxes[row * across + column]
    low, size = frame.min(axis=0), np.ptp(frame, axis=0)
    out = []
    for made in figure.axes[0].collections:
        if made.get_gid() != "boxes":
            continue
        middle = made.get_clip_box().transformed(figure.axes[0].transData.inverted())
        if not np.allclose(np.sort([middle.x0, middle.x1]), [low[0], low[0] + size[0]]):
            continue
        if not np.allclose(np.sort([middle.y0, middle.y1]), [low[1], low[1] + size[1]]):
            continue
        corners = np.array([path.vertices[:4] for path in made.get_paths()])
        edges = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        part = (edges - np.tile(low, 2)) / np.tile(size, 2)
        colors = np.rint(made.get_edgecolor()[:, :3] * 255).astype(int)
        out.append((part, colors, made.get_linestyle()[0][1] is not None))
    return out
