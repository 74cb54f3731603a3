"""Components in strips equal those that scipy and rasterio find in the whole array."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from rvlab.errors import RasterError
from rvlab.raster import components as module
from rvlab.raster.components import Components, Overlaps, SceneComponents
from rvlab.raster.strip import Strip
from rvlab.raster.window import Window

KEPT = np.array([False, True, True])


def stream(truth, guess, height=None, *, labelled=(True, True, True), inside=None, score=None):
    """Return the components of two arrays that are added in strips of a height."""
    found = SceneComponents(KEPT, np.array(labelled))
    height = height or len(truth)
    for top in range(0, len(truth), height):
        rows = slice(top, top + height)
        part = Window(0, top, truth.shape[1], len(truth[rows]))
        some = [None if a is None else a[rows] for a in (inside, score)]
        found.add(Strip(part, truth[rows], guess[rows], *some))
    return found.finish()


def ids(*rows):
    return np.array([[int(c) for c in row] for row in rows], np.uint8)


def label_whole(array, score=None):
    """Return the components of a whole array by `scipy.ndimage.label`, as `Components`."""
    found = []
    for class_id in (1, 2):
        labels, n = ndimage.label(array == class_id)  # 4 neighbours by default
        for number in range(1, n + 1):
            rows, cols = np.nonzero(labels == number)
            mean = np.nan if score is None else score[rows, cols].mean()
            edges = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
            middle = [cols.mean() + 0.5, rows.mean() + 0.5]
            first = rows[0] * array.shape[1] + cols[0]
            found.append((first, class_id, len(rows), edges, middle, mean))
    return [one[1:] for one in sorted(found, key=lambda one: one[0])]


SHAPES = st.tuples(st.integers(1, 14), st.integers(1, 14))


@given(SHAPES, st.integers(0, 2**31), st.integers(1, 14), st.sampled_from([0.5, 0.8, 0.95]))
def test_components_and_overlaps_in_strips_equal_those_of_the_whole_array(
    shape, seed, height, share
):
    rng = np.random.default_rng(seed)
    chances = [1 - share, share / 2, share / 2]
    truth, guess = (rng.choice(3, shape, p=chances).astype(np.uint8) for _ in range(2))
    score = rng.random(shape).astype(np.float32)
    true, said, pairs = stream(truth, guess, height, score=score)
    for found, wanted in ((true, label_whole(truth)), (said, label_whole(guess, score))):
        assert found.class_ids.tolist() == [one[0] for one in wanted]
        assert found.area_px.tolist() == [one[1] for one in wanted]
        assert found.bounds.tolist() == [list(map(int, one[2])) for one in wanted]
        for values, at in ((found.centers.reshape(-1, 2), 3), (found.scores, 4)):
            assert np.allclose(
                values, np.array([one[at] for one in wanted]).reshape(values.shape), equal_nan=True
            )
    assert as_dict(pairs) == pytest.approx(polygon_overlaps(truth, guess))


def as_dict(pairs: Overlaps):
    return {(t, g): iou for t, g, iou in zip(*(a.tolist() for a in pairs), strict=True)}


def polygon_overlaps(truth, guess):
    """Return the IoU of polygons of the same class, found by rasterio and shapely."""

    def polygons(array):
        found = rasterio.features.shapes(array, mask=array > 0, connectivity=4)
        shapes = [(shapely.geometry.shape(shape), int(value)) for shape, value in found]
        first = [
            np.argwhere(rasterio.features.rasterize([s], array.shape) == 1)[0] for s, _ in shapes
        ]
        order = sorted(range(len(shapes)), key=lambda i: tuple(first[i]))
        return [shapes[i] for i in order]

    found = {}
    for t, (one, true_class) in enumerate(polygons(truth)):
        for g, (other, said_class) in enumerate(polygons(guess)):
            shared = one.intersection(other).area
            if true_class == said_class and shared > 0:
                found[t, g] = shared / one.union(other).area
    return found


def test_touching_objects_of_a_class_are_one_and_diagonal_neighbours_are_two():
    found, _, _ = stream(ids("1100", "0110", "0001"), ids("0000", "0000", "0000"))
    assert found.area_px.tolist() == [4, 1]
    touching, _, _ = stream(ids("1122"), ids("0000"))
    assert touching.class_ids.tolist() == [1, 2]


@pytest.mark.parametrize("height", [1, 2, 3, 5])
def test_object_over_strip_borders_is_one_with_its_hole(height):
    ring = ids("00000", "01110", "01010", "01110", "00000")
    true, said, pairs = stream(
        ring, np.where(ring == 1, 1, 0) | ids(*["00000"] * 2, "00100", *["00000"] * 2), height
    )
    assert true.area_px.tolist() == [8]  # the hole is not part of the object
    assert said.area_px.tolist() == [9]
    assert true.bounds.tolist() == [[1, 1, 4, 4]]
    assert true.centers.tolist() == [[2.5, 2.5]]
    assert pairs.iou.tolist() == [8 / 9]


def test_arms_that_join_in_a_later_strip_are_one_object():
    comb = ids("10101", "10101", "11111")
    for height in (1, 2, 3):
        assert stream(comb, comb, height)[0].area_px.tolist() == [11]


def test_one_pixel_objects_and_empty_scenes():
    one, none, pairs = stream(ids("010"), ids("000"))
    assert one.bounds.tolist() == [[1, 0, 2, 1]]
    assert (len(none), len(pairs.iou)) == (0, 0)
    empty = stream(ids("000"), ids("000"))
    assert [len(part) for part in empty[:2]] == [0, 0]
    assert isinstance(empty[0], Components)


def test_pixels_outside_areas_and_without_label_belong_to_no_object():
    truth, guess = ids("1111", "0000"), ids("1111", "1111")
    inside = np.array([[True, True, False, False], [True, True, True, True]])
    true, said, pairs = stream(truth, guess, 1, inside=inside)
    assert (true.area_px.tolist(), said.area_px.tolist()) == ([2], [6])
    assert pairs.iou.tolist() == [2 / 6]
    # Class 0 is that of unlabelled pixels: predictions there are neither right nor wrong.
    _, said, pairs = stream(truth, guess, 1, labelled=(False, True, True))
    assert (said.area_px.tolist(), pairs.iou.tolist()) == ([4], [1.0])


def test_more_objects_than_the_limit_raise(monkeypatch):
    monkeypatch.setattr(module, "MAX_OBJECTS", 3)
    noise = ids("10101010")
    with pytest.raises(RasterError, match="more than 3 predicted objects"):
        stream(np.zeros_like(noise), noise)
