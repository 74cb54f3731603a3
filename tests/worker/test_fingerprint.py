"""Tests that fingerprints are equal exactly where the scored data is equal."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from rvlab.errors import StoreError
from rvlab.store import S3Access, Store, register_store
from rvlab.store.server import Server
from rvlab.worker import fingerprint

CLASSES = {"names": ["background", "road"], "colors": ["black", "white"], "null_class": None}
GROUPS = {"validation": ["a", "b"]}


def config(folder: str) -> dict[str, Any]:
    def scene(name: str) -> dict[str, Any]:
        return {
            "id": name,
            "raster_source": {
                "type_hint": "rasterio_source",
                "uris": [f"{folder}/{name}.tif"],
                "channel_order": [0, 1, 2],
                "transformers": [{"type_hint": "stats_transformer", "stats_uri": "/gone"}],
                "bbox": None,
            },
            "label_source": {
                "type_hint": "semantic_segmentation_label_source",
                "raster_source": {
                    "type_hint": "rasterized_source",
                    "vector_source": {
                        "uris": f"{folder}/{name}.geojson",
                        "transformers": [{"type_hint": "buffer_transformer", "width": 3}],
                    },
                    "rasterizer_config": {"background_class_id": 0, "all_touched": False},
                },
            },
            "label_store": {"uri": f"{folder}/out/{name}"},
            "aoi_uris": [f"{folder}/{name}-aoi.geojson"],
        }

    return {
        "dataset": {"class_config": CLASSES, "validation_scenes": [scene("a"), scene("b")]},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scenes"
    made.mkdir()
    for number, name in enumerate(("a", "b")):
        write_image(made / f"{name}.tif", value=number)
        for ending in (".geojson", "-aoi.geojson"):
            (made / f"{name}{ending}").write_text(f"{name}{ending}")
    return made


def write_image(
    path: Path, *, value: int = 0, bands: int = 3, side: int = 8, west: float = 500_000.0
) -> None:
    pixels = np.full((bands, side, side), value, np.uint8)
    place = from_origin(west, 5_400_000, 0.5, 0.5)
    size = {"width": side, "height": side, "count": bands, "dtype": "uint8"}
    with rasterio.open(path, "w", "GTiff", crs="EPSG:32632", transform=place, **size) as file:
        file.write(pixels)


def eval_set(of: dict[str, Any]) -> str:
    table = fingerprint.fingerprint_scenes(of, GROUPS)
    return fingerprint.eval_sets(table, of["dataset"]["class_config"])["validation"]


def test_fingerprint_does_not_depend_on_the_location_of_files(
    folder: Path, tmp_path: Path, s3: Server, s3_access: S3Access
) -> None:
    first = eval_set(config(str(folder)))
    other = tmp_path / "moved"
    shutil.copytree(folder, other)
    assert eval_set(config(str(other))) == first
    store = register_store(Store(f"s3://{s3.bucket}/fingerprints", s3_access))
    for path in folder.iterdir():
        store.put(path.name, path.read_bytes())
    assert eval_set(config(store.uri)) == first


@pytest.mark.parametrize("name", ["a.tif", "b.geojson", "a-aoi.geojson"])
def test_fingerprint_depends_on_image_labels_and_areas(folder: Path, name: str) -> None:
    before = fingerprint.fingerprint_scenes(config(str(folder)), GROUPS).to_pylist()
    if name.endswith(".tif"):
        write_image(folder / name, value=7)
    else:
        (folder / name).write_text("other")
    after = fingerprint.fingerprint_scenes(config(str(folder)), GROUPS).to_pylist()
    column = {".tif": "image", ".geojson": "labels"}.get(name[1:], "aois")
    differ = [
        (row["scene"], key)
        for row, old in zip(after, before, strict=True)
        for key in row
        if row[key] != old[key]
    ]
    assert differ == [(name[0], column)]


def test_fingerprint_depends_on_label_options_and_classes(folder: Path) -> None:
    base = config(str(folder))
    wider, classes, fewer, cut = (copy.deepcopy(base) for _ in range(4))
    source = wider["dataset"]["validation_scenes"][0]["label_source"]["raster_source"]
    source["vector_source"]["transformers"][0]["width"] = 5
    classes["dataset"]["class_config"] = {**CLASSES, "null_class": "background"}
    fewer["dataset"]["validation_scenes"].pop()
    cut["dataset"]["validation_scenes"][0]["raster_source"]["bbox"] = [0, 0, 8, 4]
    assert len({eval_set(one) for one in (base, wider, classes, fewer, cut)}) == 5


def test_other_bands_on_the_same_grid_are_the_same_evaluation_set(folder: Path) -> None:
    before = fingerprint.fingerprint_scenes(config(str(folder)), GROUPS).to_pylist()
    first = eval_set(config(str(folder)))
    write_image(folder / "a.tif", value=9, bands=2)
    after = fingerprint.fingerprint_scenes(config(str(folder)), GROUPS).to_pylist()
    assert eval_set(config(str(folder))) == first
    assert [row["image"] == old["image"] for row, old in zip(after, before, strict=True)] == [
        False,
        True,
    ]


@pytest.mark.parametrize("other", [{"side": 9}, {"west": 500_000.25}])
def test_another_grid_is_another_evaluation_set(folder: Path, other: dict[str, Any]) -> None:
    first = eval_set(config(str(folder)))
    write_image(folder / "a.tif", **other)
    assert eval_set(config(str(folder))) != first
    write_image(folder / "a.tif", west=500_000.0 + 1e-9)  # a rounding error
    assert eval_set(config(str(folder))) == first


def test_rule_of_counting_is_part_of_the_evaluation_set(folder: Path) -> None:
    table = fingerprint.fingerprint_scenes(config(str(folder)), GROUPS)
    plain = fingerprint.eval_sets(table, CLASSES)
    assert fingerprint.eval_sets(table, CLASSES, {"test": "other"}) == plain
    assert fingerprint.eval_sets(table, CLASSES, {"validation": "other"}) != plain


def test_fingerprint_ignores_image_transformers(folder: Path) -> None:
    base = config(str(folder))
    other = copy.deepcopy(base)
    scene = other["dataset"]["validation_scenes"][0]
    scene["raster_source"] |= {"channel_order": [2, 1, 0], "transformers": []}
    scene["label_store"]["uri"] = "/elsewhere"
    other["dataset"]["class_config"] = {**CLASSES, "colors": ["red", "blue"]}
    other["dataset"]["validation_scenes"].reverse()
    assert eval_set(other) == eval_set(base)


def test_file_that_cannot_be_read_is_represented_by_its_address(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = eval_set(config(str(folder)))
    (folder / "a.tif").unlink()
    rows = fingerprint.fingerprint_scenes(config(str(folder)), GROUPS).to_pylist()
    assert [row["hashed_from"] for row in rows] == ["address", "content"]
    assert "a.tif cannot be read here, so the fingerprint of scene 'a'" in capsys.readouterr().out
    assert eval_set(config(str(folder))) != first


def test_large_image_is_hashed_in_blocks_and_large_labels_completely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "BLOCK_BYTES", 10)
    monkeypatch.setattr(fingerprint, "MAX_WHOLE_BYTES", 640)
    path = tmp_path / "large.tif"
    data = bytearray(i % 251 for i in range(5000))
    path.write_bytes(data)
    image, labels = (fingerprint.file_sha256(str(path), whole=whole) for whole in (False, True))
    for place, seen in ((0, True), (4999, True), (20, False)):
        other = bytearray(data)
        other[place] ^= 1
        path.write_bytes(other)
        assert (fingerprint.file_sha256(str(path), whole=False) != image) is seen
        assert fingerprint.file_sha256(str(path)) != labels
    path.write_bytes(data[:-1])
    assert fingerprint.file_sha256(str(path), whole=False) != image


def test_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone.tif"):
        fingerprint.file_sha256(str(tmp_path / "gone.tif"))


def test_config_is_not_changed(folder: Path) -> None:
    base = config(str(folder))
    before = json.dumps(base)
    fingerprint.fingerprint_scenes(base, GROUPS)
    assert json.dumps(base) == before
