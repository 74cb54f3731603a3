"""Tests of the town files: images, class ids, and outlines that match the image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rastervision.core")

import rasterio
from rasterio.features import rasterize
from rasterio.warp import transform_geom
from scipy.ndimage import label

from rvlab.recipes import town, town_scenes

PX = 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write scenes with both kinds of labels to one folder."""
    made = tmp_path_factory.mktemp("towns")
    for kind in (town_scenes.CLASS_IDS, town_scenes.BUILDINGS):
        town_scenes.write_scenes(
            (str(made), str(made)), counts={"train": 2, "test": 1}, px=PX, seed=5, kind=kind
        )
    return made / f"town-v1-seed5-{PX}px"


def outlines(path: Path, crs: Any) -> list[dict[str, Any]]:
    features = json.loads(path.read_text())["features"]
    assert {f["properties"]["class_name"] for f in features} == {"building"}
    return [transform_geom("EPSG:4326", crs, f["geometry"]) for f in features]


def test_files_are_listed_by_group_with_the_requested_kind(tmp_path: Path) -> None:
    found = town_scenes.write_scenes(
        (str(tmp_path), None),
        counts={"train": 1, "validation": 2},
        px=64,
        seed=0,
        kind=town_scenes.BUILDINGS,
    )
    assert {group: [f.name for f in files] for group, files in found.items()} == {
        "train": ["train-0"],
        "validation": ["validation-0", "validation-1"],
        "test": [],
    }
    for file in (f for files in found.values() for f in files):
        assert Path(file.image).is_file()
        assert Path(file.labels).is_file()
        assert file.labels.endswith(f"{file.name}-buildings.geojson")


@pytest.mark.parametrize("name", ["train-0", "train-1", "test-0"])
def test_outlines_cover_the_pixels_that_were_drawn_as_buildings(folder: Path, name: str) -> None:
    with rasterio.open(folder / f"{name}-labels.tif") as labels:
        drawn = labels.read(1) == town.BUILDING
        shapes = outlines(folder / f"{name}-buildings.geojson", labels.crs)
        outlined = rasterize(shapes, drawn.shape, transform=labels.transform).astype(bool)
    assert (outlined & ~drawn).sum() <= 2
    left_out, count = label(drawn & ~outlined)
    for number in range(1, count + 1):
        rows, cols = np.nonzero(left_out == number)
        at_edge = {0, PX - 1} & {*rows.tolist(), *cols.tolist()}
        assert len(rows) <= (town_scenes.MIN_BUILDING_PX2 if at_edge else 2), (
            "only slivers at the edge"
        )
    assert drawn.sum() > 0.05 * drawn.size


def test_building_is_one_outline_and_a_sliver_is_omitted() -> None:
    scene = town.render_scene(PX, 5, (0, 0))
    found = town_scenes.footprints(scene, PX)
    assert 5 < len(found) <= len(scene.buildings)
    assert all(shape.geom_type == "Polygon" and shape.is_valid for shape in found)
    assert min(shape.area for shape in found) >= town_scenes.MIN_BUILDING_PX2
    bounds = np.array([shape.bounds for shape in found])
    assert bounds.min() >= 0
    assert bounds.max() <= PX
    assert {len(shape.exterior.coords) for shape in found} > {5}, "some have a wing"


def test_recorded_recipes_get_image_and_labels() -> None:
    image, labels = town.render_image_and_labels(96, 3, (1, 2))
    drawn = town.render_scene(96, 3, (1, 2))
    assert (image == drawn.image).all()
    assert (labels == drawn.labels).all()


def test_same_seed_writes_the_same_outlines(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "again.geojson"
    town_scenes.write_scene_file(
        path, group="train", number=1, px=PX, seed=5, what=town_scenes.BUILDINGS
    )
    assert path.read_bytes() == (folder / "train-1-buildings.geojson").read_bytes()
