"""Synthetic aerial images of small towns, drawn from a seed, with the class of every pixel.

Layers are drawn from the ground up: meadow, streets, fields, drives and pools, houses and their
shadows, cars, trees, then the camera. Where a tree covers a building or a road, the label is the
building or the road, as in labels drawn from a map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rvlab.recipes.canvas import Box, Canvas, Color, noise

VERSION = 1
"""Part of the name of every folder of scenes: increase it when a seed draws other scenes."""

GSD_M = 0.3
"""Ground sampling distance, in metres per pixel."""

TOWN_CLASSES = ("background", "building", "road")
TOWN_COLORS = ("#3d5a3a", "#e4572e", "#f3d9a4")
BACKGROUND, BUILDING, ROAD = range(3)

_ROOFS: tuple[Color, ...] = (
    (0.62, 0.33, 0.25),  # clay tile, three ages of it
    (0.70, 0.42, 0.31),
    (0.50, 0.28, 0.23),
    (0.40, 0.40, 0.42),  # slate and bitumen, close to asphalt
    (0.33, 0.33, 0.36),
    (0.50, 0.49, 0.48),
    (0.47, 0.40, 0.33),  # shingle
    (0.36, 0.42, 0.47),  # blue-grey metal
)
_FLAT_ROOFS: tuple[Color, ...] = ((0.70, 0.70, 0.68), (0.50, 0.50, 0.50), (0.60, 0.57, 0.52))
_CARS: tuple[Color, ...] = (
    (0.93, 0.93, 0.93),
    (0.14, 0.14, 0.16),
    (0.62, 0.64, 0.67),
    (0.60, 0.13, 0.12),
    (0.16, 0.26, 0.48),
)
_PAVING: tuple[Color, ...] = ((0.66, 0.64, 0.60), (0.50, 0.49, 0.49), (0.58, 0.52, 0.46))
_CROPS: tuple[Color, ...] = ((0.33, 0.43, 0.21), (0.60, 0.54, 0.33), (0.48, 0.38, 0.29))
_TREES: tuple[Color, ...] = ((0.17, 0.27, 0.13), (0.22, 0.33, 0.15), (0.27, 0.34, 0.17))


@dataclass(frozen=True)
class Street:
    """A gently bent line across the whole scene.

    Args:
        along: Its direction, in radians.
        offset: Its distance from the scene's centre, in pixels.
        half: Half its width, in pixels.
        bend: Amplitude of its sine curve, in pixels.
        phase: Phase of the sine curve at the scene's centre, in radians.
        surface: Its colour.
        marked: Whether it has road markings.
    """

    along: float
    offset: float
    half: float
    bend: float
    phase: float
    surface: Color
    marked: bool

    def beside(self, s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the offset of the street's middle from the scene's centre, `s` pixels along."""
        return self.offset + self.bend * np.sin(s / 140 + self.phase)

    def at(self, s: float, aside: float) -> tuple[float, float, float]:
        """Return x, y and direction of the point `s` pixels along and `aside` of the middle."""
        t = float(self.beside(np.array(s))) + aside
        turn = math.atan(self.bend / 140 * math.cos(s / 140 + self.phase))
        c, n = math.cos(self.along), math.sin(self.along)
        return s * c - t * n, s * n + t * c, self.along + turn


@dataclass(frozen=True)
class Camera:
    """The light and camera that all scenes of a data set share.

    Args:
        sun: The direction in which shadows fall, in radians.
        low: Length of a shadow divided by the height of its object.
        cast: Brightness of red, green and blue.
        haze: Constant added to each of them.
    """

    sun: float
    low: float
    cast: tuple[float, ...]
    haze: float

    @classmethod
    def from_seed(cls, seed: int) -> Camera:
        """Return the camera of a data set's seed."""
        rng = np.random.default_rng(seed)
        cast = rng.uniform(1.02, 1.14) * rng.uniform(0.96, 1.04, 3)
        return cls(
            rng.uniform(0, 2 * math.pi), rng.uniform(0.9, 1.7), tuple(cast), rng.uniform(0.01, 0.04)
        )


class RenderedScene(NamedTuple):
    """A drawn scene.

    Args:
        image: RGB, shape ``(px, px, 3)``.
        labels: Class ids, shape ``(px, px)``.
        buildings: For each building the boxes of its footprint, in pixels from the middle of the
            scene; it may extend beyond the edge, or be outside.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    buildings: list[tuple[Box, ...]]


@dataclass
class Town:
    """The state of a scene while it is drawn.

    Args:
        px: Its side, in pixels.
        rng: Source of randomness.
        camera: Light and camera.
    """

    px: int
    rng: np.random.Generator
    camera: Camera
    canvas: Canvas = field(init=False)
    streets: list[Street] = field(init=False, default_factory=list)
    buildings: list[tuple[Box, ...]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.canvas = Canvas(self.px, self.rng, sun=self.camera.sun, low=self.camera.low)

    def draw(self) -> RenderedScene:
        """Draw everything."""
        self._meadow()
        self._lay_out_streets()
        self._pave_streets()
        self._fields()
        self._lots()
        self._street_cars()
        self._trees()
        image = self.canvas.render(self.camera.cast, self.camera.haze)
        return RenderedScene(image, self.canvas.labels, self.buildings)

    def _meadow(self) -> None:
        rng, c = self.rng, self.canvas
        dry = np.clip(noise(rng, self.px, 150) + rng.uniform(-0.25, 0.25), 0, 1)[..., None]
        c.rgb[:] = np.array((0.36, 0.42, 0.27)) * (1 - dry) + np.array((0.56, 0.52, 0.37)) * dry
        soil = np.clip((noise(rng, self.px, 50) - 0.7) * 5, 0, 0.7)[..., None]
        c.rgb[:] = c.rgb * (1 - soil) + np.array((0.55, 0.45, 0.35)) * soil
        c.rgb *= 0.82 + 0.36 * noise(rng, self.px, 7)[..., None]

    def _lay_out_streets(self) -> None:
        rng = self.rng
        turn = rng.uniform(-0.45, 0.45)
        reach = self.px * 0.75
        for across in (0.0, math.pi / 2):
            gap = rng.uniform(170, 210) if across == 0 else rng.uniform(260, 340)
            offset = rng.uniform(-0.12, 0.12) * min(self.px, gap)
            first = offset - gap * math.floor((offset + reach) / gap)
            for middle in np.arange(first, reach, gap):
                main = rng.random() < 0.5
                grey = rng.uniform(0.32, 0.48) if main else rng.uniform(0.36, 0.6)
                tint = rng.uniform(-0.015, 0.02)
                self.streets.append(
                    Street(
                        along=turn + across,
                        offset=float(middle),
                        half=rng.uniform(11, 13) if main else rng.uniform(8, 10),
                        bend=rng.uniform(0, 14),
                        phase=rng.uniform(0, 2 * math.pi),
                        surface=(grey + tint, grey, grey - tint),
                        marked=main,
                    )
                )

    def _pave_streets(self) -> None:
        c = self.canvas
        ways = []
        for street in self.streets:
            s, t = c.along(0.0, 0.0, street.along)
            ways.append((street, s, np.abs(t - street.beside(s))))
        road = np.zeros((self.px, self.px), dtype=bool)
        kerb = np.zeros_like(road)
        for street, _, aside in ways:
            road |= aside < street.half
            kerb |= aside < street.half + (5 if street.marked else 2)
        c.rgb[kerb & ~road] = np.array((0.63, 0.61, 0.57))
        worn = noise(self.rng, self.px, 30)
        for street, _, aside in ways:
            on = aside < street.half
            tracks = 0.05 * np.cos(aside / street.half * 2 * math.pi)
            c.rgb[on] = np.array(street.surface) * (0.92 + 0.2 * worn + tracks)[on][:, None]
        for street, s, aside in ways:
            if not street.marked:
                continue
            crossing = np.zeros_like(road)
            for other, _, gap in ways:
                if other.along != street.along:
                    crossing |= gap < other.half + 6
            dashes = (aside < 0.9) & (np.mod(s, 26) < 13)
            edges = np.abs(aside - street.half + 2.5) < 0.7
            c.paint((dashes | edges) & ~crossing, (0.88, 0.88, 0.84), 0.75)
            for other, _, gap in ways:
                if other.along != street.along:
                    zebra = (np.abs(gap - other.half - 7) < 4) & (np.mod(aside, 4) < 2)
                    c.paint(zebra & (aside < street.half - 2), (0.88, 0.88, 0.84), 0.7)
        c.labels[road] = ROAD
        c.taken |= kerb

    def _fields(self) -> None:
        rng, c = self.rng, self.canvas
        for _ in range(self.px // 25):
            x, y = rng.uniform(-0.5, 0.5, 2) * self.px
            long, wide = rng.uniform(30, 80), rng.uniform(25, 50)
            box = Box(x, y, self.streets[0].along + rng.choice((0, math.pi / 2)), long, wide)
            window, inside, _, b = c.box(box)
            if not inside.any() or c.taken[window][inside].any():
                continue
            rows = np.sin(b * 2 * math.pi / rng.uniform(5, 9))[..., None]
            crop = np.array(_CROPS[rng.integers(len(_CROPS))])
            grown = (
                crop * (1 + 0.16 * rows) * (0.8 + 0.4 * noise(rng, self.px, 25)[window][..., None])
            )
            c.rgb[window] = np.where(inside[..., None], grown, c.rgb[window])
            c.taken[window] |= inside

    def _lots(self) -> None:
        rng = self.rng
        for street in self.streets:
            for side in (-1, 1):
                s = -self.px * 0.75 + rng.uniform(0, 30)
                while s < self.px * 0.75:
                    step = rng.uniform(54, 84)
                    if rng.random() < 0.14:
                        self._hall(street, s + step / 2, side)
                    elif rng.random() < 0.9:
                        self._house(street, s + step / 2, side)
                    s += step

    def _house(self, street: Street, s: float, side: int) -> None:
        rng, c = self.rng, self.canvas
        long, wide = rng.uniform(17, 27), rng.uniform(12, 17)
        end_on = rng.random() < 0.4
        deep = long if end_on else wide
        aside = side * (street.half + rng.uniform(13, 24) + deep)
        x, y, along = street.at(s, aside)
        turn = along + (math.pi / 2 if end_on else 0) + rng.normal(0, 0.03)
        house = Box(x, y, turn, long, wide)
        if not c.is_free(house.grow(4)):
            return
        paving = _PAVING[rng.integers(len(_PAVING))]
        lane = rng.choice((-0.6, 0.6)) * (wide if end_on else long)
        gap = abs(aside) - street.half
        dx, dy, _ = street.at(s + lane, side * (street.half + gap / 2))
        c.fill(Box(dx, dy, along, rng.uniform(4.5, 6.5), gap / 2), paving, only=BACKGROUND)
        if rng.random() < 0.5:
            self._car(
                *street.at(s + lane, side * (street.half + gap * 0.35))[:2], along + math.pi / 2
            )
        yard = street.at(s + rng.uniform(-15, 15), aside + side * (deep + rng.uniform(14, 24)))
        pool = Box(yard[0], yard[1], yard[2], rng.uniform(6, 10), rng.uniform(4, 6))
        if rng.random() < 0.22 and c.is_free(pool.grow(3)):
            c.fill(pool.grow(2.5), (0.74, 0.72, 0.68), only=BACKGROUND)
            c.fill(pool, (0.30, 0.66, 0.74), only=BACKGROUND)
            c.occupy(pool.grow(3))
        color = _ROOFS[rng.integers(len(_ROOFS))]
        hip = bool(rng.random() < 0.4)
        height = rng.uniform(7, 12)
        parts = [house]
        if rng.random() < 0.45:
            wing = wide * rng.uniform(0.55, 0.8)
            shift = rng.choice((-1, 1)) * (long - wing)
            back = rng.choice((-1, 1)) * wide * 0.8
            wx, wy = house.point(shift, back)
            parts.append(Box(wx, wy, turn + math.pi / 2, wide * rng.uniform(0.7, 1.0), wing))
        for part in parts:
            c.shadow(part, height)
        for part in parts:
            c.roof(part, color, BUILDING, hip=hip)
            c.occupy(part.grow(3))
        self.buildings.append(tuple(parts))

    def _hall(self, street: Street, s: float, side: int) -> None:
        rng, c = self.rng, self.canvas
        long, wide = rng.uniform(28, 46), rng.uniform(20, 30)
        x, y, along = street.at(s, side * (street.half + rng.uniform(34, 46) + wide))
        hall = Box(x, y, along, long, wide)
        if not c.is_free(hall.grow(5)):
            return
        front = wide + 16
        px, py = hall.point(0, -side * front)
        park = Box(px, py, along, long, 14)
        if c.is_free(park):
            grey = rng.uniform(0.36, 0.5)
            c.fill(park, (grey, grey, grey), only=BACKGROUND)
            for a in np.arange(-long + 5, long - 4, 10):
                c.fill(
                    Box(*park.point(float(a) + 5, 0), along, 0.6, 9),
                    (0.8, 0.8, 0.78),
                    only=BACKGROUND,
                )
                if rng.random() < 0.55:
                    self._car(*park.point(float(a), rng.normal(0, 1)), along + math.pi / 2)
            c.occupy(park)
        c.shadow(hall, rng.uniform(11, 16))
        c.flat_roof(hall, _FLAT_ROOFS[rng.integers(len(_FLAT_ROOFS))], BUILDING)
        c.occupy(hall.grow(3))
        self.buildings.append((hall,))

    def _car(self, x: float, y: float, along: float) -> None:
        rng, c = self.rng, self.canvas
        car = Box(x, y, along + rng.normal(0, 0.05), rng.uniform(6.5, 8), 3)
        c.shadow(car, 2)
        c.fill(car, _CARS[rng.integers(len(_CARS))], lit=True)
        c.fill(Box(*car.point(1.5, 0), car.along, 1.4, 2.4), (0.12, 0.14, 0.17))
        c.fill(Box(*car.point(-4.5, 0), car.along, 0.9, 2.2), (0.15, 0.17, 0.2))

    def _street_cars(self) -> None:
        rng = self.rng
        for street in self.streets:
            for s in np.arange(-self.px * 0.7, self.px * 0.7, 46):
                if rng.random() < 0.3:
                    side = rng.choice((-1, 1))
                    self._car(
                        *street.at(float(s) + rng.uniform(-15, 15), side * street.half * 0.48)
                    )

    def _trees(self) -> None:
        rng, c = self.rng, self.canvas
        grove = noise(rng, self.px, 120)
        for _ in range(self.px**2 // 700):
            x, y = rng.uniform(-0.5, 0.5, 2) * self.px
            radius = rng.uniform(3.5, 10.5)
            row, col = c.pixel(x, y)
            if rng.random() > np.clip(grove[row, col] * 2.6 - 0.95, 0.1, 1):
                continue
            if c.labels[row, col] != BACKGROUND or c.is_near(x, y, radius * 0.55, BUILDING):
                continue
            c.tree(x, y, radius, _TREES[rng.integers(len(_TREES))])


def render_scene(px: int, seed: int, place: tuple[int, int]) -> RenderedScene:
    """Draw a scene; the same arguments always draw the same scene.

    Args:
        px: Its side, in pixels of 0.3 m.
        seed: 0 or more; all scenes of a seed have the same sun and camera.
        place: Two numbers of 0 or more that identify the scene among the scenes of a seed.
    """
    return Town(px, np.random.default_rng((seed, *place)), Camera.from_seed(seed)).draw()


# Recorded recipes of older runs, which may be cloned, expect only these two values.
def render_image_and_labels(
    px: int, seed: int, place: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the image of a scene and its class ids; see `render_scene`."""
    image, labels, _ = render_scene(px, seed, place)
    return image, labels
