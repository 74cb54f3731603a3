"""The picture of a test's interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rvlab import compare
from rvlab.compare.display import PICTURE_MARGIN, PICTURE_WIDTH, interval_picture
from tests.compare.samples import confusion, scene_matrices, table


def test_picture_contains_the_interval_zero_and_the_margin_of_a_gate() -> None:
    matrices = scene_matrices(np.random.default_rng(0), 12, [0.2, 0.9])
    sides = {"a": matrices[0], "b": matrices[1]}
    made = table({run: {"metrics.f1": 0.5} for run in sides})
    test = compare.test(made.loc[["a"]], made.loc[["b"]], confusion=confusion(sides), resamples=99)
    found = interval_picture(replace(test, low=-0.1, difference=0.2, high=0.4), -0.6)
    assert found is not None
    right = PICTURE_WIDTH - PICTURE_MARGIN
    assert (found["low"], found["middle"], found["high"]) == (210.0, 308.4, right)
    assert found["limits"] == [(242.8, "0", 42), (PICTURE_MARGIN, "margin -0.6", 42)]
    assert found["text"] == "+0.2000  [-0.1000, +0.4000]"
    point = interval_picture(replace(test, low=0.0, difference=0.0, high=0.0), 0.0)
    assert point is not None
    assert point["middle"] == PICTURE_MARGIN
    close = interval_picture(replace(test, low=-0.9, difference=-0.7, high=-0.6), -0.01)
    assert close is not None
    assert [y for *_, y in close["limits"]] == [42, 54]  # labels that would overlap
    assert close["height"] == 58
