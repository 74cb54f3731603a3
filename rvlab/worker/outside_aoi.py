"""Pixels outside areas of interest, for evaluations that do not record their number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rvlab.errors import RvlabError
from rvlab.raster.config import classes_from_config
from rvlab.raster.labels import SceneLabels
from rvlab.raster.scene import scenes_from_config
from rvlab.raster.window_counts import strips

STRIP_PX = 16_000_000


@dataclass(frozen=True)
class OutsideCounts:
    """Numbers of pixels outside the areas of interest.

    Args:
        pixels: Scene -> number of pixels.
        problems: Scene -> why its pixels could not be counted.
    """

    pixels: Mapping[str, int]
    problems: Mapping[str, str]


def count_outside_aoi(config: Mapping[str, Any], scenes: Iterable[str]) -> OutsideCounts:
    """Count the pixels of scenes outside their areas of interest.

    This reads the areas and the header of the image, not its pixels.

    Args:
        config: ``pipeline-config.json``.
        scenes: The ids of the scenes. Those without areas of interest have no count.
    """
    ids = set(scenes)
    pixels, problems = {}, {}
    try:
        # The last scene with an id counts, as in Raster Vision's eval.
        scenes_by_id = {scene.id: scene for scene in scenes_from_config(config) if scene.id in ids}
        classes = classes_from_config(config)
    except RvlabError as exc:
        return OutsideCounts({}, dict.fromkeys(ids, str(exc)))
    for name, scene in scenes_by_id.items():
        labels = SceneLabels(scene, classes)
        try:
            areas = labels.aoi()
            if areas is None or not len(areas.class_ids):
                continue
            grid, inside = labels.grid, 0
            for strip in strips(grid.width, grid.height, most_px=STRIP_PX):
                mask = labels.labelled(strip)
                inside += 0 if mask is None else int(mask.sum())
            pixels[name] = grid.width * grid.height - inside
        except RvlabError as exc:
            problems[name] = str(exc)
    return OutsideCounts(pixels, problems)
