from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import compare, metrics
from rvlab.errors import SpecError, TableError
from tests.compare.samples import CLASSES, confusion, scene_matrices, table


def made(scenes: int = 5, runs: int = 2, seed: int = 1) -> np.ndarray:
    return scene_matrices(np.random.default_rng(seed), scenes, [1.2 - 0.4 * i for i in range(runs)])


def two(cube: np.ndarray, *names: str, **more: Any) -> tuple[pd.Series, pd.Series, pd.DataFrame]:
    """Return two runs, x and y, and the table of their matrices."""
    runs = table({"x": {}, "y": {}})
    called = {"x": names, "y": names} if names else None
    matrices = confusion({"x": cube[0], "y": cube[1]}, names=called, **more)
    return runs.loc["x"], runs.loc["y"], matrices


def macro(cube: np.ndarray) -> float:
    return float(metrics.macro_f1(cube))


def test_by_scene_lists_the_largest_difference_first() -> None:
    cube = made()
    x, y, matrices = two(cube)
    found = compare.by_scene(x, y, confusion=matrices)
    assert found.columns.tolist() == ["f1.a", "f1.b", "difference", "pixels", "influence"]
    assert found.index.name == "scene"
    assert sorted(found.index) == [f"s{i:03d}" for i in range(5)]
    assert found["difference"].abs().is_monotonic_decreasing
    row = found.loc["s003"]
    assert row["f1.a"] == pytest.approx(macro(cube[0, 3]))
    assert row["difference"] == pytest.approx(macro(cube[0, 3]) - macro(cube[1, 3]))
    assert row["pixels"] == cube[0, 3].sum()


def test_influence_equals_the_change_without_the_scene() -> None:
    cube = made()
    x, y, matrices = two(cube)
    found = compare.by_scene(x, y, confusion=matrices)

    def gap(scenes: list[int]) -> float:
        left, right = (side[scenes].sum(axis=0) for side in cube)
        return macro(left) - macro(right)

    every = list(range(5))
    for i in every:
        by_hand = gap([j for j in every if j != i]) - gap(every)
        assert found.loc[f"s{i:03d}", "influence"] == pytest.approx(by_hand)


def test_large_difference_in_a_small_scene_has_little_influence() -> None:
    truth = np.array([90000.0, 9000.0, 1000.0])
    good, bad = np.diag(truth), np.diag(truth / 2)
    bad[:, 0] += truth / 2
    x = np.stack([good, good / 100])
    y = np.stack([good - np.diag([0, 900, 0]) + [[0, 0, 0], [900, 0, 0], [0, 0, 0]], bad / 100])
    a, b, matrices = two(np.stack([x, y]), "big", "small")
    found = compare.by_scene(a, b, confusion=matrices)
    assert found.index.tolist() == ["small", "big"]
    assert found.loc["small", "difference"] > 5 * found.loc["big", "difference"] > 0
    assert found.loc["small", "pixels"] == 1000
    # a leads in both scenes: without the small one its lead is a little smaller.
    assert -found.loc["small", "difference"] / 10 < found.loc["small", "influence"] < 0


def test_by_scene_averages_over_runs_of_several_seeds() -> None:
    cube = made(4, 4)
    rows = {r: {"seed": s, "params.lr": lr} for r, s, lr in
            [("a0", 0, 1.0), ("a1", 1, 1.0), ("b0", 0, 2.0), ("b1", 1, 2.0)]}  # fmt: skip
    runs, matrices = table(rows), confusion(dict(zip(rows, cube, strict=True)))
    found = compare.by_scene(
        runs[runs["params.lr"] == 1], runs[runs["params.lr"] == 2], "iou.road", confusion=matrices
    )
    road = metrics.iou(cube)[..., 2]
    assert found.loc["s002", "iou.road.a"] == pytest.approx(road[:2, 2].mean())
    assert found.loc["s002", "iou.road.b"] == pytest.approx(road[2:, 2].mean())
    with pytest.raises(SpecError, match=r"differ in more than their seed: params.lr"):
        compare.by_scene(runs, runs, confusion=matrices)


def test_scene_without_the_class_is_missing_and_last() -> None:
    cube = made(3)
    cube[:, 1] = [[50, 5, 0], [5, 20, 0], [0, 0, 0]]
    x, y, matrices = two(cube)
    found = compare.by_scene(x, y, "f1.road", confusion=matrices)
    assert found.index[-1] == "s001"
    assert found.loc["s001", ["f1.road.a", "f1.road.b", "difference"]].isna().all()
    assert found.loc["s001", "influence"] == 0


def test_influence_of_a_single_scene_is_left_out() -> None:
    cube = made(1)
    x, y, matrices = two(cube)
    found = compare.by_scene(x, y, confusion=matrices)
    assert "influence" not in found
    assert found["difference"].notna().all()


def test_by_scene_does_not_count_unlabelled_pixels() -> None:
    cube = np.zeros((2, 3, 4, 4))
    cube[:, :, :3, :3] = made(3)
    cube[:, :, 3, 0] = 500
    x, y, matrices = two(cube, classes=[*CLASSES, "null"])
    found = compare.by_scene(x, y, confusion=matrices)
    assert found.loc["s001", "pixels"] == cube[0, 1, :3].sum()


def test_by_scene_uses_the_headline_group_and_refuses_different_truth() -> None:
    cube, other = made(3), made(2, seed=5)
    x, y, matrices = two(cube)
    sides, tests = (x, y), two(other, "t0", "t1", group="test")[2]
    matrices = pd.concat([tests, matrices])
    assert len(compare.by_scene(*sides, confusion=matrices)) == 3
    assert sorted(compare.by_scene(*sides, group="test", confusion=matrices).index) == ["t0", "t1"]
    cube[1, 0, 0, 0] += 5
    changed = two(cube)[2]
    with pytest.raises(TableError, match="not scored on the same truth in 1 of 3 scenes: s000"):
        compare.by_scene(*sides, confusion=changed)
    found = compare.by_scene(*sides, confusion=changed, any_truth=True)
    assert found.loc["s000", "pixels"] == cube[0, 0].sum()
    with pytest.raises(TableError, match=r"gives the metric 'f2'"):
        compare.by_scene(*sides, "f2", confusion=matrices)
