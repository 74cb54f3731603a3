"""Older configs of Raster Vision are read as Raster Vision itself converts them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from rvlab.store.rv_config_upgrade import upgrade_rv_config

VECTORS: dict[str, Any] = {
    "type_hint": "geojson_vector_source",
    "uri": "/data/a.json",
    "default_class_id": 1,
    "class_id_to_filter": {"0": ["==", "type", "road"]},
    "line_bufs": {"0": 8.0},
    "point_bufs": None,
}


@pytest.mark.parametrize(
    "part",
    [VECTORS, {**VECTORS, "line_bufs": None, "class_id_to_filter": None, "default_class_id": None}],
)
def test_vector_source_is_converted_as_by_raster_vision(part: dict[str, Any]) -> None:
    from rastervision.core.data.vector_source import geojson_vector_source_config as geojson
    from rastervision.core.data.vector_source import vector_source_config as base

    theirs = base.vector_source_config_upgrader(copy.deepcopy(part), 4)
    theirs = geojson.geojson_vector_source_config_upgrader(theirs, 7)
    ours = upgrade_rv_config(part)
    assert ours["uris"] == theirs["uris"]
    for mine, right in zip(ours["transformers"], theirs["transformers"], strict=True):
        for name, value in mine.items():
            assert json.dumps(right[name]) == json.dumps(value), name


def test_present_config_is_unchanged() -> None:
    config = {
        "dataset": {
            "scenes": [
                {"type_hint": "rasterio_source", "uris": ["a"], "bbox": [0, 0, 8, 8]},
                {"type_hint": "geojson_vector_source", "uris": "b", "transformers": []},
                {"type_hint": "geojson_vector_source", "uris": "b"},
                {"type_hint": "semantic_segmentation_label_source", "raster_source": {"x": None}},
            ]
        },
        "plain": [1, 2.5, None, "text", True],
    }
    before = json.dumps(config)
    assert upgrade_rv_config(config) == config
    assert json.dumps(config) == before


def test_vector_source_of_0_20_has_the_same_transformers() -> None:
    steps = [{"type_hint": "buffer_transformer", "geom_type": "LineString", "default_buf": 3}]
    part = {"type_hint": "geojson_vector_source", "uri": "a", "transformers": steps}
    assert upgrade_rv_config(part) == {
        "type_hint": "geojson_vector_source",
        "uris": "a",
        "transformers": steps,
    }


def test_extent_becomes_the_bbox() -> None:
    part: dict[str, Any] = {"type_hint": "rasterio_source", "uris": ["a"], "bbox": None}
    part["extent"] = [0, 1, 8, 9]
    assert upgrade_rv_config(part)["bbox"] == [0, 1, 8, 9]
    assert "extent" not in upgrade_rv_config(part)


def test_crop_by_shares_is_marked_as_unsupported() -> None:
    part = {"type_hint": "rasterio_source", "uris": ["a"]}
    cropped = upgrade_rv_config({**part, "extent_crop": {"skip_top": 0.8}})
    assert cropped["type_hint"] == "rasterio_source with extent_crop"
    assert upgrade_rv_config({**part, "extent_crop": None})["type_hint"] == "rasterio_source"


def test_colors_of_labels_become_a_transformer() -> None:
    colors = {"names": ["a", "b"], "colors": ["red", "blue"]}
    part = {
        "type_hint": "semantic_segmentation_label_source",
        "rgb_class_config": colors,
        "raster_source": {"type_hint": "rasterio_source", "uris": ["a"], "transformers": []},
    }
    step = {"type_hint": "rgb_class_transformer", "class_config": colors}
    assert upgrade_rv_config(part)["raster_source"]["transformers"] == [step]
    assert upgrade_rv_config({**part, "rgb_class_config": None})["raster_source"] == {
        "type_hint": "rasterio_source",
        "uris": ["a"],
        "transformers": [],
    }
