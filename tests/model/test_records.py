"""Specs, step records and end records: JSON round trip and validation."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from rvlab.errors import RecordBroken
from rvlab.model import Spec, StepRecord, end_record, run_costs, run_device

SPEC = Spec(
    experiment="towns",
    run="20261123-154201-4f2a9c",
    name="lr=0.1",
    recipe="synthetic_town",
    source_sha256="0" * 64,
    params={"lr": 0.1, "names": ["a"], "none": None},
    places={"root_uri": "s3://b/x"},
    splits=2,
    seed=7,
    engine="local",
    created="2026-11-23T15:42:01.000+00:00",
)
STEP = StepRecord(
    step="train",
    state="running",
    started="2026-11-23T15:42:01.000+00:00",
    beat="2026-11-23T15:42:06.000+00:00",
    host="here",
    pid=1,
)


def there_and_back(noun: Any) -> Any:
    return type(noun).from_record(json.loads(json.dumps(noun.record())), "k")


@pytest.mark.parametrize(
    "spec",
    [SPEC, replace(SPEC, commit="abc", dirty=True, image="i", sweep="s", parent="p", folder="/f")],
)
def test_spec_survives_a_json_round_trip(spec: Spec) -> None:
    assert there_and_back(spec) == spec


@pytest.mark.parametrize(
    "step",
    [
        STEP,
        replace(STEP, split=0, of=2, ended=STEP.beat, peak_mb=3.5, cpu_s=1.0, exit_code=1),
        replace(STEP, error="why", traceback="lines", attempt=2, peak_mb=3),
    ],
)
def test_step_record_survives_a_json_round_trip(step: StepRecord) -> None:
    assert there_and_back(step) == step


def test_fields_of_a_later_version_are_ignored() -> None:
    assert Spec.from_record({**SPEC.record(), "new": 1}, "k") == SPEC
    assert StepRecord.from_record({**STEP.record(), "new": 1}, "k") == STEP


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seed": "7"}, "seed is str, not int"),
        ({"seed": None}, "seed is NoneType, not int"),
        ({"places": []}, "places is list, not Mapping[str, str]"),
        ({"sweep": 3}, "sweep is int, not str | None"),
    ],
)
def test_spec_with_wrong_types_is_broken(change: dict[str, Any], why: str) -> None:
    with pytest.raises(RecordBroken) as raised:
        Spec.from_record({**SPEC.record(), **change}, "towns/x/spec.json")
    assert str(raised.value) == f"towns/x/spec.json is not a run's spec: {why}."


def test_message_of_an_incomplete_record_names_the_missing_field() -> None:
    record = STEP.record()
    del record["beat"]
    with pytest.raises(RecordBroken, match=r"^k is not a step's record: beat is missing\.$"):
        StepRecord.from_record(record, "k")
    with pytest.raises(
        RecordBroken, match=r"^k is not a run's spec: it is list, not a JSON object"
    ):
        Spec.from_record([], "k")


@pytest.mark.parametrize(
    "time", ["", "now", "2026-11-23", "2026-11-23T15:42:01", "2026-11-23T15:42:01+00:80"]
)
def test_step_record_without_a_utc_time_is_broken(time: str) -> None:
    with pytest.raises(
        RecordBroken, match=f"^k is not a step's record: beat is '{re.escape(time)}', not a UTC"
    ):
        StepRecord.from_record({**STEP.record(), "beat": time}, "k")


def test_end_record_contains_the_spec_and_all_fields() -> None:
    end = end_record(
        SPEC.record(), "failed", STEP.beat, started=STEP.started, step="train", error="why"
    )
    assert Spec.from_record(json.loads(json.dumps(end))["spec"], "k") == SPEC
    assert {k: v for k, v in end.items() if k != "spec"} == {
        "schema": 1,
        "state": "failed",
        "epochs": None,
        "started": STEP.started,
        "ended": STEP.beat,
        "step": "train",
        "error": "why",
        "metrics": {},
        "costs": {},
        "device": None,
        "eval_set": None,
        "eval_sets": {},
    }


def test_end_record_separates_the_fingerprint_of_the_headline_group_from_others() -> None:
    end = end_record(SPEC.record(), "succeeded", STEP.beat, eval_sets={"test": "t", "far": "f"})
    assert (end["eval_set"], end["eval_sets"]) == ("t", {"far": "f"})
    end = end_record(SPEC.record(), "succeeded", STEP.beat, eval_sets={"validation": "v"})
    assert (end["eval_set"], end["eval_sets"]) == ("v", {})


def test_costs_are_wall_time_peak_memory_and_total_cpu_time() -> None:
    def at(second: int) -> str:
        return f"2026-11-23T15:42:{second:02d}+00:00"

    steps = [
        replace(STEP, step="train", started=at(0), beat=at(9), ended=at(10), peak_mb=5.0, cpu_s=9),
        replace(STEP, step="predict", split=0, started=at(10), beat=at(12), ended=at(14), cpu_s=1),
        replace(STEP, step="predict", split=1, started=at(11), beat=at(16), ended=None, peak_mb=7),
    ]
    steps[0] = replace(steps[0], device="cuda (Tesla T4)", gpu_peak_mb=800.0)
    found = run_costs(steps)
    assert found == {
        "train_s": 10.0,
        "predict_s": 6.0,
        "peak_mb": 7,
        "gpu_peak_mb": 800.0,
        "cpu_s": 10,
    }
    assert run_device(steps) == "cuda (Tesla T4)"
    assert run_device(steps[1:]) is None
    assert run_costs([]) == {}
