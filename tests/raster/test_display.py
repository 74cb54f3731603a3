from __future__ import annotations

import numpy as np
import pytest

from rvlab.errors import RasterError, SpecError
from rvlab.raster import Window, image, scenes_from_config
from rvlab.raster.display import picture_channels, select_channels, stretch_limits, stretch_to_rgb
from tests.raster.samples import config, places, raster_source, scene, write

WHOLE = Window(0, 0, 40, 30)


@pytest.fixture
def deep(tmp_path):
    """A uint16 scene of four channels, each the position times a factor; 0 is nodata."""
    base = places(30, 40)[None] + 1
    array = (base * np.array([1, 2, 1, 2])[:, None, None]).astype(np.uint16)
    array[3] = array[3][:, ::-1]
    array[:, :5, :5] = 0
    uri = write(tmp_path / "deep.tif", array, nodata=0)
    return scene_of(uri), array


def scene_of(uri, **more):
    described = scene("a", raster_source(uri, **more), uri, "/p")
    return scenes_from_config(config([described]))[0]


def stretched(band, mask, low, high):
    a, b = np.percentile(band[mask].astype(float), (low, high))
    return np.where(mask, np.clip((band.astype(float) - a) * 255 / (b - a), 0, 255), 0)


def close(found, wanted, mask):
    assert np.abs(found.astype(float) - wanted)[mask].max() <= 1


def test_each_uint16_channel_is_stretched_separately_without_nodata(deep):
    one, array = deep
    found = image(one, WHOLE)
    mask = array[0] > 0
    assert found.array.shape == (3, 30, 40)
    assert found.array.dtype == np.uint8
    assert (found.mask == mask).all()
    for band, own in zip(found.array, array, strict=False):
        close(band, stretched(own, mask, 2, 98), mask)


def test_bands_follow_the_channel_order_of_the_config(deep, tmp_path):
    one, array = deep
    mask = array[0] > 0
    found = image(one, WHOLE, bands=(3, 0, 1)).array
    close(found[0], stretched(array[3], mask, 2, 98), mask)
    reordered = scene_of(one.image.uris[0], channel_order=[3, 1, 0])
    assert (image(reordered, WHOLE, bands=[0]).array[0] == found[0]).all()
    grey = image(reordered, WHOLE, bands=[2]).array
    assert (grey[0] == grey[1]).all()
    close(grey[0], stretched(array[0], mask, 2, 98), mask)
    with pytest.raises(RasterError, match=r"has no channel 3; the scene's channels are 0 to 2"):
        image(reordered, WHOLE, bands=[3])


def test_two_channels_get_a_constant_blue_as_in_raster_vision(deep):
    one, _ = deep
    found = image(one, WHOLE, bands=[1, 0]).array
    assert (found[2] == 128).all()
    assert (found[0] == image(one, WHOLE, bands=[1]).array[0]).all()


def test_stretch_accepts_percentiles_minmax_and_none(deep):
    one, array = deep
    mask = array[0] > 0
    minmax = image(one, WHOLE, stretch="minmax").array
    close(minmax[1], stretched(array[1], mask, 0, 100), mask)
    tenth = image(one, WHOLE, stretch=(10, 60)).array
    close(tenth[2], stretched(array[2], mask, 10, 60), mask)
    none = image(one, WHOLE, stretch="none").array
    assert (none[0][mask] == np.clip(array[0][mask], 0, 255)).all()


def test_uint8_is_unchanged_without_a_stretch(tmp_path):
    array = np.arange(50, 110, dtype=np.uint8).reshape(1, 6, 10)
    one = scene_of(write(tmp_path / "a.tif", array))
    window = Window(0, 0, 10, 6)
    assert (image(one, window).array[0] == array[0]).all()
    assert (image(one, window, stretch="none").array[0] == array[0]).all()
    assert image(one, window, stretch="minmax").array[0].min() == 0
    assert image(one, window, stretch="minmax").array[0].max() == 255


def test_floats_without_stretch_are_displayed_from_0_to_1_and_nan_is_masked(tmp_path):
    array = np.linspace(0, 2, 60, dtype=np.float32).reshape(1, 6, 10)
    array[0, 0, :3] = np.nan
    one = scene_of(write(tmp_path / "a.tif", array))
    found = image(one, Window(0, 0, 10, 6), stretch="none")
    assert found.mask.sum() == 57
    valid = array[0][found.mask]
    assert (found.array[0][found.mask] == np.clip(valid * 255, 0, 255).astype(np.uint8)).all()


def test_select_channels_returns_the_first_or_the_named_display_group():
    groups = {"Infrared": [3, 0, 1], "RGB": [0, 1, 2]}
    written = {"backend": {"data": {"plot_options": {"channel_display_groups": groups}}}}
    assert select_channels(written) == (3, 0, 1)
    assert select_channels(written, "RGB") == (0, 1, 2)
    assert select_channels(written, np.array([2])) == (2,)
    assert select_channels({}) is None
    assert select_channels({"backend": {"data": {"plot_options": None}}}) is None
    listed = {"backend": {"data": {"plot_options": {"channel_display_groups": [[1], [0]]}}}}
    assert select_channels(listed) == (1,)
    assert select_channels(listed, "Channels: [0]") == (0,)
    with pytest.raises(SpecError, match=r"group 'Infrard'. Did you mean 'Infrared'"):
        select_channels(written, "Infrard")


@pytest.mark.parametrize("bands", [(), (0, 1, 2, 3), (-1,), (0.5,), ("red",), 2])
def test_select_channels_rejects_invalid_bands(bands):
    with pytest.raises(SpecError, match=r"Give 1 to 3 channel numbers, counted from 0"):
        select_channels({}, bands)


@pytest.mark.parametrize("stretch", [(98, 2), (2,), (-1, 50), (2, 101), 5])
def test_image_rejects_an_invalid_stretch(deep, stretch):
    with pytest.raises(SpecError, match=r"Give two percentiles such as \(2, 98\)"):
        image(deep[0], WHOLE, stretch=stretch)
    with pytest.raises(SpecError, match=r"stretch cannot be 'minmx'. Did you mean 'minmax'"):
        image(deep[0], WHOLE, stretch="minmx")


def test_tiles_stretched_with_the_limits_of_the_scene_have_no_seams(deep):
    one, _ = deep
    whole = picture_channels(one, WHOLE, max_px=None)
    ends = [stretch_limits(band, whole.mask) for band in whole.array]
    halves = [picture_channels(one, Window(col, 0, 20, 30), max_px=None) for col in (0, 20)]
    side_by_side = np.concatenate([stretch_to_rgb(half, ends) for half in halves], axis=2)
    assert (side_by_side == image(one, WHOLE).array).all()


def test_window_may_be_a_function_of_the_image_grid(deep):
    one, _ = deep
    half = image(one, lambda whole: Window(0, 0, whole.width // 2, whole.height))
    assert half.window == Window(0, 0, 20, 30)
    assert half.array.shape == (3, 30, 20)


def test_window_of_a_cropped_scene_is_relative_to_its_corner(deep):
    cropped = scene_of(deep[0].image.uris[0], bbox=[4, 6, 28, 36])  # top, left, bottom, right
    found = image(cropped, Window(1, 2, 8, 9), stretch="none")
    assert found.window == Window(1, 2, 8, 9)
    assert (found.array[0] == np.clip(deep[1][0, 6:15, 7:15], 0, 255)).all()
