"""Files of the synthetic towns in a store: images, class ids and building outlines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from rvlab.recipes import data_dir, geotiff, town

CRS = "EPSG:32632"
TOWN_GROUPS = ("train", "validation", "test")
CLASS_IDS, BUILDINGS = "labels.tif", "buildings.geojson"
"""The kinds of labels, which are also the suffixes of their file names."""

MIN_BUILDING_PX2 = 200.0
"""Area, in square pixels, that a building cut by the edge of a scene must have to be in BUILDINGS.

A smaller part, below 18 square metres of roof, would not be mapped by a person.
"""


@dataclass(frozen=True)
class SceneFiles:
    """The files of a scene in the store.

    Args:
        name: Such as ``validation-0``.
        image: URI of an RGB GeoTIFF.
        labels: URI of its labels, of the requested kind.
    """

    name: str
    image: str
    labels: str


def write_scenes(
    folder_of: tuple[str, str | None],
    *,
    counts: Mapping[str, int],
    px: int,
    seed: int,
    kind: str,
) -> dict[str, list[SceneFiles]]:
    """Draw the scenes that are missing in the store.

    Args:
        folder_of: A recipe's ``root_uri`` and ``data_uri``.
        counts: Number of scenes by group of TOWN_GROUPS; 0 for a missing group.
        px: Side of a scene.
        seed: The seed of the whole data set.
        kind: CLASS_IDS or BUILDINGS.

    Returns:
        By group, its scenes.

    Raises:
        StoreError: If the folder cannot be read or written.
    """
    names = {group: [f"{group}-{i}" for i in range(counts.get(group, 0))] for group in TOWN_GROUPS}
    makers = {}
    for group, number in ((g, i) for g in TOWN_GROUPS for i in range(len(names[g]))):
        write_file = partial(write_scene_file, group=group, number=number, px=px, seed=seed)
        makers[f"{group}-{number}.tif"] = partial(write_file, what="image")
        makers[f"{group}-{number}-{kind}"] = partial(write_file, what=kind)
    folder = data_dir.data_folder(*folder_of, f"town-v{town.VERSION}-seed{seed}-{px}px")
    uris = data_dir.make_missing(folder, makers)
    return {
        group: [
            SceneFiles(name, uris[f"{name}.tif"], uris[f"{name}-{kind}"]) for name in names[group]
        ]
        for group in TOWN_GROUPS
    }


def write_scene_file(path: Path, *, group: str, number: int, px: int, seed: int, what: str) -> None:
    """Draw one scene and write its image or its labels.

    Args:
        path: The file to write.
        group: One of TOWN_GROUPS.
        number: The number of the scene in its group, from 0.
        px: Side of the scene.
        seed: The seed of the whole data set.
        what: ``image``, CLASS_IDS or BUILDINGS.
    """
    from rasterio import Affine

    row = TOWN_GROUPS.index(group)
    scene = cached_scene(px, seed, (row, number))
    side_m = (px + 64) * town.GSD_M
    west, north = 600_000 + number * side_m, 5_400_000 - row * side_m
    transform = Affine(town.GSD_M, 0.0, west, 0.0, -town.GSD_M, north)
    if what == "image":
        geotiff.write_image(path, scene.image, crs=CRS, transform=transform)
    elif what == CLASS_IDS:
        geotiff.write_labels(
            path, scene.labels, crs=CRS, transform=transform, colors=town.TOWN_COLORS
        )
    else:
        path.write_text(json.dumps(_features(footprints(scene, px), transform)))


def footprints(scene: town.RenderedScene, px: int) -> list[Any]:
    """Return the outlines of the buildings, clipped to the scene.

    Args:
        scene: The scene.
        px: Its side.

    Returns:
        Shapely polygons in pixels from the upper left corner, x to the right and y down; without
        parts of buildings smaller than MIN_BUILDING_PX2.
    """
    from shapely import MultiPolygon, Polygon, box, union_all

    extent = box(0, 0, px, px)
    polygons = []
    for parts in scene.buildings:
        shapes = [Polygon([(x + px / 2, y + px / 2) for x, y in part.corners()]) for part in parts]
        inside = union_all(shapes).intersection(extent)
        parts_inside = inside.geoms if isinstance(inside, MultiPolygon) else [inside]
        polygons += [shape for shape in parts_inside if shape.area >= MIN_BUILDING_PX2]
    return polygons


def _features(shapes: list[Any], transform: Any) -> dict[str, Any]:
    """Return GeoJSON in longitude and latitude, with nine decimals (0.1 mm)."""
    from rasterio.warp import transform as project

    features = []
    for shape in shapes:
        xs, ys = zip(*(transform @ point for point in shape.exterior.coords), strict=True)
        ring = zip(*project(CRS, "EPSG:4326", xs, ys), strict=True)
        features.append(
            {
                "type": "Feature",
                "properties": {"class_name": town.TOWN_CLASSES[town.BUILDING]},
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[round(x, 9), round(y, 9)] for x, y in ring]],
                },
            }
        )
    return {"type": "FeatureCollection", "features": features}


# A scene's image and labels are written one after the other; this renders the scene once.
cached_scene = lru_cache(maxsize=1)(town.render_scene)
