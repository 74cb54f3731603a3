"""Metrics of objects by run, scene and class, from a table or from runs."""

from __future__ import annotations

import pandas as pd
import pytest

from rvlab import compare
from rvlab.errors import TableError
from rvlab.model.tables import LAB_TABLES


def objects() -> pd.DataFrame:
    """Return two scenes: of tree 2 of 3 are found and 1 is wrong; of car 0 of 1 are found."""
    true, said = "truth", "prediction"
    tp, fp, fn = "true positive", "false positive", "false negative"
    rows = [
        ("a", true, "tree", tp, None, 1),
        ("a", true, "tree", tp, None, 1),
        ("a", said, "tree", tp, 0.9, 1),
        ("a", said, "tree", fp, 0.8, 0),
        ("a", said, "tree", tp, 0.7, 1),
        ("b", true, "tree", fn, None, 0),
        ("b", true, "car", fn, None, 0),
    ]
    names = ["scene", "side", "class", "outcome", "score", "matched_at"]
    return pd.DataFrame(rows, columns=names).assign(run="r", group="validation")


def test_scores_of_a_run_are_macro_averages_over_its_classes() -> None:
    found = compare.object_scores(objects())
    assert found.index.tolist() == ["r"]
    row = found.loc["r"]
    counts = ["truth_count", "prediction_count", "tp", "fp", "fn"]
    assert row[counts].tolist() == [4, 3, 2, 1, 2]
    assert row["precision"] == pytest.approx((2 / 3 + 0) / 2)
    assert row["recall"] == pytest.approx((2 / 3 + 0) / 2)
    assert row["f1"] == pytest.approx((4 / 6 + 0) / 2)
    assert row["count_error"] == pytest.approx((1 + 1 + 1) / 4)  # tree in a and b, car in b
    # Tree: precision 1 to recall 1/3 (34 values), 2/3 to 2/3 (33 values); car: 0.
    assert row["map50"] == pytest.approx((34 + 33 * 2 / 3) / 101 / 2)
    assert row["map"] == pytest.approx(row["map50"] / 10)


def test_scores_by_scene_and_class_count_only_their_objects() -> None:
    found = compare.object_scores(objects(), by=["run", "scene", "class"])
    assert found.index.names == ["run", "scene", "class"]
    assert found.loc[("r", "a", "tree"), "recall"] == 1
    assert found.loc[("r", "b", "car"), "f1"] == 0
    limited = compare.object_scores(objects(), max_detections=1)
    assert limited["map50"].tolist() == pytest.approx([34 / 101 / 2])


def test_empty_table_and_missing_columns() -> None:
    dtypes = LAB_TABLES["objects"].dtypes
    empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})
    assert compare.object_scores(empty).empty
    with pytest.raises(TableError, match="no column 'clas'"):
        compare.object_scores(objects(), by="clas")
