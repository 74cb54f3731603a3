"""The pass over a prediction: its counts and its copies."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from rio_cogeo import cogeo

from rvlab.metrics import confusion_matrix
from rvlab.raster import read
from rvlab.raster.class_scores import read_scores
from rvlab.raster.read import read_grid
from rvlab.raster.scene import load_run_source
from rvlab.raster.score_scene import score_scene
from rvlab.raster.window import Window
from tests.raster.samples import CLASSES, Experiment, config, scene, town, write


def survey(folder, copies):
    """Score the only scene of a run in a folder."""
    run = load_run_source(folder.name, str(folder))
    assert run.error is None
    return score_scene(run.scenes[0], run.classes, copies)


@pytest.fixture
def big(tmp_path):
    """A run with a scene of several strips and blocks, and the scene's labels."""
    made = Experiment(tmp_path, scenes=1, size=(1500, 1100))
    folder = made.add(0.1)
    return folder, made.truth["val-0"]


def read_prediction(folder):
    with rasterio.open(folder / "rv/predict/val-0/labels.tif") as dataset:
        return dataset.read(1)


def test_counts_sum_to_the_confusion_matrix_of_all_pixels(big):
    folder, truth = big
    done = survey(folder, None)
    assert (done.problems, done.copies) == ([], {})
    run = load_run_source(folder.name, str(folder))
    matrix = confusion_matrix(truth, read_prediction(folder), len(run.classes))
    found = done.tables["windows"].to_pandas().groupby("class")[["tp", "fp", "fn"]].sum()
    for i, name in enumerate(("background", "building", "road")):
        hits = matrix[i, i]
        wanted = [hits, matrix[:3, i].sum() - hits, matrix[i].sum() - hits]
        assert found.loc[name].tolist() == wanted


def test_copy_of_labels_is_a_cog_with_color_table_and_equal_pixels(big, tmp_path):
    folder, _ = big
    done = survey(folder, tmp_path)
    path = done.copies["labels.tif"]
    whole, errors, warnings = cogeo.cog_validate(path, strict=True)
    assert (whole, errors, warnings) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert (dataset.read(1) == read_prediction(folder)).all()
        assert dataset.overviews(1)
        assert dataset.colormap(1)[1] == (255, 165, 0, 255)
        assert dataset.crs == "EPSG:32611"
    assert path.stat().st_size < (folder / "rv/predict/val-0/labels.tif").stat().st_size / 2
    assert sorted(p.name for p in tmp_path.glob("*.tif")) == [
        "labels.tif",
        "val-0-labels.tif",
        "val-0.tif",
    ]


def test_scores_are_copied_as_bytes_and_confident_errors_are_counted(tmp_path):
    made = Experiment(tmp_path, scenes=1, size=(600, 300))
    folder = made.add(0.2)
    guess, truth = read_prediction(folder), made.truth["val-0"]
    scores = np.random.default_rng(9).random((4, 600, 300)).astype(np.float32)
    write(folder / "rv/predict/val-0/scores.tif", scores)
    part = made.describe("val-0", folder)
    part["label_store"]["smooth_output"] = True
    made.write_config(folder, config([part]))
    done = survey(folder, tmp_path)
    uri = str(done.copies["scores.tif"])
    copied = read_scores(uri, Window(0, 0, 300, 600), range(4), read_grid(uri))
    assert np.abs(copied - scores).max() <= 0.5 / 255 + 1e-6
    with rasterio.open(done.copies["scores.tif"]) as dataset:
        assert dataset.descriptions == tuple(CLASSES["names"])
        assert dataset.scales[0] == pytest.approx(1 / 255)
    of_class = np.take_along_axis(scores, guess[None].astype(int), 0)[0]
    wanted = ((guess != truth) & (of_class >= 0.9)).sum()
    assert done.tables["windows"].to_pandas()["confident_fp"].sum() == wanted > 0


def test_copy_is_read_instead_of_the_prediction(big, tmp_path):
    folder, _ = big
    done = survey(folder, tmp_path)
    target = folder / "copies/val-0/labels.tif"
    target.parent.mkdir(parents=True)
    done.copies["labels.tif"].rename(target)
    run = load_run_source(folder.name, str(folder))
    assert run.scenes[0].prediction_uri == f"{folder}/copies/val-0/labels.tif"
    (folder / "rv/predict/val-0/labels.tif").unlink()
    again = survey(folder, None)
    assert again.tables == done.tables


def test_a_prediction_in_colors_is_copied_as_class_ids(tmp_path):
    made = Experiment(tmp_path, scenes=1)
    folder = made.add(0.0)
    colors = np.array([[217, 217, 217], [255, 165, 0], [70, 117, 180], [0, 0, 0]], np.uint8)
    ids = made.truth["val-0"]
    write(folder / "rv/predict/val-0/labels.tif", colors[ids].transpose(2, 0, 1))
    part = made.describe("val-0", folder)
    part["label_store"]["rgb"] = True
    made.write_config(folder, config([part]))
    done = survey(folder, tmp_path)
    assert (read(str(done.copies["labels.tif"])).array[0] == ids).all()
    assert done.tables["windows"].to_pandas()["fn"].sum() == 0


def test_unreadable_labels_give_a_copy_and_a_problem(tmp_path):
    folder = tmp_path / "town/20261123-154200-4f2a00"
    ids = town()
    image = write(tmp_path / "a.tif", ids)
    write(folder / "rv/predict/a/labels.tif", ids)
    part = scene("a", image, str(tmp_path / "lost.tif"), f"{folder}/rv/predict/a")
    (folder / "rv/pipeline-config.json").write_text(json.dumps(config([part])))
    done = survey(folder, tmp_path)
    assert done.tables == {}
    assert list(done.copies) == ["labels.tif"]
    assert done.problems == [f"Scene a: {tmp_path}/lost.tif does not exist."]


def test_missing_prediction_gives_a_problem_and_no_results(tmp_path):
    made = Experiment(tmp_path, scenes=1)
    folder = made.add(0.0, skip=["val-0"])
    done = survey(folder, tmp_path)
    assert (done.tables, done.copies) == ({}, {})
    assert "labels.tif does not exist." in done.problems[0]


def test_copy_of_a_raster_without_georeference_has_none(tmp_path):
    folder = tmp_path / "town/20261123-154200-4f2a00"
    ids = town()
    image, labels = (write(tmp_path / f"{n}.tif", ids, crs=None) for n in "ab")
    write(folder / "rv/predict/a/labels.tif", ids, crs=None)
    part = scene("a", image, labels, f"{folder}/rv/predict/a")
    (folder / "rv/pipeline-config.json").write_text(json.dumps(config([part])))
    done = survey(folder, tmp_path)
    assert done.problems == []
    assert (read(str(done.copies["labels.tif"])).array[0] == ids).all()
    assert done.tables["windows"].to_pandas()["fp"].sum() == 0


def with_scores(made, folder, scores):
    part = made.describe("val-0", folder)
    part["label_store"]["smooth_output"] = True
    made.write_config(folder, config([part]))
    if scores is not None:
        write(folder / "rv/predict/val-0/scores.tif", scores)


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        (None, "does not exist"),
        (np.zeros((2, 96, 128), np.float32), "has no band"),
        (np.zeros((4, 9, 9), np.float32), "9 × 9 px, the scene 128 × 96 px"),
    ],
)
def test_unusable_scores_prevent_neither_copy_nor_counts(tmp_path, scores, why):
    made = Experiment(tmp_path, scenes=1)
    folder = made.add(0.1)
    with_scores(made, folder, scores)
    done = survey(folder, tmp_path)
    assert list(done.copies) == ["labels.tif"]
    assert done.tables["windows"].to_pandas()["confident_fp"].isna().all()
    assert len(done.problems) == 1
    assert why in done.problems[0]


def test_failed_copy_does_not_prevent_counts(tmp_path):
    made = Experiment(tmp_path, scenes=1)
    folder = made.add(0.1)
    done = survey(folder, tmp_path / "no" / "folder")
    assert done.copies == {}
    assert len(done.tables["windows"]) > 0
    assert "The copy of a prediction cannot be written" in done.problems[0]


def test_values_outside_uint8_belong_to_no_class(tmp_path):
    made = Experiment(tmp_path, scenes=1)
    folder = made.add(0.0)
    labels = made.truth["val-0"].astype(np.uint16)
    labels[:10] = 256
    write(tmp_path / "val-0-labels.tif", labels)
    done = survey(folder, None)
    found = done.tables["windows"].to_pandas()
    assert (found["tp"] + found["fn"]).sum() == labels[10:].size


@pytest.mark.parametrize(
    "feature",
    [
        {"geometry": {"type": "Polygon", "coordinates": [[[5e5, 4e6], [6e5, 4e6], [6e5, 5e6]]]}},
        {"properties": {"class_id": "x"}},
        {"properties": ["class_id"]},
        {"properties": {"class_name": ["building"]}},
    ],
)
@pytest.mark.parametrize("crs", [None, "somewhere", {"properties": {"name": "EPSG:0"}}])
def test_invalid_labels_give_one_problem(tmp_path, feature, crs):
    made = Experiment(tmp_path, scenes=1)
    folder = made.add(0.0)
    corners = [[-115.19, 36.12], [-115.18, 36.12], [-115.18, 36.13], [-115.19, 36.12]]
    whole = {"type": "Feature", "properties": {"class_id": 1}}
    whole |= {"geometry": {"type": "Polygon", "coordinates": [corners]}} | feature
    collection = {"type": "FeatureCollection", "features": [whole], "crs": crs}
    (tmp_path / "labels.json").write_text(json.dumps(collection))
    part = made.describe("val-0", folder)
    part["label_source"]["raster_source"] = {
        "type_hint": "rasterized_source",
        "vector_source": {
            "type_hint": "geojson_vector_source",
            "uris": str(tmp_path / "labels.json"),
            "transformers": [{"type_hint": "class_inference_transformer"}],
        },
        "rasterizer_config": {"background_class_id": 0},
    }
    made.write_config(folder, config([part]))
    done = survey(folder, None)
    assert done.tables == {}
    assert len(done.problems) == 1
