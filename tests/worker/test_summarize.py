"""Tests that evaluations are found by the config, not by folder names."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rvlab.worker.artifacts import list_artifacts, prediction_paths
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


def test_scene_of_a_file_is_taken_from_the_config_and_not_from_the_path() -> None:
    root = "s3://b/x/rv"

    def scene(name: str, uri: str | None = None) -> dict[str, Any]:
        return {"id": name, "label_store": {"uri": uri} if uri else None}

    config = {
        "root_uri": root,
        "dataset": {
            "train_scenes": [scene("t")],
            "validation_scenes": [
                scene("AOI_2/img205", f"{root}/predict/AOI_2/img205"),
                scene("./a/b", f"{root}/predict/./a/b.json"),
                scene("plain"),
                scene("own", f"{root}/maps/own.json"),
                scene("predict", f"{root}/predict/predict"),
            ],
        },
    }
    scenes = {
        "predict/AOI_2/img205/labels.tif": "AOI_2/img205",
        "predict/AOI_2/img205/vector_output/class-1.json": "AOI_2/img205",
        "predict/AOI_2/other.txt": None,
        "predict/a/b.json": "./a/b",
        "predict/plain.json": "plain",
        "predict/plain/scores.tif": "plain",
        "predict/predict/labels.tif": "predict",
        "maps/own.json": "own",
        "train/log.csv": None,
        "pipeline-config.json": None,
    }
    files = [(f"x/rv/{name}", 1) for name in scenes]
    table = list_artifacts(files, "x/rv", predictions=prediction_paths(config)).to_pylist()
    assert {row["key"].removeprefix("rv/"): row["scene"] for row in table} == scenes


def test_scenes_without_labels_have_no_fingerprints(tmp_path: Path) -> None:
    store, run = made(tmp_path)
    names = ["road", "other"]
    image = {"type_hint": "rasterio_source", "uris": "/gone.tif"}
    known = [
        {"id": name, "raster_source": image, "label_source": {"a": 1} if name == "a" else None}
        for name in ("a", "b")
    ]
    config = {
        "dataset": {
            "class_config": {"names": names, "null_class": "other"},
            "test_scenes": known,
            "scene_groups": {"test_scenes": ["a", "b"]},
        },
        "evaluators": [{"output_uri": f"{run.rv_uri}/eval"}],
    }
    store.put_json(run.key("rv", "pipeline-config.json"), config)
    text = json.dumps({"overall": item(names, [[1, 0], [0, 1]]), "per_scene": {}})
    store.put(run.key("rv", "eval", "test_scenes", "eval.json"), text.encode())
    summarize_outputs(store, run)
    found = pq.read_table(io.BytesIO(store.get(run.key("tables", "scenes.parquet"))))
    assert found["scene"].to_pylist() == ["a"]
