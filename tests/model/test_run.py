"""The address of a run, and the names that are valid in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab.errors import SpecError
from rvlab.model import Run, new_run_id, step_name, utc_now, validate_name

ID = "20261123-154201-4f2a9c"


@pytest.mark.parametrize("store", ["s3://bucket", "s3://bucket/a/b", "/data/store", "memory://m"])
def test_uri_of_a_run_is_parsed_to_the_same_run(store: str) -> None:
    run = Run(store, "towns", ID)
    assert run.uri == f"{store}/towns/{ID}"
    assert Run.from_uri(run.uri) == Run.from_uri(f"{run.uri}/") == run


@pytest.mark.parametrize(
    "uri", ["", "towns", f"towns/{ID}", f"/towns/{ID}", f"s3://towns/{ID}", f"s3:///towns/{ID}"]
)
def test_uri_that_is_not_of_a_run_raises(uri: str) -> None:
    with pytest.raises(
        SpecError,
        match=re.escape(f"{uri!r} is not the URI of a run. Use {{store}}/{{experiment}}/{{run}}."),
    ):
        Run.from_uri(uri)


def test_keys_of_a_run_are_in_its_folder() -> None:
    run = Run("s3://b/p", "towns", ID)
    assert run.key("spec.json") == f"towns/{ID}/spec.json"
    assert run.step_key("predict", 2) == f"towns/{ID}/steps/predict-2.json"
    assert run.step_key("train") == f"towns/{ID}/steps/train.json"
    assert run.log_key("chip", 0) == f"towns/{ID}/logs/chip-0.log"
    assert run.rv_uri == f"s3://b/p/towns/{ID}/rv"
    assert step_name("predict", 0) == "predict-0"


@pytest.mark.parametrize("name", ["towns", "a", "9", "Towns_2.1-b", "a" * 100])
def test_plain_names_are_valid(name: str) -> None:
    assert validate_name("experiment", name) == name


@pytest.mark.parametrize(
    "name",
    ["", "_data", ".cache", "-a", "a b", "a/b", "..", "größe", "a\n", "a" * 101, 5, None],
)
def test_other_names_raise_with_the_rule(name: Any) -> None:
    with pytest.raises(
        SpecError,
        match=r"is not a valid experiment name\. Use up to 100 letters, digits",
    ) as raised:
        Run("s3://b", name, ID)
    assert str(raised.value).startswith(repr(name))


moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(moments, moments)
def test_ids_sort_by_time(one: datetime, other: datetime) -> None:
    first, second = sorted([one, other])
    ids = new_run_id(first), new_run_id(second)
    assert all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", i) for i in ids)
    assert ids[0][:15] <= ids[1][:15]


def test_id_is_in_utc_for_a_time_in_another_zone() -> None:
    here = datetime(2026, 11, 23, 17, 42, 1, tzinfo=timezone(timedelta(hours=2)))
    assert new_run_id(here).startswith("20261123-154201-")


def test_utc_now_has_milliseconds() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", utc_now())
    assert abs(datetime.fromisoformat(utc_now()) - datetime.now(UTC)) < timedelta(seconds=5)
