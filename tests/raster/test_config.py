"""Classes and sources of Raster Vision's config."""

from __future__ import annotations

import pytest

from rvlab.errors import RecordBroken
from rvlab.raster import Window, scenes_from_config
from rvlab.raster.config import classes_from_config
from tests.raster.samples import config, raster_source, scene


def test_classes_have_ids_colors_and_a_null_class():
    found = classes_from_config(config([]))
    assert found.names == ("background", "building", "road", "null")
    assert found.colors == ((217, 217, 217), (255, 165, 0), (70, 117, 180), (0, 0, 0))
    assert found.null_id == 3
    assert classes_from_config({"names": ["a"], "colors": [[1.0, 0.5, 0.0]]}).colors == (
        (255, 128, 0),
    )
    assert classes_from_config({"names": ["a", "null"], "colors": None}).null == "null"


def test_error_messages_name_the_invalid_field_of_classes():
    with pytest.raises(RecordBroken, match=r"has no classes"):
        classes_from_config({})
    with pytest.raises(RecordBroken, match=r"a color 'oranje'"):
        classes_from_config({"names": ["a"], "colors": ["oranje"]})
    with pytest.raises(RecordBroken, match=r"has 2 classes, 1 colors"):
        classes_from_config({"names": ["a", "b"], "colors": ["red"]})


@pytest.mark.parametrize(
    "color", [[1, 2], [], 7, None, [1, "x", 2], ["1", "2", "3"], {}, [1, float("inf"), 2]]
)
def test_invalid_color_raises_record_broken(color):
    with pytest.raises(RecordBroken, match=r"a color .* must be three numbers"):
        classes_from_config({"names": ["a"], "colors": [color]})


@pytest.mark.parametrize(
    "bbox",
    [
        *([0, 0, 40], [0, 0, 40, 40, 40], [], {}, ["0", "0", "9", "9"], 7),
        *([0, 0, 0.5, 40], [0, 0, None, 40], [0, 0, float("nan"), 9], [0, 0, 10**400, 9]),
        *([0, 0, 0, 40], [40, 0, 10, 40]),
    ],
)
def test_invalid_bbox_raises_record_broken(bbox):
    described = scene("a", raster_source("/a.tif", bbox=bbox), "/l.tif", "/p")
    with pytest.raises(RecordBroken, match=r"a malformed scene"):
        scenes_from_config(config([described]))


def test_a_bbox_is_top_left_bottom_right():
    described = scene("a", raster_source("/a.tif", bbox=[10, 20, 40, 80]), "/l.tif", "/p")
    assert scenes_from_config(config([described]))[0].image.bbox == Window(20, 10, 60, 30)
