"""The same pixels as Raster Vision, from every kind of raster source."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.merge import merge
from rasterio.warp import calculate_default_transform, reproject
from rastervision.core.data import MultiRasterSourceConfig, RasterioSourceConfig
from rastervision.core.data.utils import rasterio as rv_rasterio

from rvlab.errors import RasterError
from rvlab.raster import SceneLabels, Window, image, scenes_from_config
from rvlab.raster.config import classes_from_config
from rvlab.raster.gdal import open_files
from rvlab.store import Store, register_store
from rvlab.worker.rv_imagery import patch_mosaics
from tests.raster.samples import CLASSES, CORNER, UTM, config, scene, town, write

HEIGHT, WIDTH = 48, 64
Kind = Callable[[Path], Any]


def pixels(bands: int = 3, seed: int = 0, *, height: int = HEIGHT, width: int = WIDTH) -> Any:
    found = np.random.default_rng(seed).integers(1, 255, (bands, height, width))
    return found.astype(np.uint8)


def at(col: float, row: float, scale: float = 1.0) -> Affine:
    """Return the transform of a raster whose corner is there, in pixels of the first."""
    return Affine.from_gdal(
        *(CORNER.c + col * CORNER.a, CORNER.a * scale, 0),
        *(CORNER.f + row * CORNER.e, 0, CORNER.e * scale),
    )


def one(folder: Path, name: str = "a.tif", seed: int = 0, **more: Any) -> str:
    return write(folder / name, pixels(seed=seed, bands=more.pop("bands", 3)), **more)


def files(*corners: tuple[float, float], **more: Any) -> Kind:
    """Return a source of several files, whose corners are in pixels of the first."""

    def make(folder: Path) -> Any:
        uris = [
            one(folder, f"{i}.tif", seed=i, transform=at(*corner), **more)
            for i, corner in enumerate(corners)
        ]
        return RasterioSourceConfig(uris=uris)

    return make


def holes(folder: Path) -> Any:
    """Two overlapping files; the upper has pixels without data, where the lower one shows."""
    below = one(folder, "0.tif", nodata=0)
    array = pixels(seed=1)
    array[:, 10:30, 10:30] = 0
    above = write(folder / "1.tif", array, nodata=0, transform=at(20, 8))
    return RasterioSourceConfig(uris=[below, above])


def with_alpha(folder: Path) -> Any:
    uris = []
    for i in range(2):
        array = pixels(4, seed=i)
        array[3] = 255
        array[3, 10:30, 10:30] = 0
        uris.append(
            write(
                folder / f"{i}.tif", array, transform=at(40 * i, 0), photometric="RGB", alpha="YES"
            )
        )
    return RasterioSourceConfig(uris=uris)


def with_masks(folder: Path) -> Any:
    uris = [one(folder, f"{i}.tif", seed=i, transform=at(40 * i, 0)) for i in range(2)]
    for uri in uris:
        mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
        mask[5:20, 5:20] = 0
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(uri, "r+") as dataset:
            dataset.write_mask(mask)
    return RasterioSourceConfig(uris=uris)


def finer_and_coarser(folder: Path) -> Any:
    fine = write(folder / "0.tif", pixels(height=96, width=96))
    coarse = write(folder / "1.tif", pixels(seed=1), transform=at(96, 0, 2.0))
    return RasterioSourceConfig(uris=[fine, coarse])


def joined(*parts: Kind, **more: Any) -> Kind:
    def make(folder: Path) -> Any:
        sources = []
        for i, part in enumerate(parts):
            (folder / str(i)).mkdir()
            sources.append(part(folder / str(i)))
        return MultiRasterSourceConfig(raster_sources=sources, **more)

    return make


def part(seed: int = 0, **more: Any) -> Kind:
    order, bbox = more.pop("channel_order", None), more.pop("bbox", None)
    return lambda folder: RasterioSourceConfig(
        uris=[one(folder, seed=seed, **more)], channel_order=order, bbox=bbox
    )


def sized(scale: float, *, col: float = 0, row: float = 0, seed: int = 1) -> Kind:
    """Return a part with other pixels, which covers the first where it starts."""
    size = {"height": round(HEIGHT / scale), "width": round(WIDTH / scale)}

    def make(folder: Path) -> Any:
        where = at(col, row, scale)
        return RasterioSourceConfig(
            uris=[write(folder / "a.tif", pixels(seed=seed, **size), transform=where)]
        )

    return make


def in_degrees(folder: Path) -> Any:
    """Write a raster of the same place in EPSG:4326."""
    bounds = rasterio.transform.array_bounds(HEIGHT, WIDTH, CORNER)
    there, wide, tall = calculate_default_transform(UTM, "EPSG:4326", WIDTH, HEIGHT, *bounds)
    array = np.zeros((3, tall, wide), np.uint8)
    reproject(
        pixels(seed=3), array, src_transform=CORNER, src_crs=UTM,
        dst_transform=there, dst_crs="EPSG:4326",
    )  # fmt: skip
    return RasterioSourceConfig(
        uris=[write(folder / "a.tif", array, crs="EPSG:4326", transform=there)]
    )


KINDS: dict[str, tuple[Kind, tuple[int, ...]]] = {
    "one file": (part(), (0, 1, 2)),
    "one file, channels": (part(bands=5, channel_order=[4, 0, 2]), (0, 1, 2)),
    "one file, bbox": (part(bbox=(4, 6, 40, 60)), (0, 1, 2)),
    "neighbours": (files((0, 0), (WIDTH, 0)), (0, 1, 2)),
    "neighbours on three sides": (files((0, 0), (-WIDTH, 0), (0, HEIGHT)), (2, 1, 0)),
    "overlap": (files((0, 0), (30, 20)), (0, 1, 2)),
    "gap": (files((0, 0), (WIDTH + 9, 5)), (0, 1, 2)),
    "nodata": (files((0, 0), (WIDTH + 9, 5), nodata=255), (0, 1, 2)),
    "holes": (holes, (0, 1, 2)),
    "alpha": (with_alpha, (0, 1, 2)),
    "masks": (with_masks, (0, 1, 2)),
    "two parts": (joined(part(), part(seed=1)), (0, 4, 5)),
    "channels inside": (
        joined(part(channel_order=[2, 0]), part(seed=1, channel_order=[1])),
        (0, 1, 2),
    ),
    "channels outside": (joined(part(), part(seed=1), channel_order=[5, 0, 3, 1]), (0, 1, 2)),
    "second is finer": (joined(part(), sized(0.4)), (1, 3, 5)),
    "second is primary": (
        joined(sized(0.4), part(), primary_source_idx=1),
        (0, 3, 5),
    ),
    "coarser": (joined(part(), sized(2.0)), (0, 3, 4)),
    "finer": (joined(part(), sized(0.4)), (0, 1, 2)),
    "bbox of the whole": (
        joined(part(), part(seed=1), bbox=(4, 6, 40, 60)),
        (3, 1, 5),
    ),
    "bbox of the primary": (joined(part(bbox=(4, 6, 40, 60)), part(seed=1)), (3, 1, 5)),
    "part of several files": (
        joined(files((0, 0), (WIDTH, 0)), files((0, 0), (WIDTH, 0))),
        (0, 3, 5),
    ),
    "nested": (
        joined(joined(part(), part(seed=1), channel_order=[5, 1]), part(seed=2)),
        (0, 1, 4),
    ),
    "single band each": (
        joined(*(part(seed=i, bands=1) for i in range(4))),
        (3, 2, 1),
    ),
}  # fmt: skip

RESAMPLED = ("coarser", "second is finer", "second is primary")
MORE = {"series": joined(part(), part(seed=1), part(seed=2), temporal=True)}


@pytest.fixture(autouse=True)
def without_program(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(rv_rasterio, "build_vrt", rv_rasterio.build_vrt)
    patch_mosaics()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_scene(source: Any, tmp_path: Path) -> Any:
    described = json.loads(source.model_dump_json(serialize_as_any=True))
    labels = write(tmp_path / "labels.tif", town(HEIGHT, WIDTH))
    return scenes_from_config(config([scene("a", described, labels, "/p")]))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_picture_has_the_pixels_of_raster_vision(kind: str, tmp_path: Path) -> None:
    make, bands = KINDS[kind]
    source = make(tmp_path)
    theirs = source.build(tmp_dir=str(tmp_path))
    wanted = theirs.get_chip(theirs.extent)[..., list(bands)].transpose(2, 0, 1)
    described = read_scene(source, tmp_path)
    grid = SceneLabels(described, classes_from_config(CLASSES)).grid
    assert (grid.height, grid.width) == theirs.shape[:2]
    found = image(described, Window(0, 0, grid.width, grid.height), max_px=None, bands=bands)
    shown = np.where(found.mask, found.array, 0)
    if (
        kind in RESAMPLED
    ):  # Raster Vision's last row and column are half outside of the other raster
        shown, wanted = shown[:, :-1, :-1], wanted[:, :-1, :-1]
    assert np.array_equal(shown, wanted)
    part_of_it = Window(7, 9, 20, 16)
    small = image(described, part_of_it, max_px=None, bands=bands)
    if kind not in (
        "coarser",
        "finer",
        "second is finer",
        "second is primary",
    ):  # these are resampled at the window's edge
        assert np.array_equal(small.array, found.array[:, *part_of_it.slices()])


def test_part_in_another_crs_shows_the_same_place(tmp_path: Path) -> None:
    source = joined(part(), in_degrees)(tmp_path)
    theirs = source.build(tmp_dir=str(tmp_path))
    wanted = theirs.get_chip(theirs.extent)[..., [3, 4, 5]].transpose(2, 0, 1)
    found = image(read_scene(source, tmp_path), Window(0, 0, WIDTH, HEIGHT), bands=(3, 4, 5))
    assert np.corrcoef(found.array.ravel(), wanted.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("bands", [(0, 1, 2), (3, 4, 5), (8, 7, 6)])
def test_channels_of_a_series_are_counted_image_after_image(
    bands: tuple[int, ...], tmp_path: Path
) -> None:
    source = MORE["series"](tmp_path)
    theirs = source.build(tmp_dir=str(tmp_path))
    chip = theirs.get_chip(theirs.extent)  # time, row, column, channel
    wanted = np.concatenate(list(chip.transpose(0, 3, 1, 2)))[list(bands)]
    found = image(read_scene(source, tmp_path), Window(0, 0, WIDTH, HEIGHT), bands=bands)
    assert np.array_equal(found.array, wanted)


@pytest.mark.parametrize("kind", ["neighbours", "overlap", "gap", "nodata", "holes", "alpha"])
def test_mosaic_has_the_pixels_of_rasterio_merge(kind: str, tmp_path: Path) -> None:
    uris = KINDS[kind][0](tmp_path).uris
    wanted, where = merge(uris, method="last")
    with open_files(tuple(uris)) as dataset:
        assert dataset.transform.almost_equals(where)
        assert dataset.crs == rasterio.crs.CRS.from_string(UTM)
        bands = [1, 2, 3]  # of the alpha band, only whether a pixel has data
        assert np.array_equal(dataset.read(bands), wanted[:3])


def test_files_of_different_pixel_size_get_their_mean(tmp_path: Path) -> None:
    uris = finer_and_coarser(tmp_path).uris
    with open_files(tuple(uris)) as dataset:
        assert dataset.transform.a == pytest.approx(CORNER.a * 1.5)
        assert (dataset.width, dataset.height) == (round((96 + 128) / 1.5), 64)


def test_labels_of_several_files_are_read(tmp_path: Path) -> None:
    ids = town(HEIGHT, 2 * WIDTH)
    halves = [ids[:, :WIDTH], ids[:, WIDTH:]]
    uris = [
        write(tmp_path / f"{i}.tif", half, transform=at(i * WIDTH, 0))
        for i, half in enumerate(halves)
    ]
    picture = write(tmp_path / "image.tif", pixels(width=2 * WIDTH))
    source = {"type_hint": "rasterio_source", "uris": uris}
    described = scenes_from_config(config([scene("a", picture, source, "/p")]))[0]
    assert np.array_equal(SceneLabels(described, classes_from_config(CLASSES)).truth(), ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crs": "EPSG:32612"}, r"1\.tif has the CRS EPSG:32612, .*0\.tif EPSG:32611"),
        ({"bands": 4}, r"1\.tif has bands of the types uint8, uint8, uint8, uint8"),
        ({"crs": None}, r"1\.tif has no position"),
        ({"transform": CORNER @ Affine.rotation(5)}, r"1\.tif is rotated"),
    ],
)
def test_files_that_do_not_form_a_mosaic_are_named(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    uris = [one(tmp_path, "0.tif"), one(tmp_path, "1.tif", **change)]
    source = RasterioSourceConfig(uris=uris)
    with pytest.raises(RasterError, match=message):
        image(read_scene(source, tmp_path), Window(0, 0, 4, 4))
    with pytest.raises(RasterError, match=message):
        source.build(tmp_dir=str(tmp_path))


def test_vrt_in_a_mosaic_and_missing_files_are_named(tmp_path: Path) -> None:
    for name, message in (("b.vrt", "cannot be part of a mosaic"), ("b.tif", "does not exist")):
        source = RasterioSourceConfig(uris=[one(tmp_path), str(tmp_path / name)])
        with pytest.raises(RasterError, match=message):
            image(read_scene(source, tmp_path), Window(0, 0, 4, 4))


def test_each_file_of_a_source_is_checked(tmp_path: Path) -> None:
    described = {
        "type_hint": "multi_raster_source",
        "raster_sources": [
            {"type_hint": "rasterio_source", "uris": ["s3://b/store/a.tif"]},
            {"type_hint": "rasterio_source", "uris": ["s3://b/x.tif", "/etc/passwd"]},
        ],
    }
    whole = config([scene("a", described, "/l.tif", "/p")])
    found = scenes_from_config(whole, Store("s3://b/store"))[0].image
    assert found.parts[1].uris == ("s3://b/x.tif", "refused:/etc/passwd")
    refused = open_files(found.parts[1].uris[::-1])
    with pytest.raises(RasterError, match="is not opened: a record names it"):
        refused.__enter__()


def test_part_of_an_unknown_kind_is_an_error_and_others_give_the_grid(tmp_path: Path) -> None:
    described = {
        "type_hint": "multi_raster_source",
        "raster_sources": [
            {"type_hint": "rasterio_source", "uris": [one(tmp_path)]},
            {"type_hint": "xarray_source"},
        ],
    }
    labels = write(tmp_path / "labels.tif", town(HEIGHT, WIDTH))
    found = scenes_from_config(config([scene("a", described, labels, "/p")]))[0]
    assert SceneLabels(found, classes_from_config(CLASSES)).grid.width == WIDTH
    with pytest.raises(RasterError, match="a xarray_source is not supported"):
        image(found, Window(0, 0, 4, 4))


@pytest.mark.parametrize(
    ("order", "bands", "message"),
    [([0, 9], None, "have 6 channels, and the config's"), (None, (6,), "has no channel 6")],
)
def test_missing_channel_is_an_error(order: Any, bands: Any, message: str, tmp_path: Path) -> None:
    described = read_scene(joined(part(), part(seed=1), channel_order=order)(tmp_path), tmp_path)
    with pytest.raises(RasterError, match=message):
        image(described, Window(0, 0, 4, 4), bands=bands)


def test_height_beside_colors_is_shown_in_its_own_range(tmp_path: Path) -> None:
    def heights(folder: Path) -> Any:
        made = np.linspace(100, 300, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
        return RasterioSourceConfig(uris=[write(folder / "h.tif", made)])

    described = read_scene(joined(part(), heights)(tmp_path), tmp_path)
    whole = Window(0, 0, WIDTH, HEIGHT)
    assert np.array_equal(image(described, whole).array, pixels())  # uint8 is not stretched
    (grey, _, _) = image(described, whole, bands=(3,)).array
    assert grey[0, 0] == 0
    assert grey[-1, -1] == 255
    mixed = image(described, whole, bands=(3, 0, 1)).array
    assert np.array_equal(mixed[0], grey)


def test_mosaic_on_s3_is_read_by_window(s3: Any, s3_access: Any, tmp_path: Path) -> None:
    store = register_store(Store(f"s3://{s3.bucket}/mosaics", s3_access))
    source = files((0, 0), (WIDTH, 0))(tmp_path)
    for uri in source.uris:
        store.put(Path(uri).name, Path(uri).read_bytes())
    uris = [f"{store.uri}/{Path(uri).name}" for uri in source.uris]
    local = read_scene(source, tmp_path)
    remote = read_scene(RasterioSourceConfig(uris=uris), tmp_path)
    window = Window(WIDTH - 10, 5, 20, 20)
    assert np.array_equal(image(remote, window).array, image(local, window).array)
