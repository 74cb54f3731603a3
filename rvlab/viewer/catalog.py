"""What a viewer can show: the scenes of some runs, and the layers of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from rvlab import raster
from rvlab.errors import NotFound, RvlabError
from rvlab.plot import cells, paint
from rvlab.plot.view import Place
from rvlab.raster.boxes import CELLS, DETECTION, outcomes, predicted_boxes, true_boxes
from rvlab.raster.display import channels
from rvlab.raster.source import Source, homes
from rvlab.viewer.imagery import Imagery
from rvlab.viewer.rows import boxes, compared
from rvlab.viewer.tiles import Spot, Tile, levels, photo, planes

T = TypeVar("T")

IMAGE, TRUTH = "image", "truth"
UNLABELLED = 255  # sent for pixels that no area of interest holds; no class has that id


@dataclass(frozen=True)
class Layer:
    """What one side of the map may show.

    Args:
        key: What the page calls it.
        title: What people call it.
        kind: ``truth``, ``run`` or ``errors``.
        source: The run; None for the truth, which is that of the run that shows the scene.
    """

    key: str
    title: str
    kind: str
    source: Source | None = None


class Catalog:
    """Scenes and layers by name. Several threads may ask at once.

    Args:
        sources: The runs.
        titles: Of each, in the same order.
    """

    def __init__(self, sources: Sequence[Source], titles: Sequence[str]) -> None:
        pairs = list(zip(sources, titles, strict=True))
        self.sources = tuple(sources)
        listed = [Layer(TRUTH, "truth", "truth")]
        for kind in ("run", "errors"):
            listed += [Layer(f"{kind}:{i}", t, kind, one) for i, (one, t) in enumerate(pairs)]
        self.layers = {layer.key: layer for layer in listed}
        self._shown = homes(sources)
        self._labels: dict[str, raster.SceneLabels] = {}
        self._imagery: dict[str, Imagery] = {}
        self._lock = Lock()

    def scenes(self, group: str) -> list[str]:
        """The scenes of a group, of any run."""
        found = [s.id for one in self.sources for s in one.scenes if s.group == group]
        return list(dict.fromkeys(found))

    @property
    def every_scene(self) -> list[str]:
        """The scenes of all groups."""
        return list(self._shown)

    def labels(self, scene: str) -> raster.SceneLabels:
        """The labels of a scene, of the run that shows it; shapes are read once."""
        one = self._home(scene)
        return self._once(self._labels, scene, lambda: one.labels(scene))

    def has_boxes(self, scene: str) -> bool:
        """Whether its labels and predictions are rectangles, not pixels."""
        return self.labels(scene).scene.task in (CELLS, DETECTION)

    def about(self, scene: str) -> dict[str, Any]:
        """What the page must know of a scene: size, place, classes, and which layers do not fit.

        Raises:
            NotFound: If there is no such scene.
            RasterError: If nobody knows its size.
        """
        grid, classes = self.labels(scene).grid, self._home(scene).classes
        t = grid.transform
        return {
            "scene": scene,
            "width": grid.width,
            "height": grid.height,
            "levels": levels(grid.width, grid.height),
            "transform": [t.a, t.b, t.c, t.d, t.e, t.f] if grid.has_position else None,
            "crs": _named(grid.crs),
            "metres": grid.metres_per_px,
            "classes": [
                {"name": name, "color": list(color)}
                for name, color in zip(classes.names, classes.colors, strict=True)
            ],
            "unlabelled": classes.unlabelled_id,
            "null": classes.null_id,
            "boxes": self.has_boxes(scene),
            "cells": self.labels(scene).scene.task == CELLS,
            "unfit": self._unfit(scene),
        }

    def tile(self, scene: str, key: str, spot: Spot) -> Tile:
        """A tile of the image, or of a layer of class ids.

        Args:
            scene: Its name.
            key: `IMAGE`, or the key of a layer.
            spot: Which tile.

        Raises:
            NotFound: If there is no such scene or layer.
            SpecError: If the scene has no such tile.
            RasterError: If it cannot be read.
        """
        labels = self.labels(scene)
        window = spot.window(labels.grid.width, labels.grid.height)
        max_px = spot.max_px(window)
        if key == IMAGE:
            bands = channels(self._home(scene).config)
            seen = self._once(self._imagery, scene, lambda: Imagery(labels.scene, bands))
            return photo(seen.tile(window, labels.whole(), max_px=max_px))
        layer = self._layer(key)
        if layer.source is None:
            return planes([labels.truth(window, max_px=max_px)])
        run, own = self._comparable(layer.source, scene)
        guess = raster.prediction(run, own, window, labels.grid, max_px=max_px)
        if layer.kind == "run":
            return planes([guess])
        truth = labels.truth(window, max_px=max_px)
        inside = labels.labelled(window, max_px=max_px)
        known = truth if inside is None else np.where(inside, truth, UNLABELLED)
        return planes([known.astype(np.uint8), guess])

    def rows(self, scene: str, key: str) -> Tile:
        """All boxes or cells of a layer.

        Raises:
            NotFound: If there is no such scene or layer.
            RasterError: If they cannot be read.
        """
        labels, layer = self.labels(scene), self._layer(key)
        if layer.source is None:
            return boxes(truth=true_boxes(labels))
        run, own = self._comparable(layer.source, scene)
        guess = predicted_boxes(run, own, labels)
        if layer.kind == "run":
            return boxes(guess=guess)
        truth = true_boxes(labels)
        return compared(truth, guess, outcomes(truth, guess, run.task), run.task)

    def words(self, key: str, scene: str, error: RvlabError) -> str:
        """An error of a tile, without the address of the run that it is about."""
        layer = self.layers.get(key)
        return cells.said((layer.source if layer else None) or self._home(scene), error)

    def _layer(self, key: str) -> Layer:
        if key not in self.layers:
            raise NotFound(f"There is no layer {key!r}.")
        return self.layers[key]

    def _home(self, scene: str) -> Source:
        if scene not in self._shown:
            raise NotFound(f"No run has a scene {scene!r}.")
        return self._shown[scene]

    def _comparable(self, one: Source, name: str) -> tuple[raster.Scene, raster.Classes]:
        place = Place(name, None, self._home(name), self.labels(name))
        return cells.comparable(one, place)

    def _unfit(self, scene: str) -> dict[str, str]:
        """Why a layer has nothing to show of a scene, by its key: one pixel of each is read."""
        found: dict[str, str] = {}
        look = self.rows if self.has_boxes(scene) else self._pixel
        for key, layer in self.layers.items():
            try:
                if layer.kind != "errors":
                    look(scene, key)
                    continue
                # Of the truth and of a run that were looked at above.
                why = found.get(key.replace("errors", "run")) or found.get(TRUTH)
                found |= {key: why} if why else {}
            except RvlabError as exc:
                found[key] = self.words(key, scene, exc)
        return found

    def _pixel(self, scene: str, key: str) -> None:
        window, layer, labels = raster.Window(0, 0, 1, 1), self.layers[key], self.labels(scene)
        if layer.source is None:
            labels.truth(window)
        else:
            raster.prediction(*self._comparable(layer.source, scene), window, labels.grid)

    def _once(self, kept: dict[str, T], name: str, make: Any) -> T:
        with self._lock:
            if name not in kept:
                kept[name] = make()
            return kept[name]


def legend() -> Mapping[str, Any]:
    """Colors that are the same in every scene."""
    return {
        "other": list(paint.OTHER),
        "errors": [{"name": name, "color": list(color)} for name, color in paint.ERRORS],
        "unlabelled": UNLABELLED,
    }


def _named(crs: Any) -> str | None:
    """``EPSG:32611``, or nothing shorter than the whole definition."""
    if crs is None:
        return None
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else "a CRS without a number"
