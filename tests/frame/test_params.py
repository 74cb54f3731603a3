from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab import compare, plot
from rvlab.frame.params import differing_columns, run_labels, value_codes, value_key, value_labels

VALUES = st.one_of(
    st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)


@pytest.mark.parametrize(
    ("values", "differ"),
    [
        ([100001, 100002], True),
        ([0.123456, 0.123457], True),
        ([1, 1.0], False),
        ([1, True], True),
        ([[1, 2], [1, 2]], False),
        ([[1, 2], [2, 1]], True),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
        ([None, 1], True),
        ([None, float("nan")], False),
        (["1", 1], True),
    ],
)
def test_parameters_are_compared_by_value(values: list[Any], differ: bool) -> None:
    for dtype in ("object", None):
        table = pd.DataFrame({"params.x": pd.Series(values, dtype=dtype)})
        if dtype is None and table["params.x"].dtype != "object" and any(v is True for v in values):
            continue
        assert differing_columns(table) == (["params.x"] if differ else [])


@given(st.lists(VALUES, min_size=1, max_size=8))
def test_labels_are_equal_only_for_equal_values(values: list[Any]) -> None:
    labels = value_labels(values)
    numbers = [(v, word) for v, word in zip(values, labels, strict=True) if isinstance(v, float)]
    for v, word in numbers:
        assert all((v == other) == (word == text) for other, text in numbers)
    for v, word in zip(values, labels, strict=True):
        if isinstance(v, int) and not isinstance(v, bool):
            assert word == str(v)


def test_values_that_differ_after_four_digits_have_own_titles_ticks_and_importance() -> None:
    steps = [100001, 100002, 100003] * 5
    table = pd.DataFrame(
        {
            "params.steps": steps,
            "seed": [2**31 + i for i in range(15)],
            "metrics.f1": [0.1 * (s - 100000) for s in steps],
        },
        index=pd.Index([f"r-{i}" for i in range(15)], name="run"),
    )
    assert list(run_labels(table.reset_index().iloc[:2]).values()) == [
        ["steps = 100001"],
        ["steps = 100002"],
    ]
    figure = plot.parallel(table)
    ticks = [t.get_text() for t in figure.axes[0].texts if t.get_gid() == "params.steps"]
    assert ticks == ["100001", "100002", "100003"]
    bars = plot.importance(table)
    assert [t.get_text() for t in bars.axes[0].get_yticklabels()] == ["steps"]
    assert list(compare.varying(table.assign(uri="x"))) == ["params.steps"]


def test_titles_show_all_digits_of_seeds_that_differ() -> None:
    table = pd.DataFrame({"run": ["a", "b"], "params.lr": [0.1, 0.1], "seed": [1234567, 1234568]})
    assert run_labels(table) == {"a": ["seed = 1234567"], "b": ["seed = 1234568"]}


def test_value_key_of_a_set_does_not_depend_on_its_order() -> None:
    assert value_key({"b", "a"}) == value_key({"a", "b"})


def test_value_key_of_arrays_and_of_dicts_with_mixed_keys() -> None:
    assert value_key(np.array([0, 1])) == value_key([0, 1]) == value_key((0, 1))
    assert value_key({1: "a", "b": 2}) == value_key({1: "a", "b": 2})
    assert value_key({1: "a", "b": 2}) != value_key({1: "a", "b": 3})
    assert isinstance(hash(value_key(bytearray(b"x"))), int)


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([[1], [2], [1]], [0, 1, 0]),
        ([{"a": 1}, None, {"a": 1}, np.nan], [0, 1, 0, 1]),
        ([True, 1, 1.0, "1"], [0, 1, 1, 2]),
        (pd.array([3, None, 3], "Int64"), [0, 1, 0]),
        (pd.array(["b", "a", None, "b"], "string"), [0, 1, 2, 0]),
    ],
)
def test_value_codes_are_equal_for_equal_values(values: Any, codes: list[int]) -> None:
    column = values if hasattr(values, "dtype") else pd.Series(values, dtype=object)
    assert value_codes(pd.Series(column)).tolist() == codes


def test_runs_are_named_by_parameters_then_seed_then_name_then_id() -> None:
    runs = pd.DataFrame({"run": ["1-a", "1-b"], "params.lr": [0.1, 0.2], "seed": 0, "name": "n"})
    assert run_labels(runs) == {"1-a": ["lr = 0.1"], "1-b": ["lr = 0.2"]}
    same = runs.assign(**{"params.lr": 0.1})
    assert run_labels(same.assign(seed=[3, 4])) == {"1-a": ["seed = 3"], "1-b": ["seed = 4"]}
    assert run_labels(same.assign(name=["x", "y"])) == {"1-a": ["x"], "1-b": ["y"]}
    assert run_labels(same) == {"1-a": ["…a"], "1-b": ["…b"]}
    assert run_labels(same, short_ids=False) == {"1-a": ["1-a"], "1-b": ["1-b"]}
    assert run_labels(same.head(1)) == {"1-a": ["n"]}
    assert run_labels(same.head(1).drop(columns="name")) == {"1-a": ["1-a"]}
    twice = pd.concat([runs, same.tail(1).assign(run="1-c")])
    assert run_labels(twice)["1-c"] == ["lr = 0.1", "…c"]


def test_label_of_a_run_has_at_most_four_parameters() -> None:
    many = pd.DataFrame({"run": ["a", "b"], **{f"params.p{i}": [0, i + 1] for i in range(6)}})
    assert run_labels(many)["b"] == ["p0 = 1", "p1 = 2", "p2 = 3", "p3 = 4", "and 2 more"]
    named = run_labels(many.assign(who=["x", "y"]), "who")
    assert named == {"a": ["x"], "b": ["y"]}


def test_run_without_a_readable_spec_differs_in_no_parameter() -> None:
    table = pd.DataFrame(
        {"recipe": ["town", "town", None], "params.lr": [0.1, 0.2, None], "params.n": [1, 1, None]}
    )
    assert differing_columns(table) == ["params.lr"]
    assert differing_columns(table.drop(columns="recipe")) == ["params.lr", "params.n"]
