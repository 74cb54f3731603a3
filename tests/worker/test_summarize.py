"""Tests that evaluations are found by the config, not by folder names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rvlab.worker.summarize import summarize_outputs
from tests.worker.samples import made


def item(names: list[str], matrix: list[list[int]]) -> list[dict[str, Any]]:
    metrics = {"f1": 0.5, "precision": 0.5, "recall": 0.5}
    classes = [{"class_id": i, "class_name": n, "metrics": metrics} for i, n in enumerate(names)]
    return [*classes, {"conf_mat": matrix, "metrics": metrics}]


def prepared(folder: Path, evaluated: dict[str, list[list[int]]]) -> Mapping[str, float]:
    """Summarize a run with one evaluator that has its own folder and the given groups."""
    names = ["road", "other"]
    store, run = made(folder)
    config = {
        "dataset": {
            "class_config": {"names": names, "null_class": "other"},
            "scene_groups": {"train_scenes": ["a"], "validation_scenes": ["b"], "far": ["b"]},
        },
        "evaluators": [{"output_uri": f"{run.rv_uri}/scores"}],
    }
    store.put_json(run.key("rv", "pipeline-config.json"), config)
    for key, matrix in evaluated.items():
        text = json.dumps({"overall": item(names, matrix), "per_scene": {}})
        store.put(run.key("rv", key), text.encode())
    return summarize_outputs(store, run).metrics


def test_evaluations_are_read_from_the_evaluators_output(tmp_path: Path) -> None:
    found = prepared(
        tmp_path,
        {
            "scores/validation_scenes/eval.json": [[4, 0], [0, 4]],
            "scores/far/eval.json": [[0, 4], [4, 0]],
            "eval/leftover/eval.json": [[1, 1], [1, 1]],  # no group of the config's
        },
    )
    assert found["f1"] == 1
    assert found["far.f1"] == 0
    assert not [name for name in found if name.startswith("leftover")]


def test_run_without_an_evaluation_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepared(tmp_path, {}) == {}
    assert "There is no eval.json, so the run has no metrics." in capsys.readouterr().out
