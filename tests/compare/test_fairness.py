"""Runs that were scored on other pixels are not tested against one another by mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import compare, frame
from rvlab.errors import TableError
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
            "hashed_from": "content",
            **other.get(f"s{i:03d}", {}),
        }
        for i in range(scenes)
    ]


@pytest.mark.parametrize("column", ["image", "labels", "aois"])
def test_scenes_with_different_images_labels_or_areas_are_refused_by_name(
    made: Made, runs: list[Run], column: str
) -> None:
    made.table(runs[0], "scenes", fingerprints())
    made.table(runs[1], "scenes", fingerprints(s002={column: "other"}, s005={column: "other"}))
    with pytest.raises(TableError, match=r"in 2 of 8 scenes: s002, s005\. Images, labels, areas"):
        compare.test(*runs)
    assert compare.test(*runs, any_truth=True).difference > 0
    with pytest.raises(TableError, match=r"in 2 of 8 scenes: s002, s005\."):
        compare.table_of_tests(runs, runs[1])
    assert len(compare.table_of_tests(runs, runs[1], any_truth=True)) == 1
    with pytest.raises(TableError, match=r"in 2 of 8 scenes: s002, s005\."):
        compare.by_scene(*runs)


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
