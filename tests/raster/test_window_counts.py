"""Counts of windows: each equals the counts of its pixels, and they add up to the scene's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab import metrics
from rvlab.raster.boxes import Boxes
from rvlab.raster.config import Classes, RasterSource
from rvlab.raster.scene import Scene
from rvlab.raster.strip import Strip
from rvlab.raster.window import Window
from rvlab.raster.window_counts import MAX_WINDOWS, WindowCounts, strips, window_side_px

CLASSES = Classes(("background", "building", "road", "null"), ((0, 0, 0),) * 4, "null")
SCENE = Scene("town", "validation", RasterSource(), None, None)


def tally(width, height, classes=CLASSES):
    return WindowCounts(SCENE, classes, width, height)


def random_ids(shape, seed, most=4):
    return np.random.default_rng(seed).integers(0, most, shape).astype(np.uint8)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**31))
def test_counts_of_each_window_equal_those_of_its_pixels(width, height, seed):
    truth, guess = random_ids((height, width), seed), random_ids((height, width), seed + 1)
    one = tally(width, height)
    one.add(Strip(Window(0, 0, width, height), truth, guess))
    table = one.table().to_pandas()
    for place, rows in table.groupby(["col", "row", "width", "height"]):
        part = Window(*place).slices()
        wanted = metrics.counts(
            metrics.confusion_matrix(truth[part], guess[part], len(CLASSES)), ignore=3
        )
        found = rows.set_index("class").reindex(CLASSES.names, fill_value=0)
        for name, counts in zip(("tp", "fp", "fn"), wanted, strict=True):
            assert found[name].tolist() == counts.tolist()
    areas = table.drop_duplicates(["col", "row"])
    labelled = (truth < 3).sum()
    assert (table["tp"] + table["fn"]).sum() == labelled
    assert (areas["width"] * areas["height"]).sum() <= width * height


def test_counts_of_strips_add_up_to_the_scene():
    shape = (1100, 300)
    truth, guess, score = random_ids(shape, 0), random_ids(shape, 1), np.full(shape, 0.95)
    whole, parts = tally(300, 1100), tally(300, 1100)
    whole.add(Strip(Window(0, 0, 300, 1100), truth, guess, None, score))
    found = list(strips(300, 1100, most_px=1))
    assert len(found) == 3
    for part in found:
        here = part.slices()
        parts.add(Strip(part, truth[here], guess[here], None, score[here]))
    assert whole.table().equals(parts.table())


def test_pixels_outside_the_areas_of_interest_are_ignored():
    truth, guess = random_ids((64, 64), 0), random_ids((64, 64), 1)
    inside = np.zeros((64, 64), bool)
    inside[:10] = True
    one, other = tally(64, 64), tally(64, 10)
    one.add(Strip(Window(0, 0, 64, 64), truth, guess, inside))
    other.add(Strip(Window(0, 0, 64, 10), truth[:10], guess[:10]))
    columns = ["class", "tp", "fp", "fn"]
    assert one.table().select(columns).equals(other.table().select(columns))


def test_confident_errors_are_wrong_pixels_with_a_high_score_and_a_label():
    truth = np.array([[0, 0, 0, 3, 1]], np.uint8)
    guess = np.array([[0, 1, 1, 1, 3]], np.uint8)
    score = np.array([[1.0, 0.95, 0.5, 1.0, 1.0]])
    one = tally(5, 1)
    one.add(Strip(Window(0, 0, 5, 1), truth, guess, None, score))
    table = one.table().to_pandas().set_index("class")
    assert table["confident_fp"].to_dict() == {"background": 0, "building": 1}
    assert table.loc["building", "fp"] == 2  # the unlabelled pixel is not counted


def test_confident_errors_are_null_without_scores():
    one = tally(8, 8)
    one.add(Strip(Window(0, 0, 8, 8), random_ids((8, 8), 0), random_ids((8, 8), 1)))
    assert one.table()["confident_fp"].null_count == len(one.table())


@pytest.mark.parametrize(
    ("size", "side"), [((256, 256), 64), ((1300, 1300), 64), ((10_000, 10_000), 256)]
)
def test_window_side_is_the_smallest_that_gives_at_most_max_windows(size, side):
    width, height = size
    assert window_side_px(width, height) == side
    assert (width / side) * (height / side) <= MAX_WINDOWS


def test_label_counts_of_each_window_are_equal_for_two_detectors():
    """Two detectors find a tree at a window's edge, on different sides of the edge."""

    def boxes(*lefts):
        bounds = np.array([[left, 10, left + 20, 30] for left in lefts], float)
        return Boxes(bounds, np.zeros(len(lefts), int), np.full(len(lefts), 0.95))

    found = []
    truth = boxes(55, 100)
    for guess in (boxes(51), boxes(59, 10)):
        scene = replace(SCENE, task="object_detection")
        one = WindowCounts(scene, Classes(("tree",), ((0, 0, 0),)), 128, 64)
        one.add_boxes(truth, guess)
        found.append(one.table().to_pandas().set_index("col"))
    first, second = found
    assert (first["tp"] + first["fn"]).to_dict() == {64: 2}
    assert (second["tp"] + second["fn"]).to_dict() == {0: 0, 64: 2}
    assert (first["fp"].sum(), second["fp"].to_dict()) == (0, {0: 1, 64: 0})
    assert second["confident_fp"].to_dict() == {0: 1, 64: 0}
