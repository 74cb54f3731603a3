"""Scenes and layers that a viewer can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rvlab import raster
from rvlab.errors import NotFound, RvlabError
from rvlab.plot._grid import colorize, read
from rvlab.plot._grid.colorize import choose_error_colors
from rvlab.plot._grid.options import GridRow
from rvlab.raster.boxes import (
    BOX_TASKS,
    CELLS,
    match_outcomes,
    predicted_boxes,
    truth_boxes,
)
from rvlab.raster.display import select_channels
from rvlab.raster.scene import RunSource, source_by_scene
from rvlab.viewer.box_rows import boxes_tile, outcomes_tile
from rvlab.viewer.imagery import Imagery
from rvlab.viewer.tiles import Tile, TileRef, class_tile, image_tile, top_level

_T = TypeVar("_T")

IMAGE_LAYER, TRUTH = "image", "truth"
UNLABELLED_ID = 255  # sent to the errors layer for pixels outside the areas of interest
OUTSIDE_ID = 254  # sent to the other layers for these pixels


@dataclass(frozen=True)
class Layer:
    """A layer that one side of the map can show.

    Args:
        key: Identifier in messages.
        title: Title for the user.
        kind: ``truth``, ``run`` or ``errors``.
        source: The run; None for the labels, which come from the run that displays the scene.
    """

    key: str
    title: str
    kind: str
    source: RunSource | None = None


class Catalog:
    """Scenes and layers by name. Thread-safe.

    Args:
        sources: The runs.
        titles: Titles of the runs, in the same order.
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
        """Return the scenes of a group, of all runs."""
        found = [scene.id for one in self.sources for scene in one.in_group(group)]
        return list(dict.fromkeys(found))

    @property
    def all_scenes(self) -> list[str]:
        """The scenes of all groups."""
        return list(self._shown)

    def labels(self, scene: str) -> raster.SceneLabels:
        """Return the labels of a scene, from the run that displays it; shapes are read once."""
        one = self._display_source(scene)
        return self._cached(self._labels, scene, lambda: raster.SceneLabels.of_run(one, scene))

    def has_boxes(self, scene: str) -> bool:
        """Return whether labels and predictions of a scene are boxes or cells, not pixels."""
        return self.labels(scene).scene.task in BOX_TASKS

    def scene_info(self, scene: str) -> dict[str, Any]:
        """Return the scene's metadata for the page: size, georeference, classes, unusable layers.

        Raises:
            NotFound: If the scene is unknown.
            RasterError: If its size cannot be read.
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
        """Read a tile of the image, or of a layer of class ids.

        Args:
            scene: Scene id.
            key: `IMAGE_LAYER`, or the key of a layer.
            spot: Position of the tile.

        Raises:
            NotFound: If the scene or layer is unknown.
            SpecError: If the scene does not have the tile.
            RasterError: If the tile cannot be read.
        """
        labels = self.labels(scene)
        window = spot.window(labels.grid.width, labels.grid.height)
        max_px = spot.max_px(window)
        if key == IMAGE_LAYER:
            bands = select_channels(self._display_source(scene).config)
            seen = self._cached(self._imagery, scene, lambda: Imagery(labels.scene, bands))
            chip = seen.tile(window, labels.full_window(), max_px=max_px)
            inside = labels.labelled(window, max_px=max_px)
            if inside is not None:
                pixels = np.moveaxis(chip.array, 0, -1)
                shaded = colorize.shade_outside(pixels, pixels, inside)
                chip = replace(chip, array=np.moveaxis(shaded, -1, 0))
            return image_tile(chip)
        layer = self._layer(key)
        if layer.source is None:
            return class_tile([_inside_only(labels, labels.truth(window, max_px=max_px), window)])
        run, own = self._require_comparable(layer.source, scene)
        guess = raster.prediction(run, own, window, labels.grid, max_px=max_px)
        if layer.kind == "run":
            return class_tile([_inside_only(labels, guess, window)])
        truth = labels.truth(window, max_px=max_px)
        inside = labels.labelled(window, max_px=max_px)
        known = truth if inside is None else np.where(inside, truth, UNLABELLED_ID)
        return class_tile([known.astype(np.uint8), guess])

    def box_rows(self, scene: str, key: str) -> Tile:
        """Read all boxes or cells of a layer.

        Raises:
            NotFound: If the scene or layer is unknown.
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
        """Return the message of a tile's error, without the address of its run."""
        layer = self.layers.get(key)
        return read.cell_error_text(
            (layer.source if layer else None) or self._display_source(scene), error
        )

    def _layer(self, key: str) -> Layer:
        if key not in self.layers:
            raise NotFound(f"Unknown layer {key!r}.")
        return self.layers[key]

    def _display_source(self, scene: str) -> RunSource:
        if scene not in self._shown:
            raise NotFound(f"No run has a scene {scene!r}.")
        return self._shown[scene]

    def _require_comparable(self, one: RunSource, name: str) -> tuple[raster.Scene, raster.Classes]:
        place = GridRow(name, None, self._display_source(name), self.labels(name))
        return read.require_comparable(one, place)

    def _unavailable_layers(self, scene: str) -> dict[str, str]:
        """Return the reasons why layers cannot show a scene, by key; read one pixel of each."""
        found: dict[str, str] = {}
        look = self.box_rows if self.has_boxes(scene) else self._read_one_pixel
        for key, layer in self.layers.items():
            try:
                if layer.kind != "errors":
                    look(scene, key)
                    continue
                # An errors layer has the reasons of its run and of the labels, found above.
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

    def _cached(self, cache: dict[str, _T], name: str, make: Any) -> _T:
        with self._lock:
            if name not in cache:
                cache[name] = make()
            return cache[name]


def _inside_only(
    labels: raster.SceneLabels, ids: NDArray[np.uint8], window: raster.Window
) -> NDArray[np.uint8]:
    """Replace the ids of pixels outside the areas of interest by `OUTSIDE_ID`."""
    inside = labels.labelled(window, max_px=max(ids.shape))
    return ids if inside is None else np.where(inside, ids, np.uint8(OUTSIDE_ID))


def error_legend(classes: Sequence[raster.Classes]) -> Mapping[str, Any]:
    """Return the colors of errors and other values, which are the same in every scene.

    Args:
        classes: The classes of the runs; colors of errors differ from theirs.
    """
    shown = {color for own in classes for color in own.colors}
    names = [name for name, _ in colorize.ERROR_COLORS]
    errors = zip(names, choose_error_colors(shown), strict=True)
    every = raster.Classes(tuple(map(str, shown)), tuple(shown))
    return {
        "other": list(colorize.choose_color_of_unknown_ids(every)),
        "errors": [{"name": name, "color": list(color)} for name, color in errors],
        "unlabelled": UNLABELLED_ID,
        "outside": OUTSIDE_ID,
    }


def _crs_name(crs: Any) -> str | None:
    """Return a short name of a CRS, such as ``EPSG:32611``."""
    if crs is None:
        return None
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else "CRS without EPSG code"
