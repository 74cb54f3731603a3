"""Metrics of one run with intervals over scenes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from rvlab import compare
from rvlab.compare.metric_intervals import metric_intervals
from rvlab.frame import runs_table
from rvlab.store import Store, register_store
from tests.compare.samples import confusion, scene_matrices
from tests.compare.test_object_scores import write_run
from tests.frame.samples import Made


def test_values_and_intervals_are_those_of_the_table_and_of_seeds(tmp_path: Path) -> None:
    made = Made(register_store(Store(tmp_path)))
    matrices = scene_matrices(np.random.default_rng(1), 12, [1.0])[0]
    run, bare = made.ended({}, {"f1": 0.7}), made.ended({})
    rows = confusion({run.id: matrices}).drop(columns="run")
    made.table(run, "confusion", rows.astype(object).where(rows.notna(), None).to_dict("records"))
    table = runs_table(made.store, [run])
    found = {one.name: one for one in metric_intervals(run)}
    assert list(found)[:6] == [
        *("f1", "mean_iou", "accuracy", "precision", "recall"),
        "f1.background",
    ]
    assert len(found) == 5 + 4 * 3  # no objects
    for name in ("f1", "iou.road", "recall.building"):
        one = found[name]
        assert (one.group, one.scenes) == ("validation", 12)
        expected = compare.seeds(table.assign(**{f"metrics.{name}": 0.7}), name).iloc[0]
        ends = [expected[f"{name}.scenes95_{end}"] for end in ("low", "high")]
        assert one.interval[:2] == pytest.approx(ends)
        assert one.interval.low < one.value < one.interval.high
    narrow = {one.name: one for one in metric_intervals(run, level=0.5)}
    assert narrow["f1"].interval.high < found["f1"].interval.high
    assert metric_intervals(bare) == []

    matrices[:, 2, :] = matrices[:, :, 2] = 0  # no road, neither true nor predicted
    rows = confusion({run.id: matrices}).drop(columns="run")
    other = made.ended({})
    made.table(other, "confusion", rows.astype(object).where(rows.notna(), None).to_dict("records"))
    undefined = {one.name: one for one in metric_intervals(other)}["f1.road"]
    assert all(map(math.isnan, (undefined.value, *undefined.interval[:2])))


def test_detections_have_intervals_of_precision_and_count_error(tmp_path: Path) -> None:
    made = Made(register_store(Store(tmp_path)))
    run = write_run(made, {f"s{i}": (5 + i % 3, i % 4, 3) for i in range(9)})
    found = {one.name: one for one in metric_intervals(run, resamples=199)}
    kinds = ["object_f1", "object_precision", "object_recall"]
    assert list(found) == [*kinds, "count_error", "mAP", "mAP50", *(f"{k}.tree" for k in kinds)]
    scores = compare.object_scores(run).iloc[0]
    for name in ("mAP", "mAP50", "count_error"):
        one = found[name]
        assert one.value == pytest.approx(scores[name])
        assert 0 <= one.interval.low < one.value < one.interval.high
    expected = compare.seeds(runs_table(made.store, [run]).assign(**{"metrics.mAP": 0.5}), "mAP")
    assert expected["mAP.scenes95_low"][0] == pytest.approx(found["mAP"].interval.low, abs=0.01)
