"""Boundary IoU of runs: stored or counted on demand, tested by resampling scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rvlab import Lab, compare
from rvlab.errors import NotFound, SpecError, TableError
from rvlab.frame.counted_tables import counts_key
from rvlab.model import Run
from rvlab.model.tables import BOUNDARIES_TABLE
from tests.frame.samples import Made
from tests.raster.samples import config, scene, town, write
from tests.raster.test_boundaries import count_whole

CLASSES = {"names": ["ground", "house", "road"], "colors": ["green", "red", "grey"]}
SCENES = 7


def moved(ids: np.ndarray, by: int) -> np.ndarray:
    return np.roll(ids, by, axis=1)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Return a lab with two runs whose predictions are shifted by one and by three pixels."""
    lab = Lab(tmp_path)
    for i in range(SCENES):
        write(tmp_path / f"s{i}.tif", town(40, 60, seed=i))
    for by in (1, 3):
        run = Made(lab.store).ended({"by": by}, {"f1": 1 / by})
        scenes = []
        for i in range(SCENES):
            guess = moved(town(40, 60, seed=i), by)
            uri = write(tmp_path / run.key("rv/predict", f"s{i}", "labels.tif"), guess)
            source = str(tmp_path / f"s{i}.tif")
            scenes.append(scene(f"s{i}", source, source, str(Path(uri).parent)))
        text = json.dumps(config(scenes, classes=CLASSES))
        lab.store.put(run.key("rv", "pipeline-config.json"), text.encode())
        prints = {"group": "validation", "image": "i", "labels": "l", "hashed_from": "content"}
        Made(lab.store).table(run, "scenes", [{**prints, "scene": f"s{i}"} for i in range(SCENES)])
    return lab


def counts_of(by: int, distance: int, scenes: range = range(SCENES)) -> np.ndarray:
    """Return pixels near contours, shape (3, classes), from erosions of whole scenes."""
    whole = np.ones((40, 60), bool)
    towns = [town(40, 60, seed=i) for i in scenes]
    return np.sum([count_whole(t, moved(t, by), whole, 3, distance) for t in towns], axis=0)


def iou_of(counts: np.ndarray) -> np.ndarray:
    truth, guess, shared = counts
    return np.asarray(shared / (truth + guess - shared))


def test_boundary_iou_of_scenes_is_that_of_their_summed_pixels(lab: Lab) -> None:
    runs = lab.runs()
    by_run = compare.boundary_scores(runs)  # counted now
    assert by_run.index.tolist() == runs.index.tolist()
    for run, by in zip(runs.index, (1, 3), strict=True):
        counts = counts_of(by, 1)  # 2 % of the diagonal of 72 px
        assert by_run.loc[run, "boundary_iou"] == pytest.approx(iou_of(counts).mean())
        assert by_run.loc[run].tolist()[1:] == counts.sum(axis=1).tolist()
    run = Run.from_uri(runs["uri"].iloc[0])
    assert lab.store.exists(counts_key(run, BOUNDARIES_TABLE))
    each = compare.boundary_scores(runs, by=["params.by", "scene", "class"])
    wanted = iou_of(counts_of(3, 1, range(2, 3)))[1]
    assert each.loc[(3, "s2", "house"), "boundary_iou"] == pytest.approx(wanted)


def test_counts_at_another_distance_are_read_from_the_rasters_and_not_stored(lab: Lab) -> None:
    run = lab.runs().iloc[0]
    before = compare.boundary_scores(run)
    wider = compare.boundary_scores(run, distance_px=4)
    assert wider["boundary_iou"].tolist() == pytest.approx([iou_of(counts_of(1, 4)).mean()])
    assert compare.boundary_scores(run).equals(before)
    wrong: Any
    for wrong in (0, 2.5):
        with pytest.raises(SpecError, match="distance_px must be a positive integer"):
            compare.boundary_scores(run, distance_px=wrong)
    with pytest.raises(NotFound, match="Unknown group 'tests'"):
        compare.boundary_scores(run, group="tests")
    with pytest.raises(TableError, match="has a column 'clas'"):
        compare.boundary_scores(run, by="clas")


def test_boundary_iou_is_tested_by_resampling_scenes(lab: Lab) -> None:
    good, bad = (row for _, row in lab.runs().iterrows())
    found = compare.test(good, bad, "boundary_iou", resamples=99)
    values = [iou_of(counts_of(by, 1)).mean() for by in (1, 3)]
    assert (found.value_a, found.value_b) == pytest.approx(tuple(values))
    assert (found.scenes, found.verdict) == (SCENES, "better")
    assert "mean boundary IoU" in found.sentence
    of_class = compare.test(good, bad, "metrics.boundary_iou.house", resamples=99)
    assert of_class.value_b == pytest.approx(iou_of(counts_of(3, 1))[1])
    assert "boundary IoU of house" in of_class.sentence
    assert compare.gate(bad, good, "boundary_iou", resamples=99).verdict == "fails"
    table = compare.by_scene(good, bad, "boundary_iou.road")
    assert table.loc["s3", "boundary_iou.road.a"] == pytest.approx(
        iou_of(counts_of(1, 1, range(3, 4)))[2]
    )
    assert (table["pixels"] > 0).all()
    with pytest.raises(TableError, match=r"Did you mean 'boundary_iou\.house'"):
        compare.test(good, bad, "boundary_iou.hous")
    board = lab.runs().assign(**{"metrics.boundary_iou": values})
    assert compare.board(board, "boundary_iou")["rank"].tolist() == [1, 2]
    intervals = compare.seeds(board, "boundary_iou", resamples=99)
    assert (intervals["boundary_iou.scenes95_low"] < intervals["boundary_iou.mean"]).all()


def test_boxes_have_no_boundaries(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    run = Made(lab.store).ended()
    image = write(tmp_path / "image.tif", np.zeros((3, 9, 9), np.uint8))
    one = scene("a", image, image, None, label_source=None, label_store={"uri": "a.json"})
    text = json.dumps(config([one]) | {"type_hint": "object_detection_config"})
    lab.store.put(run.key("rv", "pipeline-config.json"), text.encode())
    with pytest.warns(UserWarning, match="only the classes of a semantic"), pytest.raises(NotFound):
        compare.boundary_scores(lab.runs())
