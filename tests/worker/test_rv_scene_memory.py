"""Bands of rows on disk give the labels that Raster Vision computes in memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvlab.errors import StepError
from rvlab.worker.rv_overlap import window_spans
from rvlab.worker.rv_scene_memory import labels_on_disk

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    chip=st.integers(2, 16),
    stride=st.integers(1, 20),
    crop=st.integers(0, 3),
    smooth=st.booleans(),
    seed=st.integers(0, 99),
)
def test_labels_of_a_scene_equal_those_of_raster_vision(
    size: tuple[int, int], chip: int, stride: int, crop: int, smooth: bool, seed: int
) -> None:
    from rastervision.core.box import Box
    from rastervision.core.data import (
        SemanticSegmentationDiscreteLabels,
        SemanticSegmentationSmoothLabels,
    )

    extent, rng = Box(0, 0, *size), np.random.default_rng(seed)
    windows = extent.get_windows(chip, stride, padding=chip, pad_direction="both")
    crop = min(crop, (chip - 1) // 2)
    windows = [w for w in windows if w.center_crop(crop, crop).intersects(extent)]
    scores = rng.random((len(windows), 3, chip, chip), dtype=np.float32)
    values = list(scores if smooth else scores.argmax(axis=1))
    kind = SemanticSegmentationSmoothLabels if smooth else SemanticSegmentationDiscreteLabels
    ours, theirs = labels_on_disk(extent, 3, smooth=smooth), kind(extent, 3)
    for labels in (ours, theirs):
        labels.add_predictions(windows, values, crop_sz=crop or None)

    for part in (extent, Box(size[0] // 3, 0, size[0], size[1] // 2 + 1)):
        assert np.array_equal(ours.get_label_arr(part, 7), theirs.get_label_arr(part, 7))
        if smooth:
            pair = ours.get_score_arr(part), theirs.get_score_arr(part)
            assert np.array_equal(*pair, equal_nan=True)
    if smooth:
        assert np.array_equal(ours.pixel_hits, theirs.pixel_hits)


def test_windows_must_come_in_the_order_of_their_rows() -> None:
    from rastervision.core.box import Box

    labels = labels_on_disk(Box(0, 0, 20, 8), 2)
    labels[Box(8, 0, 16, 8)] = np.zeros((8, 8))
    with pytest.raises(StepError, match="in the order of their rows, but row 0 follows 8"):
        labels[Box(0, 0, 8, 8)] = np.zeros((8, 8))


@given(st.integers(1, 500), st.integers(1, 80), st.floats(0, 0.9))
def test_overlapping_windows_are_in_the_scene_and_cover_each_pixel_once(
    length: int, size: int, overlap: float
) -> None:
    stride = max(1, size - 2 * round(size * overlap / 2))
    spans = window_spans(length, size, stride)
    assert [stop for _, _, stop in spans[:-1]] == [first for _, first, _ in spans[1:]]
    assert (spans[0][1], spans[-1][2]) == (0, length)
    for start, first, stop in spans:
        assert start <= first < stop <= start + size
        assert start >= 0
        assert start + size <= max(length, size)
    margin = (size - stride) // 2  # inside the scene, the edges of windows are discarded
    assert all(first - start >= margin for start, first, _ in spans[1:])


def test_windows_overlap_by_a_quarter_of_their_side() -> None:
    assert window_spans(200, 64, 48) == [(0, 0, 56), (48, 56, 104), (96, 104, 148), (136, 148, 200)]
    assert window_spans(64, 64, 48) == [(0, 0, 64)]
    assert window_spans(20, 64, 48) == [(0, 0, 20)]  # padded, as the scene is smaller
