"""Comparison of label pixels with those that Raster Vision trains and evaluates on."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from affine import Affine
from rasterio.warp import transform

from rvlab.errors import RasterError
from rvlab.raster import SceneLabels, Window, classes_from_config, scenes_from_config
from rvlab.raster import image as image_of
from tests.raster.samples import (
    CLASSES,
    CORNER,
    UTM,
    config,
    photo,
    raster_source,
    scene,
    town,
    write,
)

HEIGHT, WIDTH = 96, 128


def lonlat(col, row, *, crs=UTM):
    """Convert a point in pixels to longitude and latitude; without CRS return it unchanged."""
    if crs is None:
        return [col, row]
    x, y = CORNER.a * col + CORNER.c, CORNER.e * row + CORNER.f
    (lon,), (lat,) = transform(crs, "EPSG:4326", [x], [y])
    return [lon, lat]


def feature(kind, points, crs=UTM, **properties):
    # Corners are inside a pixel: on its edge, rounding down depends on PROJ's last bit.
    ring = [lonlat(col + 0.37, row + 0.41, crs=crs) for col, row in points]
    shape = {"Polygon": [[*ring, ring[0]]], "LineString": ring, "Point": ring[0]}
    if kind == "MultiPolygon":
        half = len(ring) // 2
        parts = (ring[:half], ring[half:])
        coordinates = [[[*part, part[0]]] for part in parts]
    else:
        coordinates = shape[kind]
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def box(col, row, width=14, height=9):
    right, bottom = col + width, row + height
    return [(col, row), (right, row), (right, bottom), (col, bottom)]


def geojson(path, features, **more):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features} | more))
    return str(path)


def inference(**more):
    empty = {"default_class_id": None, "class_id_to_filter": None, "class_name_mapping": None}
    return {"type_hint": "class_inference_transformer"} | empty | more


def buffers(kind, **more):
    return {"type_hint": "buffer_transformer", "geom_type": kind} | more


def rasterized(uris, *transformers, background=0, touched=False):
    vector = {"type_hint": "geojson_vector_source", "uris": uris}
    drawn = {"type_hint": "rasterizer", "background_class_id": background, "all_touched": touched}
    return {
        "type_hint": "rasterized_source",
        "vector_source": vector | {"transformers": list(transformers)},
        "rasterizer_config": drawn,
    }


def raster_visions_own(described, window):
    """Return the class ids of a window from Raster Vision's label source, from the same JSON."""
    from rastervision.core.box import Box
    from rastervision.core.data import ClassConfig, SceneConfig
    from rastervision.pipeline.config import build_config

    content = {k: v for k, v in described.items() if k != "label_store"} | {"type_hint": "scene"}
    built = build_config(content)
    assert isinstance(built, SceneConfig)
    colors = [tuple(c) if isinstance(c, list) else c for c in CLASSES["colors"]]
    own = ClassConfig(names=CLASSES["names"], colors=colors, null_class="null")
    labels = built.build(own).label_source
    area = Box(window.row, window.col, window.stop_row, window.stop_col)
    return labels.get_label_arr(area)


def ours(described, window, **more):
    whole = config([described])
    return SceneLabels(scenes_from_config(whole)[0], classes_from_config(whole)).truth(
        window, **more
    )


@pytest.fixture
def image(tmp_path):
    return write(tmp_path / "image.tif", photo(town(HEIGHT, WIDTH)))


WINDOWS = [Window(0, 0, 80, 60), Window(37, 21, 41, 33)]
quirks = pytest.mark.filterwarnings("ignore")


def town_features(crs=UTM):
    return [
        feature("Polygon", box(5, 6), crs, building="yes", levels=2),
        feature("Polygon", box(40, 30), crs, building="no", levels=9),
        feature("MultiPolygon", box(60, 8) + box(90, 50), crs, label="casa"),
        feature("Polygon", box(30, 60), crs, class_name="road"),
        feature("Polygon", box(33, 63, 20, 14), crs, class_id=1),
        # A bow tie: Raster Vision splits it by a buffer of 0.
        feature("Polygon", [(70, 70), (90, 84), (90, 70), (70, 84)], crs, class_id=1),
        feature("LineString", [(0, 50), (64, 44), (127, 52)], crs, highway="primary"),
        feature("LineString", [(20, 0), (24, 95)], crs, highway="track"),
        feature("Point", [(100, 20)], crs, amenity="tree"),
    ]


CASES = {
    "names": [inference(class_name_mapping={"casa": "building"}), buffers("LineString"),
              buffers("Point")],
    "default": [inference(default_class_id=1), buffers("LineString", default_buf=2),
                buffers("Point", default_buf=4)],
    "filters": [
        inference(class_id_to_filter={"1": ["all", ["==", "building", "yes"], ["!=", "levels", 9]],
                                      "2": ["in", "highway", "primary", "secondary"]}),
        buffers("LineString", class_bufs={"2": 3.5}, default_buf=None), buffers("Point"),
    ],
    "has": [inference(class_id_to_filter={"2": ["has", "highway"]}),
            buffers("LineString", class_bufs={"2": 3}), buffers("Point")],
    "nested": [
        inference(class_id_to_filter={
            "1": ["all", ["any", ["==", "building", "yes"], ["==", "building", "no"]],
                  ["none", ["==", "levels", 2]]],
            "2": ["any", ["!in", "highway", "track", None], ["==", "$type", "Point"]],
        }),
        buffers("LineString", default_buf=2), buffers("Point", default_buf=5),
    ],
    "areas": [inference(default_class_id=2), buffers("Polygon", class_bufs={"1": 3, "2": 1}),
              buffers("LineString"), buffers("Point")],
}  # fmt: skip


@quirks
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("touched", [False, True])
def test_vectors_are_rasterized_as_in_raster_vision(tmp_path, image, case, touched):
    uri = geojson(tmp_path / "labels.json", town_features())
    described = scene("a", image, rasterized(uri, *CASES[case], touched=touched), None)
    for window in WINDOWS:
        assert (ours(described, window) == raster_visions_own(described, window)).all()
    assert len(np.unique(ours(described, None))) > 1


@quirks
def test_vectors_of_an_image_without_georeference_are_in_pixels(tmp_path):
    image = write(tmp_path / "plain.tif", photo(town(HEIGHT, WIDTH)), crs=None)
    uri = geojson(tmp_path / "labels.json", town_features(crs=None))
    described = scene("a", image, rasterized(uri, *CASES["default"], background=2), None)
    for window in WINDOWS:
        assert (ours(described, window) == raster_visions_own(described, window)).all()


@quirks
def test_windows_of_a_cropped_scene_are_relative_to_its_corner(tmp_path, image):
    uri = geojson(tmp_path / "labels.json", town_features())
    cropped = raster_source(image, bbox=[10, 20, 80, 110])
    described = scene("a", cropped, rasterized(uri, *CASES["default"]), None)
    window = Window(3, 4, 60, 50)
    assert (ours(described, window) == raster_visions_own(described, window)).all()
    labels = write(tmp_path / "ids.tif", town(HEIGHT, WIDTH))
    described = scene("a", cropped, labels, None)
    found = ours(described, window)
    assert (found == town(HEIGHT, WIDTH)[14:64, 23:83]).all()
    assert (found == raster_visions_own(described, window)).all()


@quirks
def test_label_raster_with_another_corner_is_aligned_by_map_coordinates(tmp_path, image):
    moved = Affine(0.5, 0, CORNER.c - 10 * 0.5, 0, -0.5, CORNER.f + 6 * 0.5)
    ids = town(HEIGHT + 20, WIDTH + 20)
    described = scene("a", image, write(tmp_path / "w.tif", ids, transform=moved), None)
    found = ours(described, Window(1, 2, 50, 40))
    assert (found == ids[8:48, 11:61]).all()
    assert (found == raster_visions_own(described, Window(1, 2, 50, 40))).all()


@quirks
def test_class_colors_are_converted_to_ids(tmp_path, image):
    ids = town(HEIGHT, WIDTH)
    colors = np.array([[217, 217, 217], [255, 165, 0], [70, 117, 180], [0, 0, 0]], np.uint8)
    painted = colors[ids]
    painted[:3, :3] = (9, 9, 200)  # not a class: Raster Vision returns the blue
    uri = write(tmp_path / "rgb.tif", painted.transpose(2, 0, 1))
    to_ids = {"type_hint": "rgb_class_transformer", "class_config": CLASSES | {
        "type_hint": "class_config"}}  # fmt: skip
    described = scene("a", image, raster_source(uri, transformers=[to_ids]), None)
    window = Window(0, 0, 90, 90)
    found = ours(described, window)
    assert (found[3:, 3:] == ids[3:90, 3:90]).all()
    assert (found == raster_visions_own(described, window)).all()


@quirks
def test_reclass_transformer_maps_ids_and_nodata_becomes_class_0(tmp_path, image):
    ids = town(HEIGHT, WIDTH)
    uri = write(tmp_path / "ids.tif", ids + 10, nodata=12)
    mapped = {"type_hint": "reclass_transformer", "mapping": {"10": 0, "11": 2}}
    described = scene("a", image, raster_source(uri, transformers=[mapped]), None)
    window = Window(0, 0, 90, 90)
    found = ours(described, window)
    assert set(np.unique(found)) == {0, 2}
    assert (found == raster_visions_own(described, window)).all()


def test_resampled_vectors_use_the_same_pixels_as_gdal(tmp_path, image):
    features = town_features()
    drawn = rasterized(geojson(tmp_path / "l.json", features), *CASES["default"])
    vectors = scene("a", image, drawn, None)
    window = Window(5, 3, 101, 77)
    full = ours(vectors, window)
    raster = scene("a", image, write(tmp_path / "same.tif", ours(vectors, None)), None)
    assert (ours(raster, window) == full).all()
    assert (ours(raster, window, max_px=20) == ours(vectors, window, max_px=20)).all()


def test_error_messages_name_the_unreadable_file_or_setting(tmp_path, image):
    uri = geojson(tmp_path / "labels.json", town_features())
    shifted = {"type_hint": "shift_transformer", "x_shift": 3.0, "y_shift": 0.0}
    with pytest.raises(
        RasterError, match=r"The labels have a shift_transformer, which only Raster"
    ):
        ours(scene("a", image, rasterized(uri, CASES["default"][0], shifted), None), None)
    with pytest.raises(
        RasterError, match=r"shapes of the kind LineString, Point, and the config has"
    ):
        ours(scene("a", image, rasterized(uri, CASES["default"][0]), None), None)
    with pytest.raises(RasterError, match=r"have no class: the config has no class_inference"):
        ours(scene("a", image, rasterized(uri, *CASES["default"][1:]), None), None)
    with pytest.raises(RasterError, match=r"missing.json does not exist"):
        ours(scene("a", image, rasterized(str(tmp_path / "missing.json"), inference()), None), None)
    with pytest.raises(RasterError, match=r"image.tif is not in a vector format that is read"):
        ours(scene("a", image, rasterized(image, inference()), None), None)
    with pytest.raises(RasterError, match=r"has 3 bands. Labels must have one band with class ids"):
        ours(scene("a", image, image, None), None)
    with pytest.raises(RasterError, match=r"image.tif and 1 more file has 3 bands"):
        ours(scene("a", image, raster_source([image, image]), None), None)
    boxes = {"type_hint": "object_detection_label_source"}
    with pytest.raises(RasterError, match=r"labels of the kind object_detection_label_source"):
        ours(scene("a", image, image, None, label_source=boxes), None)
    with pytest.raises(RasterError, match=r"The scene a has no labels"):
        ours(scene("a", image, image, None, label_source=None), None)
    coarse = Affine(2, 0, CORNER.c, 0, -2, CORNER.f)
    labels = write(tmp_path / "coarse.tif", town(24, 32), transform=coarse)
    with pytest.raises(RasterError, match=r"has a pixel size of 2, the image of 0.5"):
        ours(scene("a", image, labels, None), None)
    small = write(tmp_path / "small.tif", town(50, 60))
    with pytest.raises(RasterError, match=r"covers 60 × 50 px of the window's 128 × 96"):
        ours(scene("a", image, small, None), None)


def labels_of(image, source):
    whole = config([scene("a", image, source, "/p")])
    return SceneLabels(scenes_from_config(whole)[0], classes_from_config(whole))


def read_at_once(labels, threads=8):
    def read():
        with labels.image_read() as learn:
            return image_of(labels.scene, lambda whole: learn(whole) or labels.full_window())

    with ThreadPoolExecutor(threads) as pool:
        chips = [pool.submit(read) for _ in range(threads)]
        grids = [pool.submit(lambda: labels.grid) for _ in range(threads)]
        return [chip.result() for chip in chips], [grid.result() for grid in grids]


@pytest.fixture
def opened(monkeypatch):
    """Addresses of the opened rasters, in order."""
    seen, module = [], sys.modules["rvlab.raster.gdal"]
    plain = module.open_raster

    def count(uri, **options):
        seen.append(uri)
        return plain(uri, **options)

    monkeypatch.setattr(module, "open_raster", count)
    return seen


def test_reading_an_image_provides_its_grid_without_opening_it_again(tmp_path, image, opened):
    labels = labels_of(image, raster_source(image))
    (chip, *_), (grid, *_) = read_at_once(labels)
    assert chip.array.shape == (3, HEIGHT, WIDTH)
    assert (grid.width, grid.height) == (WIDTH, HEIGHT)
    assert opened == [image] * 8
    assert labels.full_window() == Window(0, 0, WIDTH, HEIGHT)
    assert len(opened) == 8


def test_missing_image_is_opened_once_and_its_labels_provide_the_grid(tmp_path, image, opened):
    lost = str(tmp_path / "lost.tif")
    labels = labels_of(lost, raster_source(image))
    with pytest.raises(RasterError, match=r"lost.tif does not exist"):
        read_at_once(labels, threads=1)
    assert opened == [lost, image]
    assert labels.full_window() == Window(0, 0, WIDTH, HEIGHT)
    assert len(opened) == 2


@pytest.mark.parametrize("broken", [RasterError("lost"), ZeroDivisionError("a bug")])
def test_failed_read_releases_threads_that_wait_for_the_grid(image, opened, broken):
    labels = labels_of(image, raster_source(image))

    def fails():
        with labels.image_read():
            raise broken

    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(fails) for _ in range(8)]
        grids = [pool.submit(lambda: labels.grid) for _ in range(8)]
        assert all(read.exception(60) is broken for read in reads)
        assert {(grid.result(60).width, grid.result(60).height) for grid in grids} == {
            (WIDTH, HEIGHT)
        }
    assert opened == [image]  # once, by the first thread that needs the grid
