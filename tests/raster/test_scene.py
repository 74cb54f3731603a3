from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rvlab.errors import NotFound, RasterError, RecordBroken
from rvlab.raster import (
    Classes,
    SceneLabels,
    Window,
    classes_from_config,
    confusion_matrix,
    find_scene,
    image,
    prediction,
    scenes_from_config,
)
from rvlab.raster.run_source import RunSource, source_by_scene
from rvlab.raster.scene import SCENE_GROUPS
from rvlab.raster.score_prediction import (
    MAX_SCORED_PX,
    predicted_ids,
    score_prediction,
    truth_ids,
    try_read,
)
from tests.raster.samples import CLASSES, CORNER, config, photo, raster_source, scene, town, write


def test_classes_have_ids_colors_and_a_null_class():
    found = classes_from_config(config([]))
    assert found.names == ("background", "building", "road", "null")
    assert found.colors == ((217, 217, 217), (255, 165, 0), (70, 117, 180), (0, 0, 0))
    assert found.null_id == 3
    assert classes_from_config({"names": ["a"], "colors": [[1.0, 0.5, 0.0]]}).colors == (
        (255, 128, 0),
    )
    assert classes_from_config({"names": ["a", "null"], "colors": None}).null == "null"


def test_broken_configs_say_what_is_wrong():
    with pytest.raises(RecordBroken, match=r"names no classes"):
        classes_from_config({})
    with pytest.raises(RecordBroken, match=r"a color 'oranje'"):
        classes_from_config({"names": ["a"], "colors": ["oranje"]})
    with pytest.raises(RecordBroken, match=r"has 2 classes, 1 colors"):
        classes_from_config({"names": ["a", "b"], "colors": ["red"]})
    with pytest.raises(RecordBroken, match=r"a scene that no Raster Vision writes: KeyError"):
        scenes_from_config(config([{"id": "a"}]))


def test_scenes_keep_the_order_of_the_config():
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
    with pytest.raises(NotFound, match=r"no scene 'town_1'. Did you mean 'town-1'"):
        find_scene("town_1", scenes_from_config(config([one("town-1")])))


def test_a_scene_of_several_groups_is_the_predicted_one_unless_asked():
    def one(top):
        return scene("a", raster_source("/a.tif", bbox=[top, 0, top + 9, 9]), "/l.tif", "/p")

    found = scenes_from_config(config([one(20)], train=[one(10)], test=[one(30)]))
    train, validation, test = found
    assert find_scene("a", found) == validation
    assert find_scene("a", [train, test]) == test
    assert [find_scene("a", found, s.group) for s in found] == found
    assert find_scene("a", [train], "test") == train


def test_each_scene_is_shown_by_a_run_that_predicted_it():
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
    asked = [replace(each, group="train") for each in (tested, both, learnt)]
    assert source_by_scene(asked)["a"] is asked[1]
    assert [each.scene("a").group for each in asked] == ["test", "train", "train"]
    assert both.scene("a").group == both.labels("a").scene.group == "validation"
    assert both.scene("b") is None
    with pytest.raises(NotFound, match=r"no scene 'b'"):
        both.labels("b")


@pytest.mark.parametrize(
    "bbox",
    [
        *([0, 0, 40], [0, 0, 40, 40, 40], [], {}, ["0", "0", "9", "9"], 7),
        *([0, 0, 0.5, 40], [0, 0, None, 40], [0, 0, float("nan"), 9], [0, 0, 10**400, 9]),
        *([0, 0, 0, 40], [40, 0, 10, 40]),
    ],
)
def test_a_bbox_that_is_none_is_a_broken_record(bbox):
    described = scene("a", raster_source("/a.tif", bbox=bbox), "/l.tif", "/p")
    with pytest.raises(RecordBroken, match=r"a scene that no Raster Vision writes"):
        scenes_from_config(config([described]))


@pytest.mark.parametrize(
    "color", [[1, 2], [], 7, None, [1, "x", 2], ["1", "2", "3"], {}, [1, float("inf"), 2]]
)
def test_a_color_that_is_none_is_a_broken_record(color):
    with pytest.raises(RecordBroken, match=r"a color .* is not three numbers"):
        classes_from_config({"names": ["a"], "colors": [color]})


def test_a_bbox_is_top_left_bottom_right():
    described = scene("a", raster_source("/a.tif", bbox=[10, 20, 40, 80]), "/l.tif", "/p")
    assert scenes_from_config(config([described]))[0].image.bbox == Window(20, 10, 60, 30)


@pytest.fixture
def one(tmp_path):
    """A scene on the disk, its prediction perfect but for the first 10 rows."""
    ids = town()
    guess = ids.copy()
    guess[:10] = 1
    write(tmp_path / "p/labels.tif", guess)
    described = scene(
        "a", write(tmp_path / "i.tif", photo(ids)), write(tmp_path / "l.tif", ids), tmp_path / "p"
    )
    return described, ids, guess


def predicted(run, own, window, labels, known, *, max_px):
    """A prediction read and scored, as the grid does both for a cell."""
    ids = predicted_ids(run, own, window, labels, max_px=max_px)
    return score_prediction(ids, own, window, labels, known, max_px=max_px)


def opened(described):
    whole = config([described])
    return scenes_from_config(whole)[0], SceneLabels(
        scenes_from_config(whole)[0], classes_from_config(whole)
    )


def test_a_prediction_is_scored_on_all_pixels_of_the_window(one):
    from sklearn.metrics import f1_score

    described, ids, guess = one
    a, labels = opened(described)
    window = Window(10, 2, 60, 50)
    known = truth_ids(labels, window, max_px=8)
    found = predicted(a, labels.classes, window, labels, known, max_px=8)
    assert found.exact
    assert max(found.ids.shape) == 8
    cut = window.slices()
    wanted = f1_score(ids[cut].ravel(), guess[cut].ravel(), average="macro")
    assert found.f1 == pytest.approx(wanted)


def test_only_a_null_class_named_null_is_left_out_of_the_score(one, tmp_path):
    from sklearn.metrics import f1_score

    described, ids, guess = one
    names = {"names": ["background", "building", "road"], "colors": ["grey", "red", "blue"]}
    whole = config([described], classes=names | {"null_class": "background"})
    labels = SceneLabels(scenes_from_config(whole)[0], classes_from_config(whole))
    found = predicted(
        labels.scene, labels.classes, labels.full_window(), labels, labels.truth(), max_px=64
    )
    assert found.f1 == pytest.approx(f1_score(ids.ravel(), guess.ravel(), average="macro"))

    ids[30:60] = 3  # nobody labelled these; what is predicted there is neither right nor wrong
    write(tmp_path / "l.tif", ids)
    a, labels = opened(described)
    found = predicted(a, labels.classes, labels.full_window(), labels, labels.truth(), max_px=64)
    known = ids < 3
    assert found.f1 == pytest.approx(f1_score(ids[known], guess[known], average="macro"))


def test_a_huge_window_is_scored_on_what_is_shown_and_says_so(one, monkeypatch):
    a, labels = opened(one[0])
    monkeypatch.setattr("rvlab.raster.score_prediction.MAX_SCORED_PX", 100)
    whole = labels.full_window()
    found = predicted(
        a, labels.classes, whole, labels, truth_ids(labels, whole, max_px=16), max_px=16
    )
    assert not found.exact
    assert found.ids.shape == (12, 16)
    assert MAX_SCORED_PX > 2048 * 2048


def test_without_truth_there_is_a_prediction_and_no_score(one):
    a, labels = opened(one[0])
    error = try_read(SceneLabels(scenes_from_config(config([one[0] | {"label_source": None}]))[0],
                                labels.classes).truth)  # fmt: skip
    assert isinstance(error, RasterError)
    assert predicted(a, labels.classes, labels.full_window(), labels, error, max_px=64).f1 is None


def test_only_the_areas_of_interest_count(one, tmp_path):
    from tests.raster.test_truth import box, feature, geojson

    described, _, _ = one
    area = geojson(tmp_path / "aoi.json", [feature("Polygon", box(0, 12, 120, 80))])
    a, labels = opened(described | {"aoi_uris": [area]})
    window = labels.full_window()
    known = truth_ids(labels, window, max_px=64)
    assert predicted(a, labels.classes, window, labels, known, max_px=64).f1 == 1.0


def test_confusion_has_truth_in_rows():
    two = Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)))
    known = np.array([[0, 0, 1], [1, 1, 9]], np.uint8)
    guess = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    assert confusion_matrix(known, guess, two).tolist() == [[1, 1], [1, 2]]


@pytest.mark.parametrize("count", [2, 16, 17])
def test_confusion_counts_ids_of_no_class_and_pixels_outside_nowhere(count):
    own = Classes(tuple(map(str, range(count))), ((0, 0, 0),) * count)
    rng = np.random.default_rng(count)
    known, guess = rng.integers(0, count + 2, (2, 60, 70)).astype(np.uint8)
    inside = rng.random((60, 70)) < 0.5
    wanted = np.zeros((count, count), int)
    for true, said in zip(known[inside].tolist(), guess[inside].tolist(), strict=True):
        if true < count and said < count:
            wanted[true, said] += 1
    assert (confusion_matrix(known, guess, own, inside) == wanted).all()
    assert (confusion_matrix(known.astype(int), guess.astype(int), own, inside) == wanted).all()
    assert confusion_matrix(known, guess, own, np.zeros_like(inside)).sum() == 0


def test_a_prediction_on_other_pixels_is_refused(one, tmp_path):
    described, ids, _ = one
    a, labels = opened(described)
    write(tmp_path / "p/labels.tif", ids[:50])
    with pytest.raises(RasterError, match=r"prediction has 128 × 50 px, the scene 128 × 96 px"):
        prediction(a, labels.classes, Window(0, 0, 9, 9), labels.grid)
    moved = CORNER.__class__(0.5, 0, CORNER.c + 40, 0, -0.5, CORNER.f)
    write(tmp_path / "p/labels.tif", ids, transform=moved)
    with pytest.raises(RasterError, match=r"begins at .* on the ground, the scene at"):
        prediction(a, labels.classes, Window(0, 0, 9, 9), labels.grid)


def test_a_prediction_in_class_colors_becomes_ids(one, tmp_path):
    described, ids, _ = one
    described["label_store"]["rgb"] = True
    a, labels = opened(described)
    colors = np.array(labels.classes.colors, np.uint8)
    write(tmp_path / "p/labels.tif", colors[ids].transpose(2, 0, 1))
    assert (prediction(a, labels.classes, labels.full_window(), labels.grid) == ids).all()


def test_other_tasks_say_that_they_are_not_drawn(one):
    whole = config([one[0]]) | {"type_hint": "object_detection_config"}
    a = scenes_from_config(whole)[0]
    labels = SceneLabels(a, classes_from_config(whole))
    with pytest.raises(RasterError, match=r"object_detection are no raster of class ids"):
        prediction(a, labels.classes, Window(0, 0, 9, 9), labels.grid)


def test_a_lost_image_leaves_the_labels_to_be_seen(one, tmp_path):
    described, ids, _ = one
    (tmp_path / "i.tif").unlink()
    _, labels = opened(described)
    assert (labels.truth() == ids).all()


def test_uint8_is_shown_as_it_is_in_the_order_of_the_channels(one):
    described, ids, _ = one
    described["raster_source"]["channel_order"] = [2, 1, 0]
    a, _ = opened(described)
    chip = image(a, Window(3, 4, 20, 10))
    assert (chip.array == photo(ids)[::-1, 4:14, 3:23]).all()


def test_deep_imagery_is_stretched_over_its_valid_pixels(tmp_path):
    deep = (np.arange(100)[:, None] * 600 + np.arange(100)).astype(np.uint16)
    deep[:20] = 65_535
    uri = write(tmp_path / "deep.tif", deep, nodata=65_535)
    a, _ = opened(scene("a", uri, uri, "/p"))
    chip = image(a, Window(0, 0, 100, 100))
    assert chip.array.shape == (3, 100, 100)
    assert (chip.array[0] == chip.array[2]).all()
    assert not chip.mask[:20].any()
    assert chip.array[0, 20, 0] == 0
    assert chip.array[0, 99, 99] == 255
    middle = chip.array[0, 58:62].mean()
    assert 110 < middle < 145


def test_an_image_of_one_value_is_grey(tmp_path):
    uri = write(tmp_path / "flat.tif", np.full((9, 9), 700, np.uint16))
    a, _ = opened(scene("a", uri, uri, "/p"))
    assert (image(a, Window(0, 0, 9, 9)).array == 127).all()


def test_a_channel_that_is_not_there_is_named(one):
    described, _, _ = one
    described["raster_source"]["channel_order"] = [0, 1, 5]
    a, _ = opened(described)
    with pytest.raises(RasterError, match=r"has 3 bands, and the config's channel_order is \(0, 1"):
        image(a, Window(0, 0, 9, 9))


def test_the_config_of_raster_vision_itself_is_understood(tmp_path):
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
