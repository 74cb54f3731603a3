from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import compare
from rvlab.errors import SpecError, TableError

VALUES = {
    "b": {"road": 0.5, "building": 0.9, None: 0.7},
    "a": {"road": np.nan, "building": 0.8, None: 0.8},
}


def evals(
    values: dict[str, Any] = VALUES,
    of: str = "class",
    metric: str = "f1",
    group: str = "validation",
    overall_metric: str | None = None,
    other: str | None = None,
) -> pd.DataFrame:
    """Return values by run and class or scene; None is the overall value."""
    rows = [
        {"run": run, "group": group, of: one, {"class": "scene", "scene": "class"}[of]: other,
         "metric": metric if one is not None else overall_metric or metric, "value": value}
        for run, each in values.items()
        for one, value in each.items()
    ]  # fmt: skip
    text = dict.fromkeys(("group", "scene", "class", "metric"), "string")
    return pd.DataFrame(rows).astype(text)


def test_pivot_has_a_row_per_run_and_the_overall_value_first() -> None:
    found = compare.pivot(evals())
    assert found.columns.tolist() == ["all", "road", "building"]
    assert found.index.name == "run"
    assert found.index.tolist() == ["b", "a"]
    # The overall value is from the table; it is not the mean of the others.
    assert found["all"].tolist() == [0.7, 0.8]
    assert found.loc["b", "road"] == 0.5
    assert (found.dtypes == "float64").all()


def test_undefined_values_are_missing_and_not_zero() -> None:
    assert np.isnan(compare.pivot(evals()).loc["a", "road"])
    table = pd.concat([evals(), evals({"c": {"road": 0.1}}, group="test")])
    found = compare.pivot(table)
    assert found.index.tolist() == ["b", "a", "c"]
    assert found.loc["c"].isna().all()


def test_null_class_has_pixel_counts_but_no_metric() -> None:
    counts = evals({"a": {"road": 40.0, "null": 7.0}, "b": {"road": 47.0}}, metric="truth_count")
    table = pd.concat([evals(), counts])
    assert "null" not in compare.pivot(table)
    found = compare.pivot(table, metric="truth_count")
    assert found.loc["a", "null"] == 7
    assert np.isnan(found.loc["b", "null"])
    assert found["all"].isna().all()


@pytest.mark.parametrize("metric", ["iou", "mean_iou", "metrics.mean_iou"])
def test_iou_over_all_classes_is_mean_iou(metric: str) -> None:
    found = compare.pivot(evals(metric="iou", overall_metric="mean_iou"), metric=metric)
    assert found.loc["b"].tolist() == [0.7, 0.5, 0.9]


def test_pivot_sorts_scenes_by_name_and_selects_one_class() -> None:
    scenes = {"a": {"s2": 0.2, "s1": 0.1, None: 0.15}}
    table = pd.concat([evals(scenes, "scene"), evals({"a": {"s1": 0.6, None: 0.5}}, "scene",
                                                     other="road")])  # fmt: skip
    assert compare.pivot(table, "scene").loc["a"].to_dict() == {"all": 0.15, "s1": 0.1, "s2": 0.2}
    assert compare.pivot(table, "scene", "f1.road").loc["a"].to_dict() == {"all": 0.5, "s1": 0.6}


def test_default_group_is_that_of_the_headline_metrics() -> None:
    table = pd.concat([evals({"a": {"road": 0.1}}, group="test"), evals()])
    assert compare.pivot(table).loc["b", "road"] == 0.5
    assert compare.pivot(table, group="test").loc["a", "road"] == 0.1


def test_pivot_errors_suggest_valid_words() -> None:
    table = evals()
    with pytest.raises(SpecError, match=r"columns cannot be 'classes'. Did you mean 'class'"):
        compare.pivot(table, "classes")
    with pytest.raises(TableError, match=r"In validation no class has the metric 'f2'"):
        compare.pivot(table, metric="f2")
    with pytest.raises(TableError, match=r"the group 'tset'. There are 'validation'"):
        compare.pivot(table, group="tset")
    with pytest.raises(TableError, match=r"has no column 'value'"):
        compare.pivot(table.drop(columns="value"))
    with pytest.raises(TableError, match="two values for one cell"):
        compare.pivot(pd.concat([table, table]))
    with pytest.raises(TableError, match="A class is called 'all'"):
        compare.pivot(evals({"a": {"all": 0.5}}))


def test_pivot_of_an_empty_table_has_the_overall_column() -> None:
    table = evals()
    before = table.copy()
    compare.pivot(table)
    pd.testing.assert_frame_equal(table, before)
    assert compare.pivot(table.head(0)).columns.tolist() == ["all"]
