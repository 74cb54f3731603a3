"""Counts of pixels near contours, in strips, equal erosions of the whole array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from rvlab.errors import SpecError
from rvlab.raster import boundaries as module
from rvlab.raster.boundaries import SceneBoundaries, default_distance_px
from rvlab.raster.config import Classes
from rvlab.raster.strip import Strip
from rvlab.raster.window import Window

COLORS = ((0, 0, 0),) * 9


def stream(truth, guess, *, classes=3, null=None, distance=2, height=None, inside=None):
    """Return the counts of two arrays that are added in strips of a height."""
    names = (*(f"c{i}" for i in range(classes - 1)), null or "last")
    own = Classes(names, COLORS[:classes], null)
    found = SceneBoundaries(own, truth.shape[1], len(truth), distance)
    height = height or len(truth)
    for top in range(0, len(truth), height):
        rows = slice(top, top + height)
        part = Window(0, top, truth.shape[1], len(truth[rows]))
        mask = None if inside is None else inside[rows]
        found.add(Strip(part, truth[rows], guess[rows], mask))
    return found.finish()


def erode_whole(mask, distance):
    """Return the boundary of a mask as the authors of the metric compute it.

    They pad the mask with zeros and erode it with a square of 3 x 3 px, once per pixel of distance.
    """
    padded = np.pad(mask, 1)
    square = np.ones((3, 3), bool)
    eroded = ndimage.binary_erosion(padded, square, iterations=distance, border_value=1)
    return mask & ~eroded[1:-1, 1:-1]


def count_whole(truth, guess, valid, classes, distance):
    found = []
    for class_id in range(classes):
        ours, theirs = (erode_whole((ids == class_id) & valid, distance) for ids in (truth, guess))
        found.append([ours.sum(), theirs.sum(), (ours & theirs).sum()])
    return np.array(found).T


def patches(rng, shape, classes, side):
    """Return random class ids in squares of a side."""
    small = rng.integers(0, classes, [n // side + 1 for n in shape])
    return np.kron(small, np.ones((side, side), int))[: shape[0], : shape[1]].astype(np.uint8)


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 140)),
    st.integers(0, 2**31),
    st.sampled_from([1, 2, 3, 7, 40, 130]),
    st.integers(1, 40),
    st.integers(2, 6),
    st.booleans(),
)
def test_counts_in_strips_equal_erosions_of_the_whole_array(
    shape, seed, distance, height, classes, is_partly_labelled
):
    rng = np.random.default_rng(seed)
    truth, guess = (patches(rng, shape, classes, int(rng.integers(1, 20))) for _ in range(2))
    valid, inside, null = np.ones(shape, bool), None, None
    if is_partly_labelled:
        inside = patches(rng, shape, 2, 9) == 1
        truth[rng.random(shape) < 0.01] = guess[rng.random(shape) < 0.01] = 255  # no class
        null = "null"
        valid = inside & (truth < classes - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_WORDS", 9)  # blocks of a few rows
        found = stream(
            truth,
            guess,
            classes=classes,
            null=null,
            distance=distance,
            height=height,
            inside=inside,
        )
    counted = classes - is_partly_labelled
    wanted = count_whole(truth, guess, valid, classes, distance)
    assert found[:, :counted].tolist() == wanted[:, :counted].tolist()


@pytest.mark.parametrize("height", [1, 3, 12])
def test_square_that_is_shifted_by_a_pixel_has_the_counts_worked_out_by_hand(height):
    truth, guess = np.zeros((2, 12, 12), np.uint8)
    truth[2:8, 2:8] = 1
    guess[2:8, 3:9] = 1
    found = stream(truth, guess, classes=2, distance=1, height=height)
    ring = 36 - 16  # 6 x 6 px without its inner 4 x 4
    # The rings share two rows of 5 px, without the inner column of each.
    assert found[:, 1].tolist() == [ring, ring, 2 * 5]
    # Beyond half of its side, the whole square is near its contour.
    assert stream(truth, guess, classes=2, distance=3)[:, 1].tolist() == [36, 36, 30]


def test_edge_of_the_scene_and_of_the_areas_is_a_contour():
    everywhere = np.zeros((6, 6), np.uint8)
    found = stream(everywhere, everywhere, distance=1)
    assert found[:, 0].tolist() == [20] * 3
    inside = np.zeros((6, 6), bool)
    inside[:, :4] = True
    assert stream(everywhere, everywhere, distance=1, inside=inside)[:, 0].tolist() == [16] * 3


def test_distance_is_two_percent_of_the_diagonal_and_at_most_15_px():
    assert default_distance_px(640, 480) == 15 < round(0.02 * 800)
    assert default_distance_px(300, 300) == 8
    assert default_distance_px(10, 10) == 1
    assert default_distance_px(10_000, 10_000) == 15
    for wrong in (0, 1.5, "2"):
        with pytest.raises(SpecError, match="distance_px must be a positive integer"):
            stream(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), distance=wrong)
