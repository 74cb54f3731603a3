"""A run's address, and the names that may stand in it."""

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
def test_a_uri_goes_apart_and_together(store: str) -> None:
    run = Run(store, "towns", ID)
    assert run.uri == f"{store}/towns/{ID}"
    assert Run.from_uri(run.uri) == Run.from_uri(f"{run.uri}/") == run


@pytest.mark.parametrize(
    "uri", ["", "towns", f"towns/{ID}", f"/towns/{ID}", f"s3://towns/{ID}", f"s3:///towns/{ID}"]
)
def test_what_is_no_run_is_refused(uri: str) -> None:
    with pytest.raises(
        SpecError,
        match=re.escape(f"{uri!r} is no run. A run's URI is {{store}}/{{experiment}}/{{run}}."),
    ):
        Run.from_uri(uri)


def test_its_keys_lie_in_its_folder() -> None:
    run = Run("s3://b/p", "towns", ID)
    assert run.key("spec.json") == f"towns/{ID}/spec.json"
    assert run.step_key("predict", 2) == f"towns/{ID}/steps/predict-2.json"
    assert run.step_key("train") == f"towns/{ID}/steps/train.json"
    assert run.log_key("chip", 0) == f"towns/{ID}/logs/chip-0.log"
    assert run.rv_uri == f"s3://b/p/towns/{ID}/rv"
    assert step_name("predict", 0) == "predict-0"


@pytest.mark.parametrize("name", ["towns", "a", "9", "Towns_2.1-b", "a" * 100])
def test_plain_names_may_stand_in_a_key(name: str) -> None:
    assert validate_name("experiment", name) == name


@pytest.mark.parametrize(
    "name",
    ["", "_data", ".cache", "-a", "a b", "a/b", "..", "größe", "a\n", "a" * 101, 5, None],
)
def test_other_names_are_refused_with_the_rule(name: Any) -> None:
    with pytest.raises(
        SpecError,
        match=r" cannot be the name of the experiment\. Take letters, digits, '\.', '_' and '-'",
    ) as told:
        Run("s3://b", name, ID)
    assert str(told.value).startswith(repr(name))


moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(moments, moments)
def test_ids_sort_by_time(one: datetime, other: datetime) -> None:
    first, second = sorted([one, other])
    ids = new_run_id(first), new_run_id(second)
    assert all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", i) for i in ids)
    assert ids[0][:15] <= ids[1][:15]


def test_an_id_is_in_utc_wherever_it_is_made() -> None:
    here = datetime(2026, 11, 23, 17, 42, 1, tzinfo=timezone(timedelta(hours=2)))
    assert new_run_id(here).startswith("20261123-154201-")


def test_the_time_is_written_in_utc_to_the_millisecond() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", utc_now())
    assert abs(datetime.fromisoformat(utc_now()) - datetime.now(UTC)) < timedelta(seconds=5)
