"""Tests of the outputs of trained runs."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rvlab import compare
from rvlab.model import STEPS
from rvlab.model.tables import OBJECTS_TABLE
from rvlab.raster import SceneLabels, Window
from rvlab.raster import read as read_raster
from rvlab.raster.boundaries import default_distance_px
from rvlab.raster.class_scores import read_scores
from rvlab.raster.scene import load_run_source
from rvlab.raster.score_scene import score_scene
from tests.conftest import Trained
from tests.raster.test_boundaries import count_whole

pytestmark = pytest.mark.slow


def read(trained: Trained, name: str, *key: str) -> bytes:
    return trained.lab.store.get(trained.runs[name].key(*key))


def record(trained: Trained, name: str, *key: str) -> dict[str, Any]:
    return dict(json.loads(read(trained, name, *key)))


def weights(trained: Trained, name: str) -> bytes:
    """Return the trained weights as bytes that can be compared."""
    bundle = zipfile.ZipFile(io.BytesIO(read(trained, name, "rv", "train", "model-bundle.zip")))
    state = torch.load(io.BytesIO(bundle.read("model.pth")), weights_only=True)
    return b"".join(v.numpy().tobytes() for v in state.values())


def test_good_runs_succeed_and_bad_ones_fail(trained: Trained) -> None:
    states = {name: trained.row(name)["state"] for name in trained.runs}
    assert states == {
        "first": "succeeded",
        "again": "succeeded",
        "other seed": "succeeded",
        "no chips": "succeeded",
        "raises": "failed",
        "train fails": "failed",
    }


def test_row_has_parameters_metrics_and_times(trained: Trained) -> None:
    row = trained.row("first")
    assert row["params.lr"] == 1e-2
    assert row["params.epochs"] == 2
    assert 0 < row["metrics.f1"] <= 1
    assert row["created"] <= row["started"] <= row["ended"]
    assert row["duration"] == row["ended"] - row["started"]
    assert trained.table["metrics.f1"].dtype == "float64"
    assert trained.table.sort_values("metrics.f1", ascending=False)["metrics.f1"].iloc[0] > 0


def test_row_has_fingerprints_and_costs(trained: Trained) -> None:
    row = trained.row("first")
    assert trained.row("other seed")["eval_set"] == row["eval_set"]
    scenes = trained.lab.scenes(trained.runs["first"])
    assert set(scenes["hashed_from"]) == {"content"}
    assert set(scenes["scene"]) == set(trained.lab.evals(trained.runs["first"])["scene"].dropna())
    assert row["device"] == "cpu"
    assert 0 < row["costs.train_s"] < row["duration"].total_seconds() + 1  # which is truncated
    assert row["costs.peak_mb"] > 100
    written = sum(size for _, size in trained.lab.store.files(trained.runs["first"].prefix))
    assert row["costs.bytes"] == pytest.approx(written, rel=0.05)
    assert trained.row("train fails")["costs.train_s"] > 0
    assert pd.isna(trained.row("raises")["costs.train_s"])


def test_same_seed_gives_the_same_weights_and_another_seed_others(trained: Trained) -> None:
    assert weights(trained, "first") == weights(trained, "again")
    assert weights(trained, "first") != weights(trained, "other seed")


def test_run_has_the_steps_that_its_config_needs(trained: Trained) -> None:
    def steps(name: str) -> list[str]:
        keys = [k for k, _ in trained.lab.store.files(trained.runs[name].key("steps"))]
        return sorted(k.rsplit("/", 1)[-1].removesuffix(".json") for k in keys)

    chipped = ["chip-0", "chip-1", "predict-0", "predict-1"]
    common = ["bundle", "configure", "eval", "summarize", "train"]
    assert steps("first") == sorted([*chipped, *common])
    assert steps("no chips") == sorted(["predict", *common])
    assert steps("raises") == ["configure"]
    assert steps("train fails") == ["configure", "train"]


def test_splits_are_limited_to_the_number_of_scenes(trained: Trained) -> None:
    assert record(trained, "first", "plan.json")["splits"] == {"chip": 2, "predict": 2}


def test_step_record_has_costs(trained: Trained) -> None:
    step = record(trained, "first", "steps", "train.json")
    assert step["state"] == "succeeded"
    assert step["exit_code"] == 0
    assert step["started"] < step["ended"]
    assert step["peak_mb"] > 100
    assert step["cpu_s"] > 0
    assert step["host"]
    assert step["attempt"] == 1


def test_error_of_the_recipe_is_recorded_with_its_traceback(trained: Trained) -> None:
    row = trained.row("raises")
    assert row["step"] == "configure"
    assert row["error"] == "RuntimeError: the imagery is on another disk"
    step = record(trained, "raises", "steps", "configure.json")
    assert step["exit_code"] == 1
    assert "raise RuntimeError(raises)\nRuntimeError: the imagery is" in step["traceback"]
    assert "the imagery is on another disk" in trained.lab.logs(trained.runs["raises"])


def test_error_of_a_library_names_the_step(trained: Trained) -> None:
    row = trained.row("train fails")
    assert row["step"] == "train"
    assert "weight" in row["error"]
    assert pd.isna(row["metrics.f1"])


def test_logs_are_stored_by_step_in_order(trained: Trained) -> None:
    text = trained.lab.logs(trained.runs["first"])
    heads = [line.strip("─ ") for line in text.splitlines() if line.startswith("── ")]
    assert heads == [
        *("configure", "chip-0", "chip-1", "train", "predict-0", "predict-1"),
        *("eval", "bundle", "summarize"),
    ]
    assert [h.partition("-")[0] for h in heads] == sorted(
        (h.partition("-")[0] for h in heads), key=STEPS.index
    )
    assert "epoch: 1" in trained.lab.logs(trained.runs["first"].id, "train")


def test_secret_is_in_no_file_of_a_run(trained: Trained) -> None:
    store = trained.lab.store
    secret = store.access.secret_key
    assert secret
    keys = [k for run in trained.runs.values() for k, _ in store.files(run.prefix)]
    assert len(keys) > 50
    guilty = [k for k, data in store.get_many(keys).items() if secret.encode() in bytes(data)]
    assert guilty == []


def test_history_has_every_epoch(trained: Trained) -> None:
    history = trained.lab.history([trained.runs["first"], trained.runs["no chips"]])
    assert history.groupby("run")["epoch"].apply(list).tolist() == [[0, 1], [0, 1]]
    assert history["train_loss"].notna().all()
    assert (history["train_time_s"] > 0).all()


def test_evals_hold_the_headline_per_class_and_scene(trained: Trained) -> None:
    evals = trained.lab.evals(trained.runs["first"])
    over_all = evals.query("group == 'validation' and metric == 'f1' and scene.isna()")
    macro = over_all[over_all["class"].isna()]["value"].item()
    assert macro == pytest.approx(trained.row("first")["metrics.f1"])
    classes = over_all.dropna(subset="class")
    assert classes["class"].tolist() == ["background", "building", "road"]
    assert classes["value"].mean() == pytest.approx(macro)
    scenes = evals.query("group == 'validation'")["scene"].dropna().unique()
    assert sorted(scenes) == ["validation-0", "validation-1"]


def test_confusion_adds_up_to_the_scenes(trained: Trained) -> None:
    confusion = trained.lab.confusion(trained.runs["first"])
    whole = confusion.query("group == 'validation' and scene.isna()")["count"].sum()
    assert whole == 2 * 128 * 128


def test_artifacts_name_files_that_can_be_opened(trained: Trained) -> None:
    artifacts = trained.lab.artifacts(trained.runs["first"])
    labels = artifacts.query("kind == 'labels'")
    assert sorted(labels["scene"]) == ["test-0", "validation-0", "validation-1"]
    uri = artifacts.query("kind == 'history'")["uri"].item()
    log = pd.read_csv(uri, storage_options=trained.lab.storage_options)
    assert log["epoch"].tolist() == [0, 1]


def test_source_of_the_recipe_is_stored(trained: Trained) -> None:
    source = read(trained, "first", "recipe.py")
    spec = record(trained, "first", "spec.json")
    assert b"def get_config(" in source
    assert spec["source_sha256"] == hashlib.sha256(source).hexdigest()


def test_counts_of_all_windows_equal_the_evaluation(trained: Trained) -> None:
    """Raster Vision counts the evaluation; rvlab counts the windows, block by block."""
    run = trained.runs["first"]
    table = pq.read_table(io.BytesIO(read(trained, "first", "tables", "windows.parquet")))
    windows = table.to_pandas().groupby(["group", "scene", "class"])[["tp", "fp", "fn"]].sum()
    evals = trained.lab.evals(run).dropna(subset=["scene", "class"])
    counts = evals[evals["metric"].isin(["truth_count", "prediction_count"])]
    wide = counts.pivot_table(index=["group", "scene", "class"], columns="metric", values="value")
    wide = wide[wide.index.get_level_values("class") != "null"]
    found = windows.reindex(wide.index, fill_value=0)
    assert (found["tp"] + found["fn"]).tolist() == wide["truth_count"].tolist()
    assert (found["tp"] + found["fp"]).tolist() == wide["prediction_count"].tolist()
    assert len(wide) > 2
    assert table.schema.metadata[b"task"] == b"semantic_segmentation"


def test_metrics_of_objects_are_those_of_the_stored_table(trained: Trained) -> None:
    for name in ("first", "no chips"):
        run = trained.runs[name]
        scores = compare.object_scores(run).loc[run.id]
        row = trained.row(name)
        wanted = {f"metrics.object_{one}": scores[one] for one in ("f1", "precision", "recall")}
        wanted["metrics.count_error"] = scores["count_error"]
        assert {one: row[one] for one in wanted} == pytest.approx(wanted)
        assert scores["truth_count"] > 0
    assert trained.lab.objects(trained.runs["no chips"])["score"].notna().any()
    stored = pq.read_table(io.BytesIO(read(trained, "first", "tables", "objects.parquet")))
    one = load_run_source(trained.runs["first"].id, trained.runs["first"].uri)
    counted = [
        score_scene(scene, one.classes, tables=[OBJECTS_TABLE]).tables["objects"]
        for scene in one.scenes
        if scene.group != "train"
    ]
    assert stored.replace_schema_metadata().equals(pa.concat_tables(counted))


def test_boundary_iou_is_that_of_the_stored_counts_and_of_the_rasters(trained: Trained) -> None:
    run = trained.runs["first"]
    scores = compare.boundary_scores(run).loc[run.id]
    assert trained.row("first")["metrics.boundary_iou"] == pytest.approx(scores["boundary_iou"])
    evals = trained.lab.evals(run).query("metric == 'boundary_iou' and group == 'validation'")
    each = evals.dropna(subset=["scene", "class"]).set_index(["scene", "class"])["value"]
    found = compare.boundary_scores(run, by=["scene", "class"])["boundary_iou"]
    assert found.to_dict() == pytest.approx(each.to_dict())
    one = load_run_source(run.id, run.uri)
    for scene in (scene for scene in one.scenes if scene.group == "validation"):
        truth = SceneLabels(scene, one.classes).truth()
        assert scene.prediction_uri is not None
        guess = read_raster(scene.prediction_uri).array[0]
        known = np.ones(truth.shape, bool)
        distance = default_distance_px(truth.shape[1], truth.shape[0])
        of_truth, of_guess, shared = count_whole(truth, guess, known, len(one.classes), distance)
        for i, name in enumerate(one.classes.names):
            if (scene.id, name) in each and of_truth[i]:
                wanted = shared[i] / (of_truth[i] + of_guess[i] - shared[i])
                assert each[scene.id, name] == pytest.approx(wanted)


def test_each_prediction_has_a_cog_copy(trained: Trained) -> None:
    run = trained.runs["first"]
    artifacts = trained.lab.artifacts(run)
    copies = artifacts[artifacts["kind"] == "labels_copy"].set_index("scene")
    assert set(copies.index) == set(artifacts.loc[artifacts["kind"] == "labels", "scene"])
    one = load_run_source(run.id, run.uri)
    for scene in one.scenes:
        if scene.group == "train":
            continue
        assert scene.prediction_uri == copies.loc[scene.id, "uri"]
        copied = read_raster(scene.prediction_uri)
        original = read_raster(f"{run.rv_uri}/predict/{scene.id}/labels.tif")
        assert (copied.array == original.array).all()


def test_scores_are_those_that_raster_vision_chose_the_class_by(trained: Trained) -> None:
    run = trained.runs["no chips"]
    one = load_run_source(run.id, run.uri)
    scenes = [scene for scene in one.scenes if scene.group != "train"]
    for scene in scenes:
        grid = SceneLabels(scene, one.classes).grid
        whole = Window(0, 0, grid.width, grid.height)
        kept = f"{run.rv_uri}/predict/{scene.id}/scores.tif"
        assert scene.scores_uri == f"{run.uri}/copies/{scene.id}/scores.tif"
        scores = read_scores(scene.scores_uri, whole, range(len(one.classes)), grid)
        assert (scores == read_scores(kept, whole, range(len(one.classes)), grid)).all()
        assert np.abs(scores.sum(axis=0) - 1).max() < 0.02  # probabilities, in steps of a byte
        chosen = read_raster(scene.prediction_uri).array[0]
        of_chosen = np.take_along_axis(scores, chosen[None].astype(int), axis=0)[0]
        assert (of_chosen >= scores.max(axis=0) - 0.01).all()
    table = pq.read_table(io.BytesIO(read(trained, "no chips", "tables", "windows.parquet")))
    assert table["confident_fp"].null_count == 0
    assert trained.lab.windows(run, by="confident_error")["score"].between(0, 1).all()


def test_ranked_windows_are_read_from_the_store(trained: Trained) -> None:
    runs = [trained.runs[name] for name in ("first", "other seed")]
    found = trained.lab.windows(runs, size=64)
    assert len(found) > 0
    assert set(found["run"]) <= {run.id for run in runs}
    assert found["score"].is_monotonic_decreasing
