"""What a viewer can show: the scenes of some runs, and the layers of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from rvlab import raster
from rvlab.errors import NotFound, RvlabError
from rvlab.plot._grid import colorize, read
from rvlab.plot._grid.options import GridRow
from rvlab.raster.boxes import CELLS, DETECTION, match_outcomes, predicted_boxes, truth_boxes
from rvlab.raster.display import select_channels
from rvlab.raster.run_source import RunSource, source_by_scene
from rvlab.viewer.box_rows import boxes_tile, outcomes_tile
from rvlab.viewer.imagery import Imagery
from rvlab.viewer.tiles import Tile, TileRef, class_tile, image_tile, top_level

_T = TypeVar("_T")

IMAGE_LAYER, TRUTH = "image", "truth"
UNLABELLED_ID = 255  # sent for pixels that no area of interest holds; no class has that id


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
    source: RunSource | None = None


class Catalog:
    """Scenes and layers by name. Several threads may ask at once.

    Args:
        sources: The runs.
        titles: Of each, in the same order.
    """

    def __init__(self, sources: Sequence[RunSource], titles: Sequence[str]) -> None:
        pairs = list(zip(sources, titles, strict=True))
        self.sources = tuple(sources)
        listed = [Layer(TRUTH, "truth", "truth")]
        for kind in ("run", "errors"):
            listed += [Layer(f"{kind}:{i}", t, kind, one) for i, (one, t) in enumerate(pairs)]
        self.layers = {layer.key: layer for layer in listed}
        self._shown = source_by_scene(sources)
        self._labels: dict[str, raster.SceneLabels] = {}
        self._imagery: dict[str, Imagery] = {}
        self._lock = Lock()

    def scenes(self, group: str) -> list[str]:
        """The scenes of a group, of any run."""
        found = [s.id for one in self.sources for s in one.scenes if s.group == group]
        return list(dict.fromkeys(found))

    @property
    def all_scenes(self) -> list[str]:
        """The scenes of all groups."""
        return list(self._shown)

    def labels(self, scene: str) -> raster.SceneLabels:
        """The labels of a scene, of the run that shows it; shapes are read once."""
        one = self._display_source(scene)
        return self._cached(self._labels, scene, lambda: one.labels(scene))

    def has_boxes(self, scene: str) -> bool:
        """Whether its labels and predictions are rectangles, not pixels."""
        return self.labels(scene).scene.task in (CELLS, DETECTION)

    def scene_info(self, scene: str) -> dict[str, Any]:
        """What the page must know of a scene: size, place, classes, and which layers do not fit.

        Raises:
            NotFound: If there is no such scene.
            RasterError: If nobody knows its size.
        """
        grid, classes = self.labels(scene).grid, self._display_source(scene).classes
        t = grid.transform
        return {
            "scene": scene,
            "width": grid.width,
            "height": grid.height,
            "levels": top_level(grid.width, grid.height),
            "transform": [t.a, t.b, t.c, t.d, t.e, t.f] if grid.has_position else None,
            "crs": _crs_name(grid.crs),
            "metres": grid.metres_per_px,
            "classes": [
                {"name": name, "color": list(color)}
                for name, color in zip(classes.names, classes.colors, strict=True)
            ],
            "unlabelled": classes.unlabelled_id,
            "null": classes.null_id,
            "boxes": self.has_boxes(scene),
            "cells": self.labels(scene).scene.task == CELLS,
            "unfit": self._unavailable_layers(scene),
        }

    def tile(self, scene: str, key: str, spot: TileRef) -> Tile:
        """A tile of the image, or of a layer of class ids.

        Args:
            scene: Its name.
            key: `IMAGE_LAYER`, or the key of a layer.
            spot: Which tile.

        Raises:
            NotFound: If there is no such scene or layer.
            SpecError: If the scene has no such tile.
            RasterError: If it cannot be read.
        """
        labels = self.labels(scene)
        window = spot.window(labels.grid.width, labels.grid.height)
        max_px = spot.max_px(window)
        if key == IMAGE_LAYER:
            bands = select_channels(self._display_source(scene).config)
            seen = self._cached(self._imagery, scene, lambda: Imagery(labels.scene, bands))
            return image_tile(seen.tile(window, labels.full_window(), max_px=max_px))
        layer = self._layer(key)
        if layer.source is None:
            return class_tile([labels.truth(window, max_px=max_px)])
        run, own = self._require_comparable(layer.source, scene)
        guess = raster.prediction(run, own, window, labels.grid, max_px=max_px)
        if layer.kind == "run":
            return class_tile([guess])
        truth = labels.truth(window, max_px=max_px)
        inside = labels.labelled(window, max_px=max_px)
        known = truth if inside is None else np.where(inside, truth, UNLABELLED_ID)
        return class_tile([known.astype(np.uint8), guess])

    def box_rows(self, scene: str, key: str) -> Tile:
        """All boxes or cells of a layer.

        Raises:
            NotFound: If there is no such scene or layer.
            RasterError: If they cannot be read.
        """
        labels, layer = self.labels(scene), self._layer(key)
        if layer.source is None:
            return boxes_tile(truth=truth_boxes(labels))
        run, own = self._require_comparable(layer.source, scene)
        guess = predicted_boxes(run, own, labels)
        if layer.kind == "run":
            return boxes_tile(guess=guess)
        truth = truth_boxes(labels)
        return outcomes_tile(truth, guess, match_outcomes(truth, guess, run.task), run.task)

    def error_text(self, key: str, scene: str, error: RvlabError) -> str:
        """An error of a tile, without the address of the run that it is about."""
        layer = self.layers.get(key)
        return read.cell_error_text(
            (layer.source if layer else None) or self._display_source(scene), error
        )

    def _layer(self, key: str) -> Layer:
        if key not in self.layers:
            raise NotFound(f"There is no layer {key!r}.")
        return self.layers[key]

    def _display_source(self, scene: str) -> RunSource:
        if scene not in self._shown:
            raise NotFound(f"No run has a scene {scene!r}.")
        return self._shown[scene]

    def _require_comparable(self, one: RunSource, name: str) -> tuple[raster.Scene, raster.Classes]:
        place = GridRow(name, None, self._display_source(name), self.labels(name))
        return read.require_comparable(one, place)

    def _unavailable_layers(self, scene: str) -> dict[str, str]:
        """Why a layer has nothing to show of a scene, by its key: one pixel of each is read."""
        found: dict[str, str] = {}
        look = self.box_rows if self.has_boxes(scene) else self._read_one_pixel
        for key, layer in self.layers.items():
            try:
                if layer.kind != "errors":
                    look(scene, key)
                    continue
                # Of the truth and of a run that were looked at above.
                why = found.get(key.replace("errors", "run")) or found.get(TRUTH)
                found |= {key: why} if why else {}
            except RvlabError as exc:
                found[key] = self.error_text(key, scene, exc)
        return found

    def _read_one_pixel(self, scene: str, key: str) -> None:
        window, layer, labels = raster.Window(0, 0, 1, 1), self.layers[key], self.labels(scene)
        if layer.source is None:
            labels.truth(window)
        else:
            raster.prediction(*self._require_comparable(layer.source, scene), window, labels.grid)

    def _cached(self, kept: dict[str, _T], name: str, make: Any) -> _T:
        with self._lock:
            if name not in kept:
                kept[name] = make()
            return kept[name]


def error_legend() -> Mapping[str, Any]:
    """Colors that are the same in every scene."""
    return {
        "other": list(colorize.OTHER_COLOR),
        "errors": [{"name": name, "color": list(color)} for name, color in colorize.ERROR_COLORS],
        "unlabelled": UNLABELLED_ID,
    }


def _crs_name(crs: Any) -> str | None:
    """``EPSG:32611``, or nothing shorter than the whole definition."""
    if crs is None:
        return None
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else "a CRS without a number"
