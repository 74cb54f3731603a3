"""Metrics of objects by run, scene and class, from a table or from runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import Lab, compare
from rvlab.errors import TableError
from rvlab.model import Run
from rvlab.model.tables import LAB_TABLES
from tests.frame.samples import Made


def objects() -> pd.DataFrame:
    """Return two scenes: of tree 2 of 3 are found and 1 is wrong; of car 0 of 1 are found."""
    true, said = "truth", "prediction"
    tp, fp, fn = "true positive", "false positive", "false negative"
    rows = [
        ("a", true, "tree", tp, None, 1),
        ("a", true, "tree", tp, None, 1),
        ("a", said, "tree", tp, 0.9, 1),
        ("a", said, "tree", fp, 0.8, 0),
        ("a", said, "tree", tp, 0.7, 1),
        ("b", true, "tree", fn, None, 0),
        ("b", true, "car", fn, None, 0),
    ]
    names = ["scene", "side", "class", "outcome", "score", "matched_at"]
    return pd.DataFrame(rows, columns=names).assign(run="r", group="validation")


def test_scores_of_a_run_are_macro_averages_over_its_classes() -> None:
    found = compare.object_scores(objects())
    assert found.index.tolist() == ["r"]
    row = found.loc["r"]
    counts = ["truth_count", "prediction_count", "tp", "fp", "fn"]
    assert row[counts].tolist() == [4, 3, 2, 1, 2]
    assert row["precision"] == pytest.approx((2 / 3 + 0) / 2)
    assert row["recall"] == pytest.approx((2 / 3 + 0) / 2)
    assert row["f1"] == pytest.approx((4 / 6 + 0) / 2)
    assert row["count_error"] == pytest.approx((1 + 1 + 1) / 4)  # tree in a and b, car in b
    # Tree: precision 1 to recall 1/3 (34 values), 2/3 to 2/3 (33 values); car: 0.
    assert row["mAP50"] == pytest.approx((34 + 33 * 2 / 3) / 101 / 2)
    assert row["mAP"] == pytest.approx(row["mAP50"] / 10)


def test_scores_by_scene_and_class_count_only_their_objects() -> None:
    found = compare.object_scores(objects(), by=["run", "scene", "class"])
    assert found.index.names == ["run", "scene", "class"]
    assert found.loc[("r", "a", "tree"), "recall"] == 1
    assert found.loc[("r", "b", "car"), "f1"] == 0
    limited = compare.object_scores(objects(), max_detections=1)
    assert limited["mAP50"].tolist() == pytest.approx([34 / 101 / 2])


def test_empty_table_and_missing_columns() -> None:
    dtypes = LAB_TABLES["objects"].dtypes
    empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})
    assert compare.object_scores(empty).empty
    with pytest.raises(TableError, match="no column 'clas'"):
        compare.object_scores(objects(), by="clas")


def write_run(made: Made, scenes: dict[str, tuple[int, int, int]], **more: Any) -> Run:
    """Write a run with true positives, false positives and false negatives of trees per scene.

    True positives have a score of 0.9, and false positives one of 0.5.
    """
    run = made.ended(**more)
    rows: list[dict[str, Any]] = []
    where = {"group": "validation", "col": 0, "row": 0, "width": 4, "height": 4, "edge_px": 0}
    for scene, (tp, fp, fn) in scenes.items():
        sides = [("truth", 1)] * tp + [("truth", 0)] * fn
        sides += [("prediction", 1)] * tp + [("prediction", 0)] * fp
        rows += [
            {**where, "scene": scene, "class": "tree", "side": side, "object": number}
            | {"matched_at": bits, "best_iou": float(bits), "area_px": 16.0}
            | {"score": (0.9 if bits else 0.5) if side == "prediction" else None}
            for number, (side, bits) in enumerate(sides)
        ]
    made.table(run, "objects", rows)
    prints = {"group": "validation", "image": "i", "labels": "l", "hashed_from": "content"}
    made.table(run, "scenes", [{**prints, "scene": scene} for scene in scenes])
    return run


def test_f1_of_objects_is_tested_by_resampling_scenes(tmp_path: Path) -> None:
    made = Made(Lab(tmp_path).store)
    good = {f"s{i}": (8 + i, 1, 1) for i in range(8)} | {"empty": (0, 0, 0)}
    bad = {f"s{i}": (4 + i, 3, 5) for i in range(8)} | {"empty": (0, 2, 0)}
    runs = [write_run(made, scenes) for scenes in (good, bad)]
    found = compare.test(runs[0], runs[1], "object_f1", resamples=99)
    sums = [np.array([*scenes.values()]).sum(axis=0) for scenes in (good, bad)]
    values = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn in sums]
    assert (found.value_a, found.value_b) == pytest.approx(tuple(values))
    assert (found.scenes, found.verdict) == (9, "better")
    assert "macro F1 of objects" in found.sentence
    of_class = compare.test(runs[0], runs[1], "object_recall.tree", resamples=99)
    assert of_class.value_b == pytest.approx(sums[1][0] / (sums[1][0] + sums[1][2]))
    assert compare.gate(runs[1], runs[0], "object_f1", resamples=99).verdict == "fails"
    table = compare.by_scene(runs[0], runs[1], "object_f1")
    assert table.loc["s0", ["object_f1.a", "objects"]].tolist() == pytest.approx([16 / 18, 9])
    with pytest.raises(TableError, match=r"Did you mean 'object_f1\.tree'"):
        compare.test(runs[0], runs[1], "object_f1.tre")
    board = Lab(tmp_path).runs().assign(**{"metrics.count_error": [0.5, 0.1]})
    board["params.lr"] = [1, 2]
    assert compare.seeds(board, "count_error")["params.lr"].tolist() == [2, 1]
    other = write_run(made, {**bad, "s0": (4, 3, 6)})
    with pytest.raises(TableError, match="truth"):
        compare.test(runs[0], other, "object_f1")


def test_precision_and_count_error_of_objects_are_tested_by_resampling_scenes(
    tmp_path: Path,
) -> None:
    made = Made(Lab(tmp_path).store)
    good = {f"s{i}": (8, 1, 2) for i in range(8)} | {"empty": (0, 0, 0)}
    bad = {f"s{i}": (5, 4 + i % 2, 5) for i in range(8)} | {"empty": (0, 0, 0)}
    better, worse = (write_run(made, scenes) for scenes in (good, bad))
    found = compare.test(better, worse, "mAP50", resamples=99)
    # A precision of 1 up to the recalls 0.8 and 0.5.
    assert (found.value_a, found.value_b) == pytest.approx((81 / 101, 51 / 101))
    assert (found.verdict, found.scenes, found.better, found.worse) == ("better", 9, 8, 0)
    assert "mAP50 0.802 against 0.505" in found.sentence
    assert (found.low, found.high) == pytest.approx((30 / 101, 30 / 101))  # all scenes are equal
    whole = compare.test(better, worse, "mAP", resamples=99)
    assert whole.difference == pytest.approx(found.difference / 10)
    of_class = compare.gate(worse, better, "metrics.mAP50.tree", resamples=99)
    assert of_class.verdict == "fails"
    assert "mAP50 of class tree" in of_class.sentence
    table = compare.by_scene(better, worse, "mAP50")
    assert table.loc["s0", ["mAP50.a", "mAP50.b", "objects"]].tolist() == pytest.approx(
        [81 / 101, 51 / 101, 10]
    )

    # Of ten objects 9 are predicted by one run, and 9 or 10 by the other, which is less wrong.
    errors = compare.test(better, worse, "count_error", resamples=99)
    assert (errors.value_a, errors.value_b) == pytest.approx((1 / 10, 0.5 / 10))
    assert (errors.better, errors.worse) == (0, 4)
    assert errors.verdict == "cannot tell"  # in four scenes both are equal
    many = {f"s{i}": (8, 40 + i, 2) for i in range(8)} | {"empty": (0, 0, 0)}
    noisy = write_run(made, many)
    gate = compare.gate(better, noisy, "count_error", 0.1, resamples=99)
    assert gate.verdict == "passes"
    assert gate.test.verdict == "better"
    assert gate.test.low < -3  # errors are not limited to 1
    assert "margin 0.1" in gate._repr_html_()
    assert compare.gate(noisy, better, "count_error", 0.1, resamples=99).verdict == "fails"
    runs = Lab(tmp_path).runs([better, worse, noisy])
    runs["params.lr"] = [1, 2, 3]
    ranks = compare.table_of_tests(runs, noisy.id, "count_error", resamples=99)
    assert ranks.index.tolist() == [worse.id, better.id]
    assert (ranks["verdict"] == "better").all()
    confusion = Lab(tmp_path).confusion(runs)
    with pytest.raises(TableError, match="No confusion matrix per scene"):
        compare.test(better, worse, "mAP50", confusion=confusion)


def test_seeds_and_boards_rank_errors_of_objects_by_the_smallest(tmp_path: Path) -> None:
    made = Made(Lab(tmp_path).store)
    runs = [
        write_run(
            made,
            {f"s{i}": (8 - lr, 1 + i % 3, 2 + lr) for i in range(9)},
            params={"lr": lr},
            metrics={"mAP50": 1 / lr, "count_error": lr / 10, "f1.forest_loss": lr / 10},
        )
        for lr in (1, 2)
    ]
    table = Lab(tmp_path).runs(runs)
    found = compare.seeds(table, "mAP50", resamples=99)
    ends = found[["mAP50.scenes95_low", "mAP50.scenes95_high"]]
    assert (ends["mAP50.scenes95_low"] > 0.4).all()
    assert (ends["mAP50.scenes95_high"] < 0.8).all()
    for metric, first in (("count_error", 1), ("mAP50", 1), ("f1.forest_loss", 2)):
        board = compare.board(table, metric)
        assert board["params.lr"].iloc[0] == first
        assert compare.seeds(table, metric, resamples=99)["params.lr"].iloc[0] == first
        assert Lab(tmp_path).best("towns", metric) == runs[first - 1]
    assert compare.board(table, "count_error", ascending=False)["params.lr"].tolist() == [2, 1]
    assert Lab(tmp_path).experiments(metric="count_error")["best_run"].tolist() == [runs[0].id]
