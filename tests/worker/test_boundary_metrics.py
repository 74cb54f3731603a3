"""The boundary IoU in the table of evaluations and in the end record."""

from __future__ import annotations

import pytest

from rvlab.model.tables import BOUNDARIES_TABLE, SCENES_TABLE
from rvlab.store.table_file import rows_to_arrow
from rvlab.worker.boundary_metrics import boundary_evaluations, headline_boundary_iou

Counts = dict[tuple[str, str], tuple[int, int, int]]


def boundaries(counts: dict[str, Counts]):
    """Return the table of scenes with counts of the truth, of the prediction and of both."""
    rows = [
        (group, scene, name, 5, *numbers)
        for group, part in counts.items()
        for (scene, name), numbers in part.items()
    ]
    return rows_to_arrow(BOUNDARIES_TABLE, rows)


def scenes(*pairs: tuple[str, str]):
    return rows_to_arrow(SCENES_TABLE, [{"group": g, "scene": s} for g, s in pairs])


def test_values_are_those_of_summed_pixels_and_undefined_ones_are_missing() -> None:
    validation: Counts = {
        ("a", "road"): (10, 10, 5),
        ("b", "road"): (20, 0, 0),
        ("a", "car"): (0, 0, 0),
        ("b", "car"): (4, 4, 4),
    }
    found = boundary_evaluations(
        boundaries({"validation": validation}),
        scenes(("validation", "a"), ("validation", "b"), ("mine", "a")),
    )
    values = {(row["group"], row["scene"], row["class"]): row["value"] for row in found.to_pylist()}
    assert values == {
        ("validation", None, None): pytest.approx((5 / 35 + 1) / 2),
        ("validation", None, "road"): pytest.approx(5 / 35),
        ("validation", None, "car"): 1,
        ("validation", "a", None): pytest.approx(1 / 3),
        ("validation", "a", "road"): pytest.approx(1 / 3),
        ("validation", "a", "car"): None,
        ("validation", "b", None): 0.5,
        ("validation", "b", "road"): 0,
        ("validation", "b", "car"): 1,
        # A group of the user consists of validation and test scenes.
        ("mine", None, None): pytest.approx(1 / 3),
        ("mine", None, "road"): pytest.approx(1 / 3),
        ("mine", None, "car"): None,
        ("mine", "a", None): pytest.approx(1 / 3),
        ("mine", "a", "road"): pytest.approx(1 / 3),
        ("mine", "a", "car"): None,
    }


def test_group_with_a_scene_that_could_not_be_counted_has_no_value() -> None:
    both = scenes(("validation", "a"), ("validation", "b"), ("test", "c"))
    table = boundaries(
        {"validation": {("a", "road"): (4, 4, 4)}, "test": {("c", "road"): (4, 4, 2)}}
    )
    found = boundary_evaluations(table, both, {"b"})
    whole = [row for row in found.to_pylist() if row["scene"] is None and row["class"] is None]
    assert [(row["group"], row["value"]) for row in whole] == [("test", pytest.approx(1 / 3))]
    assert headline_boundary_iou(found, both) == {}  # never that of another group than the F1
    assert headline_boundary_iou(found, scenes(("test", "c"))) == {
        "boundary_iou": pytest.approx(1 / 3)
    }
    assert headline_boundary_iou(found, both[:0]) == {}
