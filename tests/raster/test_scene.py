from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rvlab.errors import NotFound, RasterError, RecordBroken
from rvlab.raster import (
    SceneLabels,
    Window,
    classes_from_config,
    find_scene,
    image,
    prediction,
    scenes_from_config,
)
from rvlab.raster.scene import SCENE_GROUPS, RunSource, source_by_scene
from tests.raster.samples import (
    CLASSES,
    CORNER,
    config,
    photo,
    raster_source,
    scene,
    write,
    write_scene,
)


def test_error_message_names_the_missing_field_of_a_scene():
    with pytest.raises(RecordBroken, match=r"a malformed scene: KeyError"):
        scenes_from_config(config([{"id": "a"}]))


def test_scenes_are_in_the_order_of_the_config():
    def one(name):
        return scene(name, f"/data/{name}.tif", f"/data/{name}-l.tif", f"/p/{name}")

    found = scenes_from_config(config([one("c"), one("b")], train=[one("z")], test=[one("a")]))
    assert [(s.id, s.group) for s in found] == [
        ("z", "train"),
        ("c", "validation"),
        ("b", "validation"),
        ("a", "test"),
    ]
    assert found[1].image.uris == ("/data/c.tif",)
    assert found[1].prediction_uri == "/p/c/labels.tif"
    with pytest.raises(NotFound, match=r"Unknown scene 'town_1'. Did you mean 'town-1'"):
        find_scene("town_1", scenes_from_config(config([one("town-1")])))


def test_find_scene_prefers_the_given_group_then_predicted_groups():
    def one(top):
        return scene("a", raster_source("/a.tif", bbox=[top, 0, top + 9, 9]), "/l.tif", "/p")

    found = scenes_from_config(config([one(20)], train=[one(10)], test=[one(30)]))
    train, validation, test = found
    assert find_scene("a", found) == validation
    assert find_scene("a", [train, test]) == test
    assert [find_scene("a", found, s.group) for s in found] == found
    assert find_scene("a", [train], "test") == train


def test_source_by_scene_prefers_runs_that_predicted_the_scene():
    def one(name, *groups):
        described = [
            [scene("a", "/a.tif", "/l.tif", "/p")] if g in groups else [] for g in SCENE_GROUPS
        ]
        train, validation, test = described
        found = tuple(scenes_from_config(config(validation, train=train, test=test)))
        return RunSource(name, f"/{name}", scenes=found)

    learnt, both, tested = one("x", "train"), one("y", "train", "validation"), one("z", "test")
    assert source_by_scene([learnt, both])["a"] is both
    assert source_by_scene([learnt, tested, both])["a"] is both
    assert source_by_scene([learnt])["a"] is learnt
    in_train = [replace(each, group="train") for each in (tested, both, learnt)]
    assert source_by_scene(in_train)["a"] is in_train[1]
    assert [each.scene("a").group for each in in_train] == ["test", "train", "train"]
    assert both.scene("a").group == SceneLabels.of_run(both, "a").scene.group == "validation"
    assert both.scene("b") is None
    with pytest.raises(NotFound, match=r"Unknown scene 'b'"):
        SceneLabels.of_run(both, "b")


@pytest.fixture
def one(tmp_path):
    """A scene on disk whose prediction is correct except for the first 10 rows."""
    return write_scene(tmp_path)


def open_scene(described):
    whole = config([described])
    return scenes_from_config(whole)[0], SceneLabels(
        scenes_from_config(whole)[0], classes_from_config(whole)
    )


def test_prediction_with_another_grid_raises_raster_error(one, tmp_path):
    described, ids, _ = one
    a, labels = open_scene(described)
    write(tmp_path / "p/labels.tif", ids[:50])
    with pytest.raises(RasterError, match=r"prediction has 128 × 50 px, the scene 128 × 96 px"):
        prediction(a, labels.classes, Window(0, 0, 9, 9), labels.grid)
    moved = CORNER.__class__(0.5, 0, CORNER.c + 40, 0, -0.5, CORNER.f)
    write(tmp_path / "p/labels.tif", ids, transform=moved)
    with pytest.raises(RasterError, match=r"starts at map coordinates .*, the scene at"):
        prediction(a, labels.classes, Window(0, 0, 9, 9), labels.grid)


def test_prediction_in_class_colors_is_converted_to_ids(one, tmp_path):
    described, ids, _ = one
    described["label_store"]["rgb"] = True
    a, labels = open_scene(described)
    colors = np.array(labels.classes.colors, np.uint8)
    write(tmp_path / "p/labels.tif", colors[ids].transpose(2, 0, 1))
    assert (prediction(a, labels.classes, labels.full_window(), labels.grid) == ids).all()


def test_prediction_of_another_task_raises_raster_error(one):
    whole = config([one[0]]) | {"type_hint": "object_detection_config"}
    a = scenes_from_config(whole)[0]
    labels = SceneLabels(a, classes_from_config(whole))
    with pytest.raises(RasterError, match=r"object_detection are not a raster of class ids"):
        prediction(a, labels.classes, Window(0, 0, 9, 9), labels.grid)


def test_labels_are_readable_without_the_image(one, tmp_path):
    described, ids, _ = one
    (tmp_path / "i.tif").unlink()
    _, labels = open_scene(described)
    assert (labels.truth() == ids).all()


def test_uint8_image_is_unchanged_and_follows_the_channel_order(one):
    described, ids, _ = one
    described["raster_source"]["channel_order"] = [2, 1, 0]
    a, _ = open_scene(described)
    chip = image(a, Window(3, 4, 20, 10))
    assert (chip.array == photo(ids)[::-1, 4:14, 3:23]).all()


def test_uint16_image_is_stretched_over_its_valid_pixels(tmp_path):
    deep = (np.arange(100)[:, None] * 600 + np.arange(100)).astype(np.uint16)
    deep[:20] = 65_535
    uri = write(tmp_path / "deep.tif", deep, nodata=65_535)
    a, _ = open_scene(scene("a", uri, uri, "/p"))
    chip = image(a, Window(0, 0, 100, 100))
    assert chip.array.shape == (3, 100, 100)
    assert (chip.array[0] == chip.array[2]).all()
    assert not chip.mask[:20].any()
    assert chip.array[0, 20, 0] == 0
    assert chip.array[0, 99, 99] == 255
    middle = chip.array[0, 58:62].mean()
    assert 110 < middle < 145


def test_constant_image_is_displayed_in_grey(tmp_path):
    uri = write(tmp_path / "flat.tif", np.full((9, 9), 700, np.uint16))
    a, _ = open_scene(scene("a", uri, uri, "/p"))
    assert (image(a, Window(0, 0, 9, 9)).array == 127).all()


def test_error_names_a_channel_that_does_not_exist(one):
    described, _, _ = one
    described["raster_source"]["channel_order"] = [0, 1, 5]
    a, _ = open_scene(described)
    with pytest.raises(RasterError, match=r"has 3 bands, and the config's channel_order is \(0, 1"):
        image(a, Window(0, 0, 9, 9))


def test_scenes_are_read_from_a_config_of_raster_vision(tmp_path):
    pytest.importorskip("rastervision.core")
    from rastervision.core.data import (
        ClassConfig,
        ClassInferenceTransformerConfig,
        DatasetConfig,
        GeoJSONVectorSourceConfig,
        RasterioSourceConfig,
        RasterizedSourceConfig,
        RasterizerConfig,
        SceneConfig,
        SemanticSegmentationLabelSourceConfig,
        SemanticSegmentationLabelStoreConfig,
    )

    vector = GeoJSONVectorSourceConfig(
        uris="/labels.json", transformers=[ClassInferenceTransformerConfig(default_class_id=1)]
    )
    source = RasterizedSourceConfig(
        vector_source=vector, rasterizer_config=RasterizerConfig(background_class_id=0)
    )
    made = SceneConfig(
        id="a",
        raster_source=RasterioSourceConfig(uris=["/image.tif"], channel_order=[0, 1, 2]),
        label_source=SemanticSegmentationLabelSourceConfig(raster_source=source),
        label_store=SemanticSegmentationLabelStoreConfig(uri="/predict/a"),
    )
    own = ClassConfig(names=CLASSES["names"], colors=["grey", "orange", "blue", "black"])
    dataset = DatasetConfig(class_config=own, train_scenes=[made], validation_scenes=[made])
    whole = {"type_hint": "semantic_segmentation_config", "dataset": dataset.dict()}
    first, second = scenes_from_config(whole)
    assert (first.group, second.group) == ("train", "validation")
    assert first.truth.uris == ("/labels.json",)
    assert [t["type_hint"] for t in first.truth.transformers] == [
        "class_inference_transformer",
        "buffer_transformer",
        "buffer_transformer",
    ]
    assert first.prediction_uri == "/predict/a/labels.tif"
    assert classes_from_config(whole).colors[1] == (255, 165, 0)
