"""Ranking of windows by each criterion, from counts alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rvlab.errors import NotFound, SpecError
from rvlab.frame.counted_tables import counts_key
from rvlab.frame.windows import ranked_windows_table
from rvlab.model import Run
from rvlab.model.tables import LAB_TABLES, WINDOWS_TABLE
from rvlab.raster.score_scene import concat_scenes
from rvlab.store import Store
from rvlab.store.table_file import encode_table, rows_to_arrow
from tests.raster.samples import Experiment, config, write


@pytest.fixture
def town(tmp_path):
    """Return two scenes of 3 x 2 windows of 64 px, and three runs, the first without errors."""
    made = Experiment(tmp_path, size=(128, 192))
    for wrong in (0.0, 0.1, 0.4):
        made.add(wrong)
    return made


def ranked(made, by="error", which=slice(None), **more):
    store = Store(str(made.root))
    return ranked_windows_table(
        store, [Run.from_uri(uri) for uri in made.runs["uri"].iloc[which]], by, **more
    )


def spoil(made, number, scene, col, row, value, side=64):
    """Overwrite a window of a prediction with one class."""
    import rasterio
    from rasterio.windows import Window

    path = f"{made.runs['uri'].iloc[number]}/rv/predict/{scene}/labels.tif"
    with rasterio.open(path, "r+") as dataset:
        block = np.full((side, side), value, np.uint8)
        dataset.write(block, 1, window=Window(col, row, side, side))


def first(table):
    return tuple(table.iloc[0][["scene", "col", "row"]])


def test_window_with_most_errors_comes_first(town):
    spoil(town, 1, "val-1", 128, 64, 2)
    found = ranked(town, which=slice(0, 2), size=64)
    assert first(found) == ("val-1", 128, 64)
    assert found["score"].is_monotonic_decreasing
    truth = town.truth["val-1"][64:, 128:]
    assert found["score"].iloc[0] == pytest.approx((truth != 2).mean() / 2)  # mean of two runs
    assert found["run"].iloc[0] == town.runs.index[1]
    assert {c: str(t) for c, t in found.dtypes.items()} == LAB_TABLES["windows"].dtypes


def test_error_score_equals_comparison_of_rasters(town):
    import rasterio

    found = ranked(town, which=[2], size=64, n=100).set_index(["scene", "col", "row"])
    for (scene, col, row), one in found.iterrows():
        with rasterio.open(f"{town.runs['uri'].iloc[2]}/rv/predict/{scene}/labels.tif") as dataset:
            guess = dataset.read(1)
        part = np.s_[row : row + 64, col : col + 64]
        wrong = (guess[part] != town.truth[scene][part]).mean()
        assert one["score"] == pytest.approx(wrong)
        assert one["pixels"] == 64 * 64


def test_counts_of_active_runs_are_not_stored(town):
    before = ranked(town)
    for uri in town.runs["uri"]:
        shutil.rmtree(f"{uri}/rv")
    with pytest.warns(UserWarning, match="is left out"), pytest.raises(NotFound):
        ranked(town)
    assert len(before) > 0


def test_counts_of_ended_runs_are_stored_and_used_without_rasters(town):
    store = Store(str(town.root))
    for uri in town.runs["uri"]:
        store.put_json(Run.from_uri(uri).end_key, {"state": "succeeded"})
    before = ranked(town)
    for uri in town.runs["uri"]:
        shutil.rmtree(f"{uri}/rv")
    pd.testing.assert_frame_equal(ranked(town), before)


def test_disagreement_is_empty_for_equal_predictions_and_finds_a_differing_window(town):
    shutil.copytree(
        f"{town.runs['uri'].iloc[0]}/rv/predict",
        f"{town.runs['uri'].iloc[1]}/rv/predict",
        dirs_exist_ok=True,
    )
    assert ranked(town, "disagreement", [0, 1]).empty
    spoil(town, 2, "val-0", 64, 0, 1)
    found = ranked(town, "disagreement", [0, 2], size=64)
    assert first(found) == ("val-0", 64, 0)
    assert found["run"].isna().all()
    truth = town.truth["val-0"][:64, 64:128]
    assert 0 < found["score"].iloc[0] <= (truth != 1).mean() + 1e-9


def test_difference_lists_windows_of_the_better_second_run_first_then_of_the_first(town):
    spoil(town, 0, "val-0", 0, 0, 1)
    spoil(town, 1, "val-1", 64, 64, 2)
    found = ranked(town, "difference", [0, 1], size=64, n=4)
    assert first(found) == ("val-0", 0, 0)
    assert (found["score"] > 0).sum() == 1  # the only window with errors of the first run
    worst = found.iloc[found["score"].argmin()]
    assert (worst["scene"], worst["col"], worst["row"]) == ("val-1", 64, 64)
    assert found["score"].iloc[1:].is_monotonic_increasing  # largest difference first
    assert found.iloc[0]["run"] == town.runs.index[1]
    assert worst["run"] == town.runs.index[0]


def test_class_score_is_the_share_of_the_class_in_the_truth(town):
    found = ranked(town, "class", [0], classes="building", size=64, n=100)
    for one in found.itertuples():
        part = town.truth[one.scene][one.row : one.row + 64, one.col : one.col + 64]
        assert one.score == pytest.approx((part == 1).mean())


def test_errors_of_a_selected_class_count_that_class_only(town):
    spoil(town, 0, "val-0", 0, 0, 2)
    found = ranked(town, which=[0], classes="road", size=64)
    part = town.truth["val-0"][:64, :64]
    assert first(found) == ("val-0", 0, 0)
    assert found["score"].iloc[0] == pytest.approx((part != 2).mean())


def test_random_windows_are_equal_for_equal_seeds(town):
    one, again, other = (ranked(town, "random", seed=s, size=64, n=6) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert not one[["scene", "col", "row"]].equals(other[["scene", "col", "row"]])


def test_confident_error_uses_runs_with_scores_and_raises_without_any(town):
    with pytest.raises(SpecError, match="smooth_output=True"):
        ranked(town, "confident_error")
    folder = town.root / "town" / town.runs.index[2]
    parts = []
    for name, ids in town.truth.items():
        part = town.describe(name, folder)
        part["label_store"]["smooth_output"] = True
        scores = np.full((4, *ids.shape), 0.5, np.float32)
        if name == "val-1":
            scores[:, :64, :64] = 0.97
        write(folder / f"rv/predict/{name}/scores.tif", scores)
        parts.append(part)
    town.write_config(folder, config(parts))
    found = ranked(town, "confident_error", size=64)
    assert len(found) == 1
    assert first(found) == ("val-1", 0, 0)
    assert found["run"].iloc[0] == town.runs.index[2]


def test_larger_windows_sum_the_smaller_ones_and_are_clipped_at_the_edge(town):
    small, large = (ranked(town, n=100, size=size) for size in (64, 128))
    assert set(large["width"]) == {128, 64}
    fullest = large["pixels"].max()
    assert fullest == 128 * 128
    total = (small["score"] * 64 * 64).sum()
    assert (large["score"] * fullest).sum() == pytest.approx(total)


def test_per_scene_limits_the_rows_of_a_scene(town):
    found = ranked(town, size=64, n=4, per_scene=2)
    assert found["scene"].value_counts().to_dict() == {"val-0": 2, "val-1": 2}


def test_run_with_other_labels_is_left_out_with_a_warning(town):
    labels = write(town.root / "other.tif", np.roll(town.truth["val-1"], 9, axis=1))
    folder = town.root / "town" / town.runs.index[1]
    parts = [town.describe(name, folder) for name in town.truth]
    parts[1]["label_source"]["raster_source"]["uris"] = labels
    town.write_config(folder, config(parts))
    with pytest.warns(UserWarning, match="its labels of val-1 differ from those of"):
        found = ranked(town)
    assert town.runs.index[1] not in set(found["run"])


def test_scene_missing_in_a_run_is_left_out_with_a_warning(town):
    folder = town.root / "town" / town.runs.index[1]
    town.write_config(folder, config([town.describe("val-0", folder)]))
    with pytest.warns(UserWarning, match="some of the runs do not have are left out: val-1"):
        found = ranked(town)
    assert set(found["scene"]) == {"val-0"}


def test_score_of_an_object_detection_is_a_number_of_boxes(tmp_path):
    made = Experiment(tmp_path, scenes=1, size=(64, 64))
    made.add(0.3)
    run = Run.from_uri(made.runs["uri"].iloc[0])
    store = Store(str(tmp_path))
    row = {"group": "validation", "scene": "s", "col": 0, "row": 0, "width": 64, "height": 64}
    counted = {"class": "tree", "tp": 3, "fp": 2, "fn": 1, "confident_fp": 1}
    put(store, run, [row | counted])
    assert ranked_windows_table(store, [run])["score"].tolist() == [3.0]
    assert ranked_windows_table(store, [run], "confident_error")["score"].tolist() == [1.0]
    assert ranked_windows_table(store, [run], "class", classes="tree")["score"].tolist() == [4.0]


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"by": "eror"}, NotFound, "Did you mean 'error'"),
        ({"by": "difference"}, SpecError, "needs exactly two runs, got 3"),
        ({"by": "class"}, SpecError, "classes='building'"),
        ({"classes": "bilding"}, NotFound, "Did you mean 'building'"),
        ({"size": 100}, SpecError, "Use size=128"),
        ({"n": 0}, SpecError, "n must be a positive integer, got 0"),
        ({"group": "test"}, NotFound, "no run has windows"),
        ({"scenes": "val-9"}, NotFound, "val-9"),
    ],
)
def test_invalid_arguments_raise_with_a_suggestion(town, more, error, words):
    with pytest.raises(error, match=f"(?i){words}"):
        ranked(town, **more)


def test_run_with_a_broken_table_is_left_out_with_a_warning(town):
    store = Store(str(town.root))
    run = Run.from_uri(town.runs["uri"].iloc[0])
    store.put(counts_key(run, WINDOWS_TABLE), b"PAR1 not at all")
    with pytest.warns(UserWarning, match="is not the parquet file that rvlab writes"):
        found = ranked(town)
    assert run.id not in set(found["run"])


def put(store, run, rows, task="object_detection"):
    table = concat_scenes(WINDOWS_TABLE, [rows_to_arrow(WINDOWS_TABLE, rows)], task)
    store.put(counts_key(run, WINDOWS_TABLE), encode_table(table))


def row(col, tp=0, fp=0, fn=0, scene="s"):
    place = {"group": "validation", "scene": scene, "col": col, "row": 0, "width": 64, "height": 64}
    return place | {"class": "tree", "tp": tp, "fp": fp, "fn": fn, "confident_fp": None}


def some_runs(tmp_path, number):
    return Store(str(tmp_path)), [
        Run(str(tmp_path), "e", f"20261123-15420{i}-4f2a0{i}") for i in range(number)
    ]


def test_per_scene_limits_both_directions_of_a_difference(tmp_path):
    store, runs = some_runs(tmp_path, 2)
    put(store, runs[0], [row(64 * i, tp=i % 2, fn=(i + 1) % 2) for i in range(8)])
    put(store, runs[1], [row(64 * i, tp=(i + 1) % 2, fn=i % 2) for i in range(8)])
    found = ranked_windows_table(store, runs, "difference", size=64, n=4, per_scene=2)
    assert sorted(found["score"]) == [-1, -1, 1, 1]


def test_comparison_of_two_runs_raises_when_one_is_left_out(tmp_path):
    store, runs = some_runs(tmp_path, 2)
    put(store, runs[0], [row(0, tp=1)])
    put(store, runs[1], [row(0, tp=1, fn=1)])
    for by in ("difference", "disagreement"):
        with (
            pytest.warns(UserWarning, match="differ from those of"),
            pytest.raises(SpecError, match=r"two runs, got 1"),
        ):
            ranked_windows_table(store, runs, by)


def test_labels_of_the_majority_of_runs_are_used(tmp_path):
    store, runs = some_runs(tmp_path, 3)
    put(store, runs[0], [row(0, tp=1, fn=1)])
    for run in runs[1:]:
        put(store, run, [row(0, tp=1, fp=2)])
    with pytest.warns(UserWarning, match=f"{runs[0].id} is left out"):
        assert ranked_windows_table(store, runs)["score"].tolist() == [2]


def test_run_without_windows_in_the_group_is_left_out_with_a_warning(tmp_path):
    store, runs = some_runs(tmp_path, 2)
    put(store, runs[0], [row(0, fn=1)])
    put(store, runs[1], [])
    with pytest.warns(UserWarning, match="no windows in the group"):
        assert len(ranked_windows_table(store, runs)) == 1


def test_incomplete_counts_are_reported_and_not_stored(town):
    store = Store(str(town.root))
    run = Run.from_uri(town.runs["uri"].iloc[2])
    store.put_json(run.end_key, {"state": "succeeded"})
    path = town.root / "val-1-labels.tif"
    away = path.rename(path.with_suffix(".away"))
    with pytest.warns(UserWarning, match="are incomplete. Scene val-1"):
        assert set(ranked_windows_table(store, [run])["scene"]) == {"val-0"}
    away.rename(path)
    assert set(ranked_windows_table(store, [run], n=99)["scene"]) == {"val-0", "val-1"}


def test_integers_may_be_of_numpy_and_other_types_raise(town):
    assert len(ranked(town, n=np.int64(2), size=np.int64(64))) == 2
    for wrong in ({"n": True}, {"size": "128"}, {"per_scene": 0}, {"classes": []}, {"scenes": []}):
        with pytest.raises(SpecError):
            ranked(town, **wrong)


def test_windows_of_an_own_scene_group_are_those_of_its_scenes(town):
    for uri in town.runs["uri"]:
        path = Path(uri) / "rv/pipeline-config.json"
        content = json.loads(path.read_text())
        content["dataset"]["scene_groups"] = {"far": ["val-1"], "validation_scenes": ["val-0"]}
        path.write_text(json.dumps(content))
    found = ranked(town, group="far", size=64)
    assert set(found["scene"]) == {"val-1"}
    assert set(found["group"]) == {"far"}
    every = ranked(town, scenes="val-1", size=64)
    assert found["score"].tolist() == every["score"].tolist()
    with pytest.raises(NotFound, match=r"Unknown group 'fra'. Did you mean 'far'"):
        ranked(town, group="fra")
