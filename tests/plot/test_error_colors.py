from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab import plot
from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import choose_error_colors
from rvlab.raster.config import Classes
from tests.raster.samples import CLASSES, Experiment

DEFAULTS = tuple(color for _, color in colorize.ERROR_COLORS)
# The classes of ISPRS Potsdam, and of a map in the colors of errors.
POTSDAM = ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0))
COLOR = st.tuples(*[st.integers(0, 255)] * 3)


def least_gap(colors, others):
    """Return the smallest difference of two colors, in the channel in which they differ most."""
    gaps = np.abs(np.array(colors)[:, None].astype(int) - np.array(others)[None])
    return int(gaps.max(axis=-1).min())


def test_errors_keep_their_colors_if_no_class_has_nearly_the_same():
    assert choose_error_colors([]) == DEFAULTS
    assert choose_error_colors([(255, 165, 0), (120, 60, 160)])[:3] == DEFAULTS[:3]


@pytest.mark.parametrize("classes", [POTSDAM, DEFAULTS, [(228, 87, 46)], [(70, 117, 180)]])
def test_errors_differ_from_all_classes_and_from_each_other(classes):
    found = choose_error_colors(classes)
    assert least_gap(found, classes) >= 40
    for i, color in enumerate(found):
        assert least_gap([color], [*found[:i], *found[i + 1 :]]) >= 40
        assert least_gap([color], [(n, n, n) for n in range(200, 251)]) >= 30


@given(st.lists(COLOR, max_size=40))
def test_no_error_has_the_color_of_a_class(classes):
    found = choose_error_colors(classes)
    assert len({*found}) == len(found)
    assert not {*found} & {*classes}


@given(st.lists(COLOR, min_size=1, max_size=6))
def test_unknown_class_id_differs_from_all_classes(colors):
    own = Classes(tuple(map(str, range(len(colors)))), tuple(colors))
    assert least_gap([colorize.choose_color_of_unknown_ids(own)], colors) >= 64


def test_errors_in_the_color_of_a_class_get_another_one_in_picture_and_legend(tmp_path):
    green, blue = "#009e73", "#0072b2"  # those of true positives and false negatives
    made = Experiment(tmp_path, scenes=1)
    made.add(0.2, classes=CLASSES | {"colors": ["#d9d9d9", green, blue, "black"]})
    figure = plot.predictions(made.runs, show="errors", classes=["building", "road"])
    (legend,) = figure.legends
    colors = {
        text.get_text(): tuple(round(255 * v) for v in patch.get_facecolor()[:3])
        for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }
    assert len({*colors.values()}) == len(colors) == 6
    assert colors["truth: building"] == (0, 158, 115)
    assert colors["true positive"] != (0, 158, 115)
    cell = figure.axes[0].images[2].get_array()
    assert (cell == colors["true positive"]).all(axis=-1).sum() > 500
    assert (cell == colors["false negative"]).all(axis=-1).sum() > 50
    assert not (cell == (0, 158, 115)).all(axis=-1).any()
