"""Tables of objects: masks and boxes, stored or counted on demand, and their outcomes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rvlab import Lab, plot
from rvlab.errors import NotFound, SpecError
from rvlab.frame.counted_tables import counts_key
from rvlab.frame.objects import OUTCOMES
from rvlab.model import Run
from rvlab.model.tables import LAB_TABLES, OBJECTS_TABLE
from rvlab.raster.score_scene import concat_scenes
from rvlab.store.table_file import encode_table
from tests.frame.samples import Made
from tests.plot.figure_contents import grid
from tests.raster.samples import config, scene, write
from tests.raster.test_truth import box, feature, geojson, inference

TREE = {"names": ["tree", "ground"], "colors": ["green", "grey"], "null_class": "ground"}


@pytest.fixture
def lab(tmp_path):
    """Return a lab with two runs over two scenes of 9 x 60 px; the second scene is empty."""
    lab = Lab(tmp_path)
    truth = np.ones((9, 60), np.uint8)
    for col in (0, 10, 20, 30):
        truth[0:4, col : col + 5] = 0  # four trees of 20 px
    truth[8, 59] = 0  # a tree of one pixel
    empty = np.ones_like(truth)
    guess = truth.copy()
    guess[0:4, 0:5] = 1
    guess[0:4, 2:7] = 0  # shifted: 12 px of 28 are shared
    guess[0:4, 10] = 1  # a column less: 16 px of 20
    guess[0:4, 20:25] = 1  # missed
    guess[6:8, 0:2] = 0  # a tree that is not there
    for name, ids in (("a", truth), ("b", empty)):
        write(tmp_path / f"{name}.tif", ids)
    for shape, lr in ((guess, 0.1), (truth, 0.2)):
        run = Made(lab.store).ended({"lr": lr})
        scenes = []
        for name, ids in (("a", shape), ("b", empty)):
            uri = write(tmp_path / run.key("rv/predict", name, "labels.tif"), ids)
            source = str(tmp_path / f"{name}.tif")
            scenes.append(scene(name, source, source, str(Path(uri).parent)))
        text = json.dumps(config(scenes, classes=TREE))
        lab.store.put(run.key("rv", "pipeline-config.json"), text.encode())
    return lab


def outcomes(table, side):
    return table[table["side"] == side].set_index("col")["outcome"].to_dict()


def test_objects_have_the_outcomes_windows_and_ious_worked_out_by_hand(lab):
    run, perfect = lab.runs().index
    found = lab.objects(run)
    assert list(found.columns[:3]) == ["run", "name", "group"]
    tp, fp, fn = OUTCOMES
    assert outcomes(found, "truth") == {0: fn, 10: tp, 20: fn, 30: tp, 59: tp}
    assert outcomes(found, "prediction") == {0: fp, 2: fp, 11: tp, 30: tp, 59: tp}
    shifted = found.query("side == 'prediction' and col == 2").iloc[0]
    assert shifted["best_iou"] == pytest.approx(12 / 28)
    assert shifted[["row", "width", "height", "edge_px"]].tolist() == [0, 5, 4, 0]
    assert (shifted["area_px"], shifted["area_m2"]) == (20, pytest.approx(20 * 0.25))
    assert (shifted["center_col"], shifted["center_row"]) == (4.5, 2)
    partner = found.set_index(["scene", "object"]).loc[("a", shifted["partner"])]
    assert (partner["side"], partner["col"]) == ("truth", 0)
    both = lab.objects()
    assert list(both.columns[:4]) == ["run", "name", "params.lr", "group"]
    of_perfect = both[both["run"] == perfect]
    assert set(of_perfect["outcome"]) == {tp}
    assert len(of_perfect) == 10
    wanted = LAB_TABLES["objects"].dtypes
    assert {c: str(t) for c, t in both.drop(columns="params.lr").dtypes.items()} == wanted


def test_matches_depend_on_the_iou_and_the_minimal_area(lab):
    run = lab.runs().index[0]
    strict = lab.objects(run, iou=0.81)
    assert outcomes(strict, "truth")[10] == "false negative"
    assert outcomes(lab.objects(run, iou=0.8), "truth")[10] == "true positive"
    large = lab.objects(run, min_area_px=17)
    assert outcomes(large, "truth") == {
        0: "false negative",
        10: "false negative",  # its prediction has 16 px
        20: "false negative",
        30: "true positive",
    }
    assert 11 not in outcomes(large, "prediction")
    stricter = lab.objects(run, min_area_px=17, iou=0.9)
    assert (stricter["matched_at"] > 0).sum() == 2


def test_objects_are_stored_once_and_read_without_rasters(lab):
    before = lab.objects()
    for folder in Path(lab.store.uri).glob("*/*/rv/predict"):
        shutil.rmtree(folder)
    pd.testing.assert_frame_equal(lab.objects(), before)


def test_scenes_that_could_not_be_counted_are_reported(lab, monkeypatch):
    run = Run.from_uri(lab.runs()["uri"].iloc[0])
    table = concat_scenes(OBJECTS_TABLE, [], "semantic_segmentation", {"b", "a"})
    lab.store.put(counts_key(run, OBJECTS_TABLE), encode_table(table))
    with pytest.warns(UserWarning, match="lack scenes that summarize could not count: a, b"):
        assert lab.objects(run).empty
    lab.store.delete([counts_key(run, OBJECTS_TABLE)])
    monkeypatch.setattr("rvlab.raster.components.MAX_OBJECTS", 4)
    with pytest.warns(UserWarning, match="Scene a: It has more than 4 true objects"):
        assert lab.objects(run).empty
    assert not lab.store.exists(counts_key(run, OBJECTS_TABLE))
    assert len(lab.windows(run))


def test_objects_are_windows_of_a_figure(lab):
    runs = lab.runs()
    missed = lab.objects(runs).query("outcome == 'false negative'")
    shown = grid(plot.predictions(runs, missed, show="errors"))
    assert [len(row) for row in shown] == [4, 4]  # image, truth and two runs
    assert shown[0][0].shape[:2] == (4, 5)
    around = grid(plot.predictions(runs, missed.iloc[0], margin_px=3))
    assert around[0][0].shape[:2] == (7, 8)  # clipped at the scene's corner
    with pytest.raises(SpecError, match="margin_px must be an integer of at least 0, got -1"):
        plot.predictions(runs, missed, margin_px=-1)


def test_windows_are_ranked_by_missed_and_wrong_objects(lab):
    runs = lab.runs()
    (row,) = lab.windows(runs.iloc[0], by="object_error").itertuples()
    assert (row.scene, row.col, row.row, row.width, row.height) == ("a", 0, 0, 60, 9)
    assert (row.score, row.pixels) == (4, 5)  # 2 missed, 2 wrong; 5 true trees
    both = lab.windows(runs, by="object_error", classes="tree")
    assert both[["score", "run"]].to_numpy().tolist() == [[2.0, runs.index[0]]]  # the mean
    assert lab.windows(runs.iloc[1], by="object_error").empty
    assert len(grid(plot.predictions(runs, both))) == 1


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"iou": 0.4}, SpecError, "iou must be from 0.5 to 1, got 0.4"),
        ({"classes": "tre"}, NotFound, "Did you mean 'tree'"),
        ({"classes": []}, SpecError, "classes is empty"),
        ({"group": "tests"}, NotFound, "Unknown group 'tests'"),
    ],
)
def test_invalid_arguments_raise(lab, more, error, words):
    with pytest.raises(error, match=words):
        lab.objects(**more)


def test_boxes_are_matched_as_coco_does_and_cells_are_not_objects(tmp_path):
    lab = Lab(tmp_path)
    image = write(tmp_path / "image.tif", np.zeros((3, 50, 80), np.uint8), crs=None)
    vector = {"type_hint": "geojson_vector_source", "transformers": [inference()]}
    vector["uris"] = [
        geojson(tmp_path / "truth.json", [feature("Polygon", box(0, 0, 10, 10), None, class_id=1)])
    ]
    said = [
        feature("Polygon", box(0, 0, 10, 8), None, class_id=1, score=0.5),
        feature("Polygon", box(0, 0, 10, 6), None, class_id=1, score=0.9),
    ]
    store = {"uri": geojson(tmp_path / "guess.json", said)}
    for task in ("object_detection", "chip_classification"):
        run = Made(lab.store).ended()
        source = {"type_hint": f"{task}_label_source", "vector_source": vector}
        one = scene("a", image, image, None, label_source=source, label_store=store)
        text = json.dumps(config([one]) | {"type_hint": f"{task}_config"})
        lab.store.put(run.key("rv", "pipeline-config.json"), text.encode())
    boxes, cells = lab.runs().index
    found = lab.objects(boxes)
    assert found["outcome"].tolist() == ["true positive", "false positive", "true positive"]
    assert found["score"].tolist()[1:] == [0.5, 0.9]
    assert found["best_iou"].tolist() == pytest.approx([0.8, 0.8, 0.6])
    at_70 = lab.objects(boxes, iou=0.7)
    assert at_70["outcome"].tolist() == ["true positive", "true positive", "false positive"]
    with pytest.raises(SpecError, match=r"iou must be 0.50, 0.55"):
        lab.objects(boxes, iou=0.72)
    with pytest.raises(SpecError, match="min_area_px is for the components of masks"):
        lab.objects(boxes, min_area_px=5)
    with pytest.warns(UserWarning, match="cells"), pytest.raises(NotFound, match="None of the"):
        lab.objects(cells)
