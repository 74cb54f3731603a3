"""Ranges of parameters, and random points in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rvlab
from rvlab.errors import SpecError


@given(st.integers(-50, 50), st.integers(1, 50), st.integers(0, 2**32))
def test_integer_bounds_give_integers_within_them(low: int, width: int, seed: int) -> None:
    points = rvlab.random(5, seed=seed, n=rvlab.uniform(low, low + width))
    assert all(type(p["n"]) is int and low <= p["n"] <= low + width for p in points)


def test_each_integer_is_equally_likely() -> None:
    points = rvlab.random(6000, n=rvlab.uniform(1, 3))
    for value in (1, 2, 3):
        assert sum(p["n"] == value for p in points) == pytest.approx(2000, abs=150)


def test_loguniform_has_equal_shares_in_each_order_of_magnitude() -> None:
    points = rvlab.random(4000, lr=rvlab.loguniform(1e-4, 1e-2))
    assert sum(p["lr"] < 1e-3 for p in points) == pytest.approx(2000, abs=150)
    assert all(1e-4 <= p["lr"] <= 1e-2 for p in points)


def test_lists_are_choices_and_single_values_are_fixed() -> None:
    points = rvlab.random(50, width=[4, 8], name="one")
    assert {p["width"] for p in points} == {4, 8}
    assert {p["name"] for p in points} == {"one"}


def test_same_seed_gives_the_same_points() -> None:
    space: dict[str, Any] = {"lr": rvlab.loguniform(1e-4, 1e-2), "width": [4, 8]}
    assert rvlab.random(3, seed=1, **space) == rvlab.random(3, seed=1, **space)
    assert rvlab.random(3, seed=1, **space) != rvlab.random(3, seed=2, **space)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rvlab.uniform(2, 1), "low < high, got 2 and 1"),
        (lambda: rvlab.uniform(0, float("inf")), "low < high, got 0 and inf"),
        (lambda: rvlab.loguniform(0, 1), "positive bounds, got 0"),
        (lambda: rvlab.uniform("1", 2), "must be numbers, got '1'"),  # type: ignore[arg-type]
        (lambda: rvlab.random(0, lr=[1]), "n must be a positive integer, got 0"),
        (lambda: rvlab.random(1, lr=[]), "lr has no values"),
    ],
)
def test_invalid_ranges_are_refused(call: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        call()
