from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab.errors import SpecError, WindowOutside
from rvlab.raster import Window

windows = st.builds(
    Window, st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60), st.integers(1, 60)
)
sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))


def pixels(window):
    return {
        (row, col)
        for row in range(window.row, window.stop_row)
        for col in range(window.col, window.stop_col)
    }


@given(windows, windows)
def test_intersection_contains_exactly_the_pixels_of_both(one, other):
    both = one.intersection(other)
    assert (pixels(both) if both else set()) == pixels(one) & pixels(other)
    assert both == other.intersection(one)


@given(windows, sizes)
def test_clip_is_inside_the_raster_and_idempotent(window, size):
    try:
        cut = window.clip(*size)
    except WindowOutside:
        assert window.intersection(Window(0, 0, *size)) is None
        return
    assert cut.clip(*size) == cut
    assert 0 < cut.area <= window.area
    array = np.zeros(size[::-1])
    assert array[cut.slices()].shape == (cut.height, cut.width)


@given(windows, st.integers(-9, 9), st.integers(-9, 9))
def test_shift_and_its_opposite_restore_the_window(window, cols, rows):
    assert window.shifted(cols, rows).shifted(-cols, -rows) == window


@given(windows, st.integers(1, 80))
def test_shape_within_limits_the_longest_side_and_preserves_proportions(window, max_px):
    rows, cols = window.shape_within(max_px)
    assert max(rows, cols) == min(max_px, max(window.width, window.height))
    scale = max(rows, cols) / max(window.width, window.height)
    assert abs(rows - window.height * scale) <= 1
    assert abs(cols - window.width * scale) <= 1


@given(windows)
def test_to_rasterio_has_the_same_pixels(window):
    theirs = window.to_rasterio()
    assert theirs.toranges() == (
        (window.row, window.stop_row),
        (window.col, window.stop_col),
    )


def test_from_value_accepts_a_table_row():
    row = {"scene": "a", "col": 1.0, "row": np.int64(2), "width": 3, "height": 4}
    assert Window.from_value(row) == Window(1, 2, 3, 4) == Window.from_value((1, 2, 3, 4))


def test_invalid_windows_raise_spec_error():
    with pytest.raises(SpecError, match=r"col must be an integer, in pixels; got 1.5"):
        Window(1.5, 0, 3, 3)
    with pytest.raises(SpecError, match=r"row must be an integer, in pixels; got nan"):
        Window(1, float("nan"), 3, 3)
    with pytest.raises(SpecError, match=r"0 × 4 px at col 1, row 2 is empty"):
        Window(1, 2, 0, 4)
    with pytest.raises(SpecError, match=r"Give col, row, width and height"):
        Window.from_value({"col": 3})
    with pytest.raises(SpecError, match=r"Give col, row, width and height"):
        Window.from_value((1, 2, 3))


def test_error_of_a_window_outside_contains_both_sizes():
    with pytest.raises(WindowOutside, match=r"4 × 4 px at col 40, row 0 is outside .* 30 × 20 px"):
        Window(40, 0, 4, 4).clip(30, 20)
