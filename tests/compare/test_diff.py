from __future__ import annotations

import hashlib
import json
from typing import Any

import pandas as pd
import pytest

from rvlab import compare, frame
from rvlab.errors import KeyMissing, SpecError, TableError
from rvlab.model import Run
from tests.frame.samples import Made

SOURCE = "def get_config(runner, lr=0.1):\n    return lr\n"


def configured(made: Made, source: str = SOURCE, lr: float = 0.1, **more: Any) -> Run:
    """Write a run with a source and Raster Vision's config."""
    digest = hashlib.sha256(source.encode()).hexdigest()
    given = {"lr": lr, **more.pop("params", {})}
    groups = more.pop("groups", ["town-1", "town-0"])
    run = made.ended(given, source_sha256=digest, **more)
    made.store.put(run.key("recipe.py"), source.encode())
    scenes = [
        {"id": name, "label_store": {"uri": f"{run.uri}/rv/predict/{name}"}} for name in groups
    ]
    config = {
        "root_uri": f"{run.uri}/rv",
        "chip_uri": f"{run.uri}/rv/chip",
        "dataset": {"train_scenes": scenes, "scene_groups": {"train_scenes": groups}},
        "backend": {"solver": {"lr": lr, "weights": [1, 2]}},
    }
    made.store.put_json(run.key("rv", "pipeline-config.json"), config)
    return run


def test_repeated_run_has_no_differences(made: Made) -> None:
    first = configured(made)
    again = configured(made, groups=["town-0", "town-1"])  # a set, in another order
    assert compare.diff(first, again).empty
    assert list(compare.diff(first, again).columns) == ["kind", "key", "a", "b", "text"]
    assert compare.source_diff(first, again) == ""


def test_diff_lists_each_difference_with_its_kind(made: Made) -> None:
    a = configured(made, commit="abc", dirty=False, params={"only_a": [1, 2]})
    b = configured(
        made, SOURCE.replace("0.1", "0.2"), 0.2, seed=1, splits=3, image="i@sha256:1", commit="abd",
        dirty=True, places={"data_uri": "/data"},
    )  # fmt: skip
    found = compare.diff(a, b)
    rows = found.set_index(["kind", "key"])
    assert list(dict.fromkeys(found["kind"])) == [
        "source", "parameter", "seed", "splits", "image", "commit", "data", "config",
    ]  # fmt: skip
    assert rows.loc[("parameter", "lr"), ["a", "b"]].tolist() == ["0.1", "0.2"]
    assert rows.loc[("parameter", "only_a"), "a"] == "[1, 2]"
    assert pd.isna(rows.loc[("parameter", "only_a"), "b"])
    assert rows.loc[("config", "backend.solver.lr"), "b"] == "0.2"
    assert rows.loc[("commit", "dirty"), ["a", "b"]].tolist() == ["false", "true"]
    text = rows.loc[("source", "recipe.py"), "text"]
    assert "-def get_config(runner, lr=0.1):\n+def get_config(runner, lr=0.2):" in text
    assert text == compare.source_diff(a, b)
    assert rows["text"].notna().sum() == 1


def test_diff_detects_changed_labels_under_the_same_file_name(made: Made) -> None:
    a, b, never = configured(made), configured(made), configured(made)

    def scored(run: Run, *scenes: tuple[str, str, str | None]) -> None:
        names = ("scene", "labels", "aois")
        more = {"group": "validation", "image": "i", "hashed_from": "content"}
        made.table(run, "scenes", [{**more, **dict(zip(names, s, strict=True))} for s in scenes])

    scored(a, ("town-0", "l0", None), ("town-1", "l1", "area"))
    scored(b, ("town-0", "l0", None), ("town-1", "l2", None))
    found = compare.diff(a, b)
    assert found["kind"].tolist() == ["data", "data"]
    rows = found.set_index("key")
    assert rows.loc["validation[town-1].labels", ["a", "b"]].tolist() == ["l1", "l2"]
    assert rows.loc["validation[town-1].aois", "a"] == "area"
    assert pd.isna(rows.loc["validation[town-1].aois", "b"])
    assert compare.diff(a, never).empty


def test_diff_accepts_table_rows_and_uris(made: Made) -> None:
    a, b = configured(made), configured(made, lr=0.3)
    runs = frame.runs_table(made.store, [a, b])
    by_run = compare.diff(a, b)
    pd.testing.assert_frame_equal(compare.diff(runs.iloc[0], runs.iloc[1]), by_run)
    pd.testing.assert_frame_equal(compare.diff(a.uri, runs.iloc[[1]]), by_run)


def test_diff_refuses_anything_but_a_single_run(made: Made) -> None:
    a, b = configured(made), configured(made)
    with pytest.raises(SpecError, match="run_b must be one run, got 2"):
        compare.diff(a, [a, b])
    with pytest.raises(TableError, match="no column 'uri'"):
        compare.diff(frame.runs_table(made.store, [a]).drop(columns="uri"), b)
    with pytest.raises(KeyMissing):
        compare.diff(a, f"{a.uri}0")
    with pytest.raises(SpecError, match="42 is not a run: pass a table of runs, a row"):
        compare.diff(a, 42)


def test_configs_have_a_column_for_each_differing_key(made: Made) -> None:
    runs = [configured(made, lr=0.1), configured(made, lr=0.2), made.queued()]
    found = compare.configs(runs)
    assert list(found.columns) == ["backend.solver.lr"]
    assert list(found.index) == [run.id for run in runs]
    assert found.index.name == "run"
    assert found["backend.solver.lr"].tolist()[:2] == [0.1, 0.2]
    assert found["backend.solver.lr"].isna().tolist() == [False, False, True]


def test_configs_with_every_return_all_keys_with_placeholders_for_folders(made: Made) -> None:
    run = configured(made)
    assert compare.configs(run).shape == (1, 0)
    row = compare.configs(run, every=True).iloc[0]
    assert row["chip_uri"] == "{run}/rv/chip"
    assert row["dataset.train_scenes[town-0].label_store.uri"] == "{run}/rv/predict/town-0"
    assert json.loads(row["dataset.scene_groups.train_scenes"]) == ["town-0", "town-1"]
    assert json.loads(row["backend.solver.weights"]) == [1, 2]


def test_folder_with_a_common_prefix_is_not_replaced(made: Made) -> None:
    run = configured(made)
    config = {"a": f"{run.uri}-old/x", "b": run.uri, "c": f"/vsizip/{run.uri}/x"}
    made.store.put_json(run.key("rv", "pipeline-config.json"), config)
    row = compare.configs(run, every=True).iloc[0]
    assert row.tolist() == [f"{run.uri}-old/x", "{run}", "/vsizip/{run}/x"]
