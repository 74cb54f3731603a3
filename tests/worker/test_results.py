"""Tests of the tables that are computed from Raster Vision's outputs."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rvlab import metrics
from rvlab.errors import RecordBroken
from rvlab.model.tables import CONFUSION_TABLE, EVALS_TABLE, OBJECTS_TABLE, SCENES_TABLE
from rvlab.model.train_log import parse_epochs, parse_seconds
from rvlab.store.table_file import arrow_schema, rows_to_arrow
from rvlab.worker.results import (
    evaluation_tables,
    headline_metrics,
    history_from_log,
    object_metrics,
)

NAMES = ["background", "building", "road"]


@pytest.fixture(scope="module")
def rv(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Import Raster Vision without creating /opt/data/tmp and without its warnings."""
    if "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("rv"))
        tempfile.tempdir = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("rastervision.core")
        from rastervision.core import box, data, evaluation
        from rastervision.pytorch_learner.utils import utils

        return SimpleNamespace(box=box.Box, data=data, evaluation=evaluation, learner=utils)


# Raster Vision divides by zero for an absent class; rvlab's own code must not.
def rv_divides() -> np.errstate:
    return np.errstate(divide="ignore", invalid="ignore")


@rv_divides()
def written(evaluation: Any, tmp_path: Any) -> Any:
    """Write an evaluation with Raster Vision and return the parsed file."""
    path = tmp_path / "eval.json"
    evaluation.save(str(path))
    return json.loads(path.read_text())


def class_config(rv: Any, names: list[str], null: str | None, *, segments: bool) -> Any:
    config = rv.data.ClassConfig(names=list(names), null_class=null)
    if segments:
        config.ensure_null_class()
    return config


@rv_divides()
def segmentation(rv: Any, config: Any, scenes: dict[str, tuple[Any, Any]]) -> Any:
    total = rv.evaluation.SemanticSegmentationEvaluation(config)
    for name, (truth, prediction) in scenes.items():
        labels = []
        for array in (np.atleast_2d(truth), np.atleast_2d(prediction)):
            extent = rv.box(0, 0, *array.shape)
            one = rv.data.SemanticSegmentationLabels.make_empty(extent, len(config))
            one[extent] = array
            labels.append(one)
        alone = rv.evaluation.SemanticSegmentationEvaluation(config)
        alone.compute(*labels)
        total.merge(alone, scene_id=name)
    return total


@pytest.fixture
def segmented(rv, tmp_path):
    """Return two scenes with a class "null" (3) added by Raster Vision; road is never predicted."""
    config = class_config(rv, NAMES, None, segments=True)
    scenes = {
        "s2": ([[0, 0, 0, 1], [1, 1, 2, 3]], [[0, 0, 1, 1], [1, 3, 0, 0]]),
        "s1": ([[0, 0, 3, 3], [1, 1, 1, 0]], [[0, 0, 3, 1], [1, 1, 0, 0]]),
    }
    return written(segmentation(rv, config, scenes), tmp_path), json.loads(config.json())


def value(table: pa.Table, metric: str, of: str | None = None, scene: str | None = None) -> Any:
    rows = [
        row["value"]
        for row in table.to_pylist()
        if (row["metric"], row["class"], row["scene"]) == (metric, of, scene)
    ]
    assert len(rows) == 1, (metric, of, scene)
    return rows[0]


def test_segmentation_is_scored_over_all_and_per_scene_without_unlabelled_pixels(segmented):
    raw, config = segmented
    table, confusion = evaluation_tables({"validation_scenes": raw}, config)
    assert table.schema == arrow_schema(EVALS_TABLE)
    assert confusion.schema == arrow_schema(CONFUSION_TABLE)
    assert set(table["group"].to_pylist()) == {"validation"}
    assert list(dict.fromkeys(table["scene"].to_pylist())) == [None, "s1", "s2"]
    cm = np.array(raw["overall"][-1]["conf_mat"])
    for scene in (None, "s1", "s2"):
        if scene is not None:
            cm = np.array(raw["per_scene"][scene][-1]["conf_mat"])
        assert value(table, "f1", scene=scene) == float(metrics.macro_f1(cm, ignore=3))
        assert value(table, "mean_iou", scene=scene) == float(metrics.mean_iou(cm, ignore=3))
        for name, want in zip(NAMES, metrics.iou(cm, ignore=3), strict=False):
            assert value(table, "iou", name, scene) == (None if np.isnan(want) else want)
    # 13 labelled pixels: background 6 (5 found), building 6 (4), road 1 (0).
    assert value(table, "accuracy") == pytest.approx(9 / 13)
    assert value(table, "recall", "building") == pytest.approx(4 / 6)
    assert value(table, "truth_count", "building") == 6
    assert value(table, "prediction_count", "building") == 5


def test_class_null_has_counts_and_no_metrics(segmented):
    raw, config = segmented
    table, _ = evaluation_tables({"validation_scenes": raw}, config)
    null = [r for r in table.to_pylist() if r["class"] == "null" and r["scene"] is None]
    assert {r["metric"]: r["value"] for r in null} == {
        "truth_count": 3,  # pixels left out
        "prediction_count": 1,  # a labelled pixel that was predicted as null
    }


def test_class_that_is_never_predicted_has_f1_zero(segmented):
    raw, config = segmented
    road = next(i for i in raw["overall"] if i["class_name"] == "road")
    assert road["metrics"]["f1"] is None
    assert road["metrics"]["precision"] is None
    table, _ = evaluation_tables({"validation_scenes": raw}, config)
    assert value(table, "f1", "road") == 0
    assert value(table, "precision", "road") is None
    assert value(table, "f1", "road", "s1") is None  # absent there, from truth and prediction


def test_raster_visions_average_has_its_own_name(segmented):
    raw, config = segmented
    table, _ = evaluation_tables({"validation_scenes": raw}, config)
    for metric in ("f1", "precision", "recall"):
        assert value(table, f"rv_average_{metric}") == raw["overall"][-1]["metrics"][metric]
    assert value(table, "rv_average_f1") != pytest.approx(value(table, "f1"))


def test_undefined_average_is_null(segmented):
    raw, config = segmented
    raw["overall"][-1]["metrics"].update(f1=None, recall=float("nan"))
    table, _ = evaluation_tables({"validation_scenes": raw}, config)
    assert value(table, "rv_average_f1") is None
    assert value(table, "rv_average_recall") is None


def test_confusion_has_every_pair_and_scenes_sum_to_the_total(segmented):
    raw, config = segmented
    _, confusion = evaluation_tables({"validation_scenes": raw}, config)
    rows = confusion.to_pylist()
    assert len(rows) == 3 * 16
    for truth in config["names"]:
        for prediction in config["names"]:
            pair = [r for r in rows if (r["truth"], r["prediction"]) == (truth, prediction)]
            whole = [r["count"] for r in pair if r["scene"] is None]
            assert whole == [sum(r["count"] for r in pair if r["scene"] is not None)]
    assert [r["count"] for r in rows if r["scene"] is None][:4] == [5, 1, 0, 0]


def test_background_only_model_scores_high_in_raster_visions_average_only(rv, tmp_path):
    config = class_config(rv, NAMES, "background", segments=True)
    truth = np.repeat([0, 1, 2], [90, 8, 2])
    raw = written(segmentation(rv, config, {"s": (truth, np.zeros(100, int))}), tmp_path)
    row = headline_metrics(evaluation_tables({"test_scenes": raw}, json.loads(config.json()))[0])
    assert row["rv_average_f1"] == pytest.approx(0.853, abs=5e-4)
    assert row["f1"] == pytest.approx(0.316, abs=5e-4)
    assert row["recall"] == pytest.approx(1 / 3)
    assert row["mean_iou"] == pytest.approx(0.3)
    assert row["accuracy"] == pytest.approx(0.9)


def test_null_class_of_another_name_is_an_ordinary_class(rv, tmp_path):
    config = class_config(rv, NAMES, "background", segments=True)
    raw = written(segmentation(rv, config, {"s": ([0, 0, 1, 2], [0, 1, 1, 2])}), tmp_path)
    table, _ = evaluation_tables({"test_scenes": raw}, json.loads(config.json()))
    assert value(table, "recall", "background") == 0.5
    assert value(table, "f1") == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_chip_classification_is_read(rv, tmp_path):
    config = class_config(rv, ["field", "forest"], None, segments=False)
    truth, prediction = rv.data.ChipClassificationLabels(), rv.data.ChipClassificationLabels()
    for i, (t, p) in enumerate([(0, 0), (0, 1), (1, 1), (1, 1)]):
        cell = rv.box(0, i * 10, 10, i * 10 + 10)
        truth.set_cell(cell, t)
        prediction.set_cell(cell, p)
    evaluation = rv.evaluation.ChipClassificationEvaluation(config)
    with rv_divides():
        evaluation.compute(truth, prediction)
    raw = written(evaluation, tmp_path)
    assert isinstance(raw, list)  # no part per scene
    table, confusion = evaluation_tables({"validation_scenes": raw}, json.loads(config.json()))
    assert table["scene"].null_count == len(table)
    assert value(table, "accuracy") == 0.75
    assert value(table, "f1", "forest") == pytest.approx(0.8)
    assert confusion["count"].to_pylist() == [1, 1, 0, 2]


def test_object_detection_has_counts_but_no_matrix_no_iou_no_accuracy(rv, tmp_path):
    config = class_config(rv, ["car", "boat", "plane"], None, segments=False)
    boxes = rv.data.ObjectDetectionLabels
    apart = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]], float)
    total = rv.evaluation.ObjectDetectionEvaluation(config)
    for scene in ("s1", "s2"):
        alone = rv.evaluation.ObjectDetectionEvaluation(config)
        with warnings.catch_warnings(), rv_divides():
            warnings.simplefilter("ignore")
            alone.compute(
                boxes(apart, np.array([0, 0, 1])), boxes(apart, np.array([0, 1, 1]), np.ones(3))
            )
        with rv_divides():
            total.merge(alone, scene_id=scene)
    raw = written(total, tmp_path)
    table, confusion = evaluation_tables({"validation_scenes": raw}, json.loads(config.json()))
    assert confusion.schema == arrow_schema(CONFUSION_TABLE)
    assert len(confusion) == 0
    assert not {"iou", "mean_iou", "accuracy"} & set(table["metric"].to_pylist())
    assert value(table, "truth_count", "car") == 4
    assert value(table, "prediction_count", "car") == 2
    assert value(table, "recall", "car") == 0.5
    assert value(table, "precision", "boat", "s1") == 0.5
    assert value(table, "f1", "plane") is None
    assert value(table, "f1") == pytest.approx(2 / 3)
    assert set(headline_metrics(table)) == {
        "f1",
        "precision",
        "recall",
        "rv_average_f1",
        "f1.car",
        "f1.boat",
    }


def test_custom_groups_have_their_own_names(segmented):
    raw, config = segmented
    keys = ["test_scenes", "far_scenes", "validation", "validation_scenes"]
    table, confusion = evaluation_tables(dict.fromkeys(keys, raw), config)
    names = ["test", "far_scenes", "validation", "validation_scenes"]
    assert list(dict.fromkeys(table["group"].to_pylist())) == names
    assert list(dict.fromkeys(confusion["group"].to_pylist())) == names


def test_run_without_evaluation_has_empty_tables_with_columns():
    table, confusion = evaluation_tables({}, {"names": NAMES, "null_class": None})
    assert table.schema == arrow_schema(EVALS_TABLE)
    assert confusion.schema == arrow_schema(CONFUSION_TABLE)
    assert len(table) == len(confusion) == 0
    assert headline_metrics(table) == {}


@pytest.mark.parametrize(
    ("break_it", "match"),
    [
        (lambda raw: "nonsense", "validation_scenes/eval.json must be a list of objects"),
        (lambda raw: [], "has no item 'average'"),
        (lambda raw: {"per_scene": {}}, "must have a list 'overall'"),
        (lambda raw: {**raw, "per_scene": []}, "an object 'per_scene'"),
        (lambda raw: {**raw, "per_scene": {"s9": [1]}}, "scene 's9', must be a list of objects"),
        (lambda raw: raw["overall"][:-1], "has no item 'average'"),
        (lambda raw: raw["overall"][1:], r"has the classes \['building', 'road', 'null'\]"),
        (lambda raw: changed(raw, conf_mat=[[1, 2], [3, 4]]), r"shape \(2, 2\) for 4 classes"),
        (lambda raw: changed(raw, conf_mat=[[-1] * 4] * 4), "no usable counts.*negative"),
        (lambda raw: changed(raw, conf_mat=[[0.5] * 4] * 4), "must have integer pixel counts"),
        (lambda raw: changed(raw, conf_mat="much"), "no usable counts"),
        (lambda raw: changed(raw, conf_mat=None), "no usable counts"),
        (lambda raw: changed(raw, metrics={"f1": 1}), "without 'precision'"),
        (lambda raw: changed(raw, metrics=None), "no usable counts or metrics"),
    ],
)
def test_malformed_eval_is_reported_with_group_and_location(segmented, break_it, match):
    raw, config = segmented
    with pytest.raises(RecordBroken, match=match) as caught:
        evaluation_tables({"validation_scenes": break_it(raw)}, config)
    assert "eval/validation_scenes/eval.json" in str(caught.value)


def changed(raw: Any, **average: Any) -> Any:
    raw["overall"][-1].update(average)
    return raw["overall"]


def test_config_without_classes_is_reported(segmented):
    with pytest.raises(RecordBroken, match=r"no dataset\.class_config\.names"):
        evaluation_tables({"validation_scenes": segmented[0]}, {})


def test_headline_prefers_validation_and_omits_undefined_values(segmented):
    raw, config = segmented
    table, _ = evaluation_tables({"test_scenes": raw, "far": raw, "validation_scenes": raw}, config)
    row = headline_metrics(table)
    assert row["f1"] == value(evaluation_tables({"v": raw}, config)[0], "f1")
    assert list(row)[:6] == ["f1", "precision", "recall", "mean_iou", "accuracy", "rv_average_f1"]
    assert {"f1.background", "f1.road", "iou.building"} <= set(row)
    assert not {"f1.null", "iou.null", "precision.building"} & set(row)
    assert [k for k in row if k.startswith(("test.", "far."))] == [
        "test.f1",
        "test.mean_iou",
        "far.f1",
        "far.mean_iou",
    ]
    assert all(isinstance(v, float) for v in row.values())
    only = evaluation_tables({"far": raw["per_scene"]["s1"], "train_scenes": raw}, config)[0]
    assert "f1.road" not in headline_metrics(only)
    assert "train.f1" in headline_metrics(only)


@pytest.fixture
def log(rv, tmp_path):
    """Return a log of two epochs as Raster Vision's learner writes it."""
    from datetime import timedelta

    import torch

    path = tmp_path / "log.csv"
    for epoch, loss in enumerate([0.5, float("nan")]):
        row: dict[str, Any] = {"epoch": epoch, "train_loss": loss}
        row["train_time"] = str(timedelta(days=epoch, seconds=8.88))
        row |= rv.learner.compute_conf_mat_metrics(torch.eye(3), NAMES)
        row |= {"empty": None, "valid_time": str(timedelta(seconds=3601))}
        rv.learner.log_metrics_to_csv(str(path), row)
    return path.read_text()


def test_history_has_one_row_per_epoch_and_times_in_seconds(log):
    table = history_from_log(log)
    assert table.schema.field("epoch").type == pa.int64()
    assert {f.type for f in table.schema if f.name != "epoch"} == {pa.float64()}
    assert table["epoch"].to_pylist() == [0, 1]
    assert table["train_time_s"].to_pylist() == [8.88, 86408.88]
    assert table["valid_time_s"].to_pylist() == [3601, 3601]
    assert table["train_loss"].to_pylist() == [0.5, None]
    assert table["empty"].null_count == 2
    assert table["road_f1"].to_pylist() == pytest.approx([1, 1])
    assert "avg_f1" in table.column_names
    assert "train_time" not in table.column_names


def test_incomplete_last_line_is_omitted(log):
    first, whole = parse_epochs(log)
    start = log.rstrip("\n").rfind("\n") + 1
    for cut in range(start, len(log)):
        # Compared by repr: None and nan alike, whatever the tear.
        assert repr(parse_epochs(log[:cut])) == repr([first])
    assert parse_epochs(log) == [first, whole]


@pytest.mark.parametrize("text", ["", "\n", "epoch,train", "epoch,train_loss\n", "epoch,a\n0,1"])
def test_log_without_a_complete_row_is_an_empty_table_with_epoch(text):
    assert history_from_log(text).schema == pa.schema([("epoch", pa.int64())])
    assert len(history_from_log(text)) == 0


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a,b\n1,2\n", "no column 'epoch', only a, b"),
        ("epoch,a\n0,1\n1,2,3\n", "row 2, has 3 fields; its header has 2"),
        ("epoch,a\n0,high\n", "row 1, column 'a' must be a number, got 'high'"),
        ("epoch,train_time\n0,8 s\n", "column 'train_time' must be a time, got '8 s'"),
        ("epoch,a\n,1\n", "column 'epoch' must be a number, got ''"),
        ("epoch,a\n0.5,1\n", "column 'epoch' must be a number, got '0.5'"),
    ],
)
def test_broken_log_is_reported_with_row_and_column(text, match):
    with pytest.raises(RecordBroken, match=match):
        parse_epochs(text)


@pytest.mark.parametrize(
    ("clock", "want"),
    [("0:00:08.88", 8.88), ("1 day, 0:00:01", 86401), ("12 days, 1:02:03", 1040523)],
)
def test_clock_times_are_seconds(clock, want):
    assert parse_seconds(clock) == pytest.approx(want)


def test_clock_times_of_another_form_are_rejected():
    with pytest.raises(ValueError, match=r"'8\.9' is not a time like"):
        parse_seconds("8.9")


def test_headline_metrics_of_objects_are_those_of_the_scored_scenes() -> None:
    def rows(scene: str, group: str = "validation") -> list[dict[str, Any]]:
        where = {"scene": scene, "group": group, "class": "tree", "area_px": 4.0}
        where |= dict.fromkeys(("col", "row", "width", "height", "edge_px", "object"), 1)
        return [
            {**where, "side": side, "score": score, "matched_at": bits}
            for side, score, bits in (
                ("truth", None, 1),
                ("truth", None, 0),
                ("prediction", 0.9, 1),
            )
        ]

    every = [*rows("a"), *rows("unlabelled"), *rows("a", "test")]
    objects = rows_to_arrow(OBJECTS_TABLE, every).replace_schema_metadata(
        {"task": "object_detection"}
    )
    prints = [{"group": group, "scene": "a"} for group in ("test", "validation")]
    scenes = rows_to_arrow(SCENES_TABLE, prints)
    found = object_metrics(objects, scenes)
    assert found == pytest.approx(
        {
            "object_f1": 2 / 3,
            "object_precision": 1,
            "object_recall": 1 / 2,
            "count_error": 1 / 2,
            "mAP50": 51 / 101,
            "mAP": 51 / 1010,
        }
    )
    masks = object_metrics(objects.replace_schema_metadata(), scenes)
    assert set(found) - set(masks) == {"mAP", "mAP50"}
    assert object_metrics(objects, scenes, {"a"}) == {}  # one of the scenes could not be counted
    assert object_metrics(objects, scenes[:0]) == {}
    assert object_metrics(objects[:0], scenes) == {}
