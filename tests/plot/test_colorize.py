from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import (
    CONFUSED,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    OTHER_COLOR,
    TRUE_POSITIVE,
    UNKNOWN_COLOR,
)
from rvlab.raster import Classes

CLASSES = Classes(
    ("ground", "building", "road", "null"),
    ((217, 217, 217), (255, 165, 0), (70, 117, 180), (0, 0, 0)),
    "null",
)
NONE = (0, 0, 0, 0)
SMALL = arrays(np.uint8, (4, 5), elements=st.integers(0, 5))


def seen(color):
    return (*color, 255)


def test_ids_have_class_colors_and_unknown_ids_a_separate_color():
    found = colorize.color_classes([[1, 2, 77]], CLASSES)
    assert found.dtype == np.uint8
    assert found.tolist() == [[[255, 165, 0], [70, 117, 180], list(OTHER_COLOR)]]


def test_errors_distinguish_tp_fp_fn_and_confused_classes():
    truth = np.array([[1, 0, 1, 1, 0, 3, 2]], np.uint8)
    guess = np.array([[1, 1, 0, 2, 0, 1, 2]], np.uint8)
    wanted = [TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, CONFUSED, None, None, TRUE_POSITIVE]
    found = colorize.color_errors(truth, guess, CLASSES, [1, 2])[0]
    assert [tuple(p) for p in found.tolist()] == [seen(c) if c else NONE for c in wanted]
    alone = colorize.color_errors(truth, guess, CLASSES, [2])[0]
    wanted = [None, None, None, FALSE_POSITIVE, None, None, TRUE_POSITIVE]
    assert [tuple(p) for p in alone.tolist()] == [seen(c) if c else NONE for c in wanted]


def test_pixels_outside_labelled_areas_have_no_errors():
    truth, guess = np.array([[1, 1, 77]], np.uint8), np.array([[0, 77, 1]], np.uint8)
    inside = np.array([[False, True, True]])
    found = colorize.color_errors(truth, guess, CLASSES, [1], inside)[0].tolist()
    assert [tuple(p) for p in found] == [NONE, seen(FALSE_NEGATIVE), NONE]


@given(SMALL, SMALL, st.sets(st.integers(0, 2), min_size=1))
def test_each_labelled_pixel_has_the_outcome_of_its_truth_and_prediction(truth, guess, of):
    found = colorize.color_errors(truth, guess, CLASSES, sorted(of))
    for row, col in np.ndindex(truth.shape):
        t, g = truth[row, col], guess[row, col]
        if t >= 3 or (t not in of and g not in of):
            color = None
        elif t == g:
            color = TRUE_POSITIVE
        else:
            color = (
                CONFUSED if t in of and g in of else FALSE_NEGATIVE if t in of else FALSE_POSITIVE
            )
        assert tuple(found[row, col].tolist()) == (seen(color) if color else NONE)


def test_outline_is_within_the_area_and_not_along_the_array_edge():
    ids = np.zeros((7, 8), np.uint8)
    ids[1:6, 3:] = 1  # clipped at the right
    lines = colorize.color_outlines(ids, CLASSES, class_ids=[1])[..., 3] == 255
    wanted = np.zeros((7, 8), bool)
    wanted[1:6, 3:] = True
    wanted[2:5, 4:] = False
    assert (lines == wanted).all()
    assert (
        colorize.color_outlines(ids, CLASSES, class_ids=[1])[lines][:, :3] == (255, 165, 0)
    ).all()
    wide = colorize.color_outlines(ids, CLASSES, class_ids=[1], width=2)[..., 3] == 255
    wanted[:] = False
    wanted[1:6, 3:] = True
    wanted[3, 5:] = False
    assert (wide == wanted).all()
    assert not colorize.color_outlines(ids, CLASSES, class_ids=[2]).any()


@given(SMALL, st.integers(1, 3))
def test_outlines_are_pixels_near_another_class(ids, width):
    lines = colorize.color_outlines(ids, CLASSES, class_ids=range(6), width=width)[..., 3] == 255
    if (ids == ids[0, 0]).all():  # a class that covers everything has a frame
        assert lines[0].all()
        assert lines[-1].all()
        assert lines[:, 0].all()
        assert lines[:, -1].all()
        return
    for row, col in np.ndindex(ids.shape):
        cross = [
            *ids[max(0, row - width) : row + width + 1, col],
            *ids[row, max(0, col - width) : col + width + 1],
        ]
        assert lines[row, col] == any(other != ids[row, col] for other in cross)


def test_heat_colors_equal_matplotlib_viridis():
    wanted = np.array(matplotlib.colormaps["viridis"].colors) * 255
    found = colorize.color_heat(np.linspace(0, 1, 256))
    assert np.abs(found - wanted).max() < 6
    assert found[0].tolist() == [68, 1, 84]
    assert found[-1].tolist() == [253, 231, 37]
    light = found @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > -0.5).all()
    assert colorize.color_heat([np.nan, -1, 2]).tolist() == [
        list(UNKNOWN_COLOR),
        [68, 1, 84],
        [253, 231, 37],
    ]


def test_layers_blend_by_alpha():
    image = np.full((1, 3, 3), 100, np.uint8)
    layer = np.array([[[255, 0, 0, 0], [200, 0, 0, 255], [200, 0, 100, 128]]], np.uint8)
    found = colorize.blend_over(image, layer)[0].tolist()
    assert found == [[100, 100, 100], [200, 0, 0], [150, 50, 100]]
    assert colorize.blend_over(image, layer[:, :2].repeat(2, axis=1)[:, :3])[0, 2].tolist() == [
        200,
        0,
        0,
    ]
    assert (image == 100).all()
    assert colorize.scale_alpha(layer, 0.5)[..., 3].tolist() == [[0, 128, 64]]
    assert colorize.scale_alpha(layer[..., :3], 0.2)[..., 3].tolist() == [[51, 51, 51]]


def test_dimmed_image_is_light_grey_and_preserves_brightness_order():
    found = colorize.fade_to_grey([[[0, 0, 0], [255, 255, 255], [200, 30, 30], [30, 200, 30]]])
    assert found.shape == (1, 4, 3)
    assert (found == found[..., :1]).all()
    black, white, red, green = found[0, :, 0].tolist()
    assert 190 < black < red < green < white <= 250


@pytest.mark.parametrize("ground", [200, 225, 250])
def test_error_colors_are_distinct_for_colour_blind_readers(ground):
    # Machado, Oliveira and Fernandes (2009), severity 1: protanopes and deuteranopes.
    eyes = {
        "all": np.eye(3),
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    }
    colors = [color for _, color in colorize.ERROR_COLORS] + [(ground,) * 3]
    for matrix in eyes.values():
        linear = (np.array(colors) / 255) ** 2.2 @ np.transpose(matrix)
        shown = np.clip(linear, 0, 1) ** (1 / 2.2) * 255
        gaps = np.abs(shown[:, None] - shown[None]).max(axis=-1)
        assert gaps[~np.eye(len(colors), dtype=bool)].min() > 35
