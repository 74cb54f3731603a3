"""Runs that were scored on other pixels are not tested against one another by mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import compare, frame
from rvlab.errors import SpecError, TableError
from rvlab.model import Run
from tests.compare.samples import confusion, scene_matrices
from tests.frame.samples import Made

SCENES = 8


@pytest.fixture
def runs(made: Made) -> list[Run]:
    """Return two runs with equal counts of truth in every scene."""
    found = [made.ended({"lr": lr}, experiment="fair") for lr in (0.1, 0.2)]
    matrices = scene_matrices(np.random.default_rng(1), SCENES, (1.0, 0.5))
    for run, each in zip(found, matrices, strict=True):
        rows = confusion({run.id: each}).drop(columns="run").to_dict("records")
        made.table(
            run,
            "confusion",
            [{str(k): None if pd.isna(v) else v for k, v in r.items()} for r in rows],
        )
    return found


def fingerprints(scenes: int = SCENES, **other: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "group": "validation",
            "scene": f"s{i:03d}",
            "image": "i",
            "labels": "l",
            "aois": None,
            "grid": "g",
            "hashed_from": "content",
            **other.get(f"s{i:03d}", {}),
        }
        for i in range(scenes)
    ]


@pytest.mark.parametrize(
    ("column", "word"),
    [("labels", "labels"), ("aois", "areas of interest"), ("grid", "pixel grids")],
)
def test_scenes_with_different_truth_are_refused_by_name(
    made: Made, runs: list[Run], column: str, word: str
) -> None:
    made.table(runs[0], "scenes", fingerprints())
    made.table(runs[1], "scenes", fingerprints(s002={column: "other"}, s005={column: "other"}))
    said = rf"in 2 of 8 scenes: s002, s005\. Different are: {word} \(s002, s005\)\. A"
    with pytest.raises(TableError, match=said):
        compare.test(*runs)
    assert compare.test(*runs, any_truth=True).difference > 0
    assert compare.test(*runs, any_truth=column).difference > 0
    for other in {"labels", "aois", "grid"} - {column}:
        with pytest.raises(TableError, match=said):
            compare.test(*runs, any_truth=[other])
    with pytest.raises(TableError, match=r"in 2 of 8 scenes: s002, s005\."):
        compare.table_of_tests(runs, runs[1])
    assert len(compare.table_of_tests(runs, runs[1], any_truth=True)) == 1
    with pytest.raises(TableError, match=r"in 2 of 8 scenes: s002, s005\."):
        compare.by_scene(*runs)


def test_runs_on_other_images_of_the_same_truth_are_tested(made: Made, runs: list[Run]) -> None:
    """Other bands or another sensor over the same labels."""
    made.table(runs[0], "scenes", fingerprints())
    made.table(runs[1], "scenes", fingerprints(s002={"image": "sar"}, s005={"image": "sar"}))
    found = compare.test(*runs)
    assert found.difference > 0
    assert "The images differ in 2 of 8 scenes (s002, s005), the truth does not." in found.sentence
    assert len(compare.table_of_tests(runs, runs[1])) == 1
    differ = compare.diff(*runs)
    assert differ.loc[differ["kind"] == "data", "key"].tolist() == [
        "validation[s002].image",
        "validation[s005].image",
    ]


def test_other_images_without_a_known_grid_are_refused(made: Made, runs: list[Run]) -> None:
    """Tables of an earlier version have no fingerprint of the grid."""
    for run, image in zip(runs, ("optical", "sar"), strict=True):
        rows = fingerprints(s001={"image": image})
        made.table(run, "scenes", [{k: v for k, v in r.items() if k != "grid"} for r in rows])
    table = frame.scene_fingerprints_table(made.store, runs)
    assert table["grid"].isna().all()
    with pytest.raises(TableError, match=r"in 1 of 8 scenes: s001\. .*pixel grids \(s001\)"):
        compare.test(*runs)


def test_accepted_difference_leaves_the_other_checks_on(made: Made, runs: list[Run]) -> None:
    made.table(runs[0], "scenes", fingerprints())
    made.table(runs[1], "scenes", fingerprints(s001={"aois": "a"}, s002={"labels": "other"}))
    with pytest.raises(TableError, match=r"1 of 8 scenes: s002\. Different are: labels \(s002\)"):
        compare.test(*runs, any_truth="aois")
    assert compare.test(*runs, any_truth=["aois", "labels"]).difference > 0
    with pytest.raises(SpecError, match=r"some of labels, aois, grid, got 'aoi'\. Did you mean"):
        compare.test(*runs, any_truth="aoi")


def test_board_says_in_what_evaluation_sets_differ(made: Made, runs: list[Run]) -> None:
    made.table(runs[0], "scenes", fingerprints())
    made.table(runs[1], "scenes", fingerprints(SCENES + 1, s001={"aois": "a"}))
    table = frame.runs_table(made.store, runs).assign(eval_set=["x", "y"])
    table["metrics.f1"] = [0.5, 0.6]
    said = r"differ in the scenes \(s008\), areas of interest \(s001\)\."
    with pytest.warns(UserWarning, match=said):
        compare.board(table)


def test_fingerprints_are_read_for_given_matrices_if_evaluation_sets_differ(
    made: Made, runs: list[Run]
) -> None:
    made.table(runs[0], "scenes", fingerprints())
    made.table(runs[1], "scenes", fingerprints(s002={"labels": "other"}))
    table, counts = frame.runs_table(made.store, runs), frame.confusion_table(made.store, runs)
    a, b = (table.iloc[[i]].assign(eval_set=name) for i, name in enumerate("xy"))
    with pytest.raises(TableError, match=r"in 1 of 8 scenes: s002\."):
        compare.test(a, b, confusion=counts)
    with pytest.raises(TableError, match=r"in 1 of 8 scenes: s002\."):
        compare.gate(a, b, confusion=counts)
    assert compare.test(a, b, confusion=counts, any_truth=True).difference > 0


def test_equal_scenes_and_runs_without_fingerprints_are_tested(made: Made, runs: list[Run]) -> None:
    before = compare.test(*runs)
    made.table(runs[0], "scenes", fingerprints())
    assert compare.test(*runs).difference == before.difference
    made.table(runs[1], "scenes", fingerprints())
    assert compare.test(*runs).difference == before.difference


def test_scene_of_only_one_run_is_left_out_and_reported(made: Made, runs: list[Run]) -> None:
    made.table(runs[0], "scenes", fingerprints())
    made.table(runs[1], "scenes", fingerprints(SCENES + 1))
    other = scene_matrices(np.random.default_rng(1), SCENES + 1, (0.5,))[0]
    other[:SCENES] = scene_matrices(np.random.default_rng(1), SCENES, (1.0, 0.5))[1]
    rows = confusion({runs[1].id: other}).drop(columns="run").to_dict("records")
    made.table(
        runs[1],
        "confusion",
        [{str(k): None if pd.isna(v) else v for k, v in r.items()} for r in rows],
    )
    assert "so they are left out: s008" in compare.test(*runs).sentence
