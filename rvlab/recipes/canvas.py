"""A canvas for synthetic aerial images: ground, boxes, roofs, shadows, trees, and a camera.

Coordinates are pixels from the middle of the picture, x to the right and y down; directions are
radians from x towards y; colours are three numbers from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Color = tuple[float, float, float]
PixelFloats = NDArray[np.float64]
PixelMask = NDArray[np.bool_]
PixelSlices = tuple[slice, slice]


def noise(rng: np.random.Generator, px: int, cell: float, octaves: int = 4) -> PixelFloats:
    """Return value noise between about 0 and 1, mean 0.5.

    Args:
        rng: Source of randomness.
        px: Side of the result, in pixels.
        cell: Size of the largest clouds, in pixels; each octave halves it.
        octaves: Number of sizes that are added.
    """
    total = np.zeros((px, px))
    weights = 0.0
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.0)
        weight = 0.6**octave
        knots = rng.random((math.ceil(px / size) + 2, math.ceil(px / size) + 2))
        position = np.arange(px) / size + rng.random()
        knot = np.minimum(position.astype(int), len(knots) - 2)
        fraction = np.clip(position - knot, 0, 1)
        fraction = fraction * fraction * (3 - 2 * fraction)
        rows = knots[knot] * (1 - fraction)[:, None] + knots[knot + 1] * fraction[:, None]
        total += weight * (rows[:, knot] * (1 - fraction) + rows[:, knot + 1] * fraction)
        weights += weight
    stretched: PixelFloats = np.clip((total / weights - 0.5) * 1.8 + 0.5, 0, 1)
    return stretched


@dataclass(frozen=True)
class Box:
    """A rotated rectangle.

    Args:
        x: The x of its centre, in pixels.
        y: The y of its centre, in pixels.
        along: The direction of its first axis, in radians.
        a: Half its length on the first axis, in pixels.
        b: Half its length on the second axis, in pixels.
    """

    x: float
    y: float
    along: float
    a: float
    b: float

    def grow(self, by: float) -> Box:
        """Return the box enlarged by `by` pixels on every side."""
        return replace(self, a=self.a + by, b=self.b + by)

    def point(self, a: float, b: float) -> tuple[float, float]:
        """Return the x and y of the point at `a` and `b` on the box's axes."""
        c, s = math.cos(self.along), math.sin(self.along)
        return self.x + a * c - b * s, self.y + a * s + b * c

    def corners(self) -> list[tuple[float, float]]:
        """Return the four corners, in order around the box."""
        ends = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        return [self.point(i * self.a, j * self.b) for i, j in ends]


class Canvas:
    """A square picture with its labels.

    Args:
        px: Its side, in pixels.
        rng: Source of randomness.
        sun: The direction in which shadows fall, in radians.
        low: Length of a shadow divided by the height of its object.
    """

    def __init__(self, px: int, rng: np.random.Generator, *, sun: float, low: float) -> None:
        self.px = px
        self.rng = rng
        self.sun = sun
        self.low = low
        self.rgb: PixelFloats = np.zeros((px, px, 3))
        self.labels: NDArray[np.uint8] = np.zeros((px, px), dtype=np.uint8)
        self.taken: PixelMask = np.zeros((px, px), dtype=bool)
        self._shade: PixelFloats = np.ones((px, px))
        self._grain: PixelFloats = noise(rng, px, 6, octaves=3)

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        """Return row and column of a point, clipped to the picture."""
        row, col = (int(np.clip(v + self.px / 2, 0, self.px - 1)) for v in (y, x))
        return row, col

    def along(
        self, x: float, y: float, along: float, window: PixelSlices | None = None
    ) -> tuple[PixelFloats, PixelFloats]:
        """Return each pixel's coordinates on axes through a point, the first along `along`."""
        rows, cols = window or (slice(0, self.px), slice(0, self.px))
        xs = np.arange(cols.start, cols.stop) + 0.5 - self.px / 2 - x
        ys = np.arange(rows.start, rows.stop) + 0.5 - self.px / 2 - y
        c, s = math.cos(along), math.sin(along)
        return xs * c + ys[:, None] * s, -xs * s + ys[:, None] * c

    def window_around(self, x: float, y: float, reach: float) -> PixelSlices:
        """Return the window of all pixels within `reach` of a point, clipped to the picture."""
        edges = [v + self.px / 2 + d for v in (y, x) for d in (-reach, reach + 1)]
        top, bottom, left, right = (int(np.clip(v, 0, self.px)) for v in edges)
        return slice(top, bottom), slice(left, right)

    def box(self, box: Box) -> tuple[PixelSlices, PixelMask, PixelFloats, PixelFloats]:
        """Return the window around a box, the mask of its pixels, and coordinates on its axes."""
        window = self.window_around(box.x, box.y, math.hypot(box.a, box.b))
        a, b = self.along(box.x, box.y, box.along, window)
        return window, (np.abs(a) < box.a) & (np.abs(b) < box.b), a, b

    def is_free(self, box: Box) -> bool:
        """Return whether no pixel of a box is occupied."""
        window, inside, _, _ = self.box(box)
        return not bool(self.taken[window][inside].any())

    def occupy(self, box: Box) -> None:
        """Mark the pixels of a box as occupied."""
        window, inside, _, _ = self.box(box)
        self.taken[window] |= inside

    def is_near(self, x: float, y: float, reach: float, label: int) -> bool:
        """Return whether a class occurs within `reach` pixels of a point."""
        return bool((self.labels[self.window_around(x, y, reach)] == label).any())

    def paint(self, mask: PixelMask, color: Color, opacity: float = 1.0) -> None:
        """Colour the pixels of a mask of the picture's shape."""
        self.rgb[mask] = self.rgb[mask] * (1 - opacity) + np.array(color) * opacity

    def fill(self, box: Box, color: Color, *, only: int | None = None, lit: bool = False) -> None:
        """Colour a box with slight texture.

        Args:
            box: Where.
            color: Its colour.
            only: Colour only pixels of this class.
            lit: Whether the box is above the shadows drawn so far.
        """
        window, inside, _, _ = self.box(box)
        if only is not None:
            inside = inside & (self.labels[window] == only)
        texture = 0.92 + 0.16 * self._grain[window]
        painted = np.array(color) * texture[..., None]
        self.rgb[window] = np.where(inside[..., None], painted, self.rgb[window])
        if lit:
            self._shade[window] = np.where(inside, 1.0, self._shade[window])

    def shadow(self, box: Box, height: float) -> None:
        """Draw the shadow of a box with a height in pixels onto everything drawn so far."""
        dx, dy = math.cos(self.sun), math.sin(self.sun)
        for distance in np.arange(0, height * self.low, 1.5):
            window, inside, _, _ = self.box(
                replace(box, x=box.x + distance * dx, y=box.y + distance * dy)
            )
            self._shade[window] = np.where(inside, 0.45, self._shade[window])

    def roof(self, box: Box, color: Color, label: int, *, hip: bool) -> None:
        """Draw a gable or hip roof on a box, with the ridge on its longer axis, lit by the sun."""
        if box.b > box.a:
            box = Box(box.x, box.y, box.along + math.pi / 2, box.b, box.a)
        window, inside, a, b = self.box(box)
        is_hip_end = hip & (np.abs(a) - (box.a - box.b) > np.abs(b))
        facing = np.where(
            is_hip_end,
            box.along + np.where(a > 0, 0, math.pi),
            box.along + np.where(b > 0, 1, -1) * math.pi / 2,
        )
        light = 1 - 0.28 * np.cos(facing - self.sun)
        courses = 1 + 0.05 * np.sin(np.where(is_hip_end, a, b) * 2.1)
        texture = 0.85 + 0.3 * self._grain[window]
        ridge = np.where(
            ~is_hip_end & (np.abs(b) < 0.9) & (hip <= (np.abs(a) < box.a - box.b)), 1.15, 1.0
        )
        lit = np.array(color) * (light * courses * texture * ridge)[..., None]
        self._draw_raised(window, inside, lit, label)
        for _ in range(int(self.rng.integers(0, 3))):
            place = box.point(*(self.rng.uniform(-0.7, 0.7, 2) * (box.a, box.b)))
            self.fill(Box(*place, box.along, 1.6, 1.3), (0.3, 0.27, 0.26))

    def flat_roof(self, box: Box, color: Color, label: int) -> None:
        """Draw a flat roof on a box, with a parapet and rooftop machines."""
        window, inside, a, b = self.box(box)
        edge = np.minimum(box.a - np.abs(a), box.b - np.abs(b)) < 2
        texture = 0.9 + 0.2 * self._grain[window]
        self._draw_raised(
            window, inside, np.array(color) * (texture * np.where(edge, 1.18, 1))[..., None], label
        )
        for _ in range(int(self.rng.integers(3, 9))):
            place = box.point(*(self.rng.uniform(-0.8, 0.8, 2) * (box.a, box.b)))
            size = self.rng.uniform(1.5, 4)
            dark = Box(
                place[0] + math.cos(self.sun) * 2,
                place[1] + math.sin(self.sun) * 2,
                box.along,
                size,
                size,
            )
            self.fill(dark, (0.3, 0.3, 0.32))
            self.fill(Box(*place, box.along, size, size), (0.78, 0.78, 0.78))

    def tree(self, x: float, y: float, radius: float, color: Color) -> None:
        """Draw a tree crown and its shadow."""
        reach = radius * self.low * 0.6
        dx, dy = math.cos(self.sun), math.sin(self.sun)
        window = self.window_around(x + dx * reach, y + dy * reach, radius * 1.3)
        a, b = self.along(x + dx * reach, y + dy * reach, 0.0, window)
        ragged = radius * (0.7 + 0.6 * self._grain[window])
        self._shade[window] = np.where(np.hypot(a, b) < ragged, 0.5, self._shade[window])
        window = self.window_around(x, y, radius * 1.3)
        a, b = self.along(x, y, self.sun, window)
        grain = self._grain[window]
        crown = np.hypot(a, b) < radius * (0.65 + 0.65 * grain)
        light = (1.05 - 0.4 * a / radius) * (0.55 + 0.9 * grain)
        self._draw_raised(window, crown, np.array(color) * np.clip(light, 0.3, 2)[..., None], None)

    def render(self, cast: Sequence[float], haze: float) -> NDArray[np.uint8]:
        """Return the final image, with shadows, slight blur, and noise.

        Args:
            cast: Brightness of red, green and blue.
            haze: Constant added to each of them.
        """
        rng = self.rng
        dark = self._shade[..., None]
        rgb = self.rgb * (dark + (1 - dark) * np.array((-0.04, 0.0, 0.1)))
        padded = np.pad(rgb, ((1, 1), (1, 1), (0, 0)), mode="edge")
        padded = 0.2 * padded[:-2] + 0.6 * padded[1:-1] + 0.2 * padded[2:]
        rgb = 0.2 * padded[:, :-2] + 0.6 * padded[:, 1:-1] + 0.2 * padded[:, 2:]
        rgb = rgb * np.array(cast) * rng.uniform(0.97, 1.03) + haze
        rgb += rng.normal(0, 0.014, rgb.shape)
        image: NDArray[np.uint8] = np.clip(np.round(rgb * 255), 0, 255).astype(np.uint8)
        return image

    def _draw_raised(
        self, window: PixelSlices, inside: PixelMask, color: PixelFloats, label: int | None
    ) -> None:
        """Draw a raised object above every shadow drawn so far."""
        self.rgb[window] = np.where(inside[..., None], color, self.rgb[window])
        self._shade[window] = np.where(inside, 1.0, self._shade[window])
        if label is not None:
            self.labels[window] = np.where(inside, label, self.labels[window])
