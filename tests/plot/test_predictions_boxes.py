"""Grids of chip classification and object detection."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from rvlab import plot
from rvlab.errors import RasterError
from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import choose_error_colors
from rvlab.raster import boxes as raster_boxes
from tests.plot.figure_contents import captions, entries, figure_texts, grid, outlines
from tests.raster.samples import config, photo, scene, town, write
from tests.raster.test_truth import geojson, inference, lonlat

HEIGHT, WIDTH, CELL = 96, 128, 32
NAMES = ("ground", "house", "tree")
COLORS = ((120, 120, 120), (255, 165, 0), (20, 90, 20))
CLASSES = {"names": list(NAMES), "colors": [list(c) for c in COLORS], "null_class": "ground"}
TP, FP, FN, CONFUSED = map(np.array, choose_error_colors(COLORS[1:]))
DETECTED = {"names": list(NAMES[1:]), "colors": [list(c) for c in COLORS[1:]], "null_class": None}


def rectangle(col, row, width, height, **properties):
    corners = [(col, row), (col, row + height), (col + width, row + height), (col + width, row)]
    ring = [lonlat(*corner) for corner in corners]
    shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    return {"type": "Feature", "properties": properties, "geometry": shape}


class Town:
    """Runs on one scene ``a`` whose labels and predictions are GeoJSON."""

    def __init__(self, root, task, classes, truth):
        self.root, self.task, self.classes, self.rows = root, task, classes, []
        self.image = write(root / "a.tif", photo(town(HEIGHT, WIDTH)))
        self.truth = geojson(root / "truth.json", truth)

    def add(self, features, **labels):
        number = len(self.rows)
        folder = self.root / f"town/20261123-15420{number}-4f2a0{number}"
        (folder / "rv/predict").mkdir(parents=True)
        vector = {"type_hint": "geojson_vector_source", "transformers": [inference()]}
        vector["uris"] = [self.truth]
        source = {"type_hint": f"{self.task}_label_source", "vector_source": vector} | labels
        uri = f"{folder}/rv/predict/a.json"
        store = {"type_hint": f"{self.task}_geojson_store", "uri": uri}
        described = scene("a", self.image, None, None, label_source=source, label_store=store)
        whole = config([described], classes=self.classes) | {"type_hint": self.task}
        (folder / "rv/pipeline-config.json").write_text(json.dumps(whole))
        if features is not None:
            geojson(folder / "rv/predict/a.json", features)
        row = {"run": folder.name, "uri": str(folder), "params.lr": 10.0**-number}
        self.rows.append(row)

    @property
    def runs(self):
        return pd.DataFrame(self.rows).set_index("run")


TRUE = [(10, 10, 30, 20, "house"), (60, 40, 20, 20, "house"), (100, 70, 20, 20, "tree")]


def detections(*rows):
    return [
        rectangle(*row[:4], class_id=NAMES[1:].index(row[4]), class_name=row[4], score=row[5])
        for row in rows
    ]


@pytest.fixture
def detected(tmp_path):
    """Two houses and a tree; a perfect run, and a run with every kind of error."""
    truth = [rectangle(*row[:4], class_name=row[4]) for row in TRUE]
    made = Town(tmp_path, "object_detection", DETECTED, truth)
    made.add(detections(*((*row, 0.9) for row in TRUE)))
    made.add(
        detections(
            (12, 10, 30, 20, "house", 0.8),  # true positive
            (60, 75, 18, 15, "house", 0.6),  # false positive
            (100, 70, 20, 20, "house", 0.55),  # wrong class
        )
    )
    return made


def parts(*rows):
    """Return edges as fractions of the scene, as `outlines` returns them."""
    sides = np.array([(c, r, c + w, r + h) for c, r, w, h in rows], float).reshape(-1, 4)
    return sides / [WIDTH, HEIGHT, WIDTH, HEIGHT]


def test_boxes_have_class_colors_and_scores(detected):
    figure = plot.predictions(detected.runs)
    (row,) = grid(figure)
    image = photo(town(HEIGHT, WIDTH)).transpose(1, 2, 0)
    assert all((cell[..., :3] == image).all() for cell in row)
    ((edges, colors, dashed),) = outlines(figure, 0, 1)
    assert np.allclose(edges, parts(*(r[:4] for r in TRUE)), atol=0.01)
    assert colors.tolist() == [list(COLORS[1]), list(COLORS[1]), list(COLORS[2])]
    assert not dashed
    ((edges, colors, _),) = outlines(figure, 0, 3)
    assert np.allclose(edges[1], parts((60, 75, 18, 15)), atol=0.01)
    scores = [t.get_text() for t in figure.axes[0].texts if t.get_gid() == "score"]
    assert scores == ["0.90", "0.90", "0.90", "0.80", "0.60", "0.55"]
    assert entries(figure) == ["house", "tree"]


def test_captions_count_false_negative_and_false_positive_boxes(detected):
    figure = plot.predictions(detected.runs)
    # Houses: 1 TP, 2 FP, 1 FN: F1 0.4. Trees: 1 FN: F1 0.
    found = [" ".join(text.split()) for text in captions(figure)]
    assert found == ["F1 1.00 · 0 FN, 0 FP", "F1 0.20 · 2 FN, 2 FP"]
    one = plot.predictions(detected.runs, classes="house")
    assert " ".join(captions(one)[1].split()) == "F1 0.40 · 1 FN, 2 FP"
    assert "F1: house in the window" in figure_texts(one)
    weights = [t.get_fontweight() for t in figure.axes[0].texts if t.get_gid() == "caption"]
    assert weights == ["bold", "normal"]


def test_errors_show_true_positive_false_positive_and_false_negative_boxes(detected):
    figure = plot.predictions(detected.runs, show="errors")
    (row,) = grid(figure)
    assert (row[3] == colorize.fade_to_grey(photo(town(HEIGHT, WIDTH)).transpose(1, 2, 0))).all()
    tp, fp, fn = outlines(figure, 0, 3)
    assert (tp[1] == TP).all()
    assert (fp[1] == FP).all()
    assert (fn[1] == FN).all()
    assert [len(tp[0]), len(fp[0]), len(fn[0])] == [1, 2, 2]
    assert [tp[2], fp[2], fn[2]] == [False, False, True]
    assert np.allclose(fn[0], parts(TRUE[1][:4], TRUE[2][:4]), atol=0.01)
    assert entries(figure) == [
        "true positive",
        "false positive",
        "false negative",
        "truth: house",
        "truth: tree",
    ]
    alone = plot.predictions(detected.runs, show="errors", classes="tree")
    assert [len(edges) for edges, *_ in outlines(alone, 0, 3)] == [1]
    assert outlines(alone, 0, 3)[0][2]


def test_higher_iou_gives_more_errors(detected):
    strict = plot.predictions(detected.runs, show="errors", iou=0.95)
    # The house is moved by two of its thirty columns.
    assert " ".join(captions(strict)[1].split()) == "F1 0.00 · 3 FN, 3 FP"


def test_box_counts_in_the_window_that_contains_its_centre(detected):
    windows = [("a", 0, 0, 64, 96), ("a", 64, 0, 64, 96)]
    figure = plot.predictions(detected.runs, windows, show="errors")
    found = [" ".join(text.split()) for text in captions(figure)]
    assert found[1] == "F1 1.00 · 0 FN, 0 FP"
    assert found[3] == "F1 0.00 · 2 FN, 2 FP"
    # The false negative also intersects the first window, and is drawn there as well.
    assert sum(len(edges) for edges, _, dashed in outlines(figure, 0, 3) if dashed) == 1


def test_overlay_draws_truth_dashed_over_predictions(detected):
    figure = plot.predictions(detected.runs, show="overlay")
    own, truth = outlines(figure, 0, 3)
    assert own[1].tolist() == [list(COLORS[1])] * 3
    assert (truth[1] == 255).all()
    assert [own[2], truth[2]] == [False, True]
    assert len(truth[0]) == 3
    assert entries(figure) == ["house", "tree", "truth"]


def test_boxes_are_colored_by_their_scores(detected):
    figure = plot.predictions(detected.runs, show="scores")
    ((_, colors, _),) = outlines(figure, 0, 3)
    assert (colors == colorize.color_heat([0.8, 0.6, 0.55])).all()
    texts = [t.get_text() for t in figure.axes[0].texts if t.get_gid() == "scale"]
    assert texts == ["score", "0", "1"]


def test_many_boxes_have_no_score_text(detected):
    detected.add(detections(*((i * 8, 5, 6, 6, "tree", 0.7) for i in range(13))))
    figure = plot.predictions(detected.runs.iloc[[2]])
    assert not [t for t in figure.axes[0].texts if t.get_gid() == "score"]


def test_scene_without_boxes_and_run_without_prediction_are_drawn(detected):
    geojson(detected.root / "truth.json", [])
    detected.add([])
    detected.add(None)
    for show in ("labels", "errors", "overlay", "scores"):
        figure = plot.predictions(detected.runs, show=show)
        (row,) = grid(figure)
        assert row[5] == "rv/predict/a.json does not exist."
        assert " ".join(captions(figure)[2].split()) == "F1 – · 0 FN, 0 FP"
        assert " ".join(captions(figure)[0].split()) == "F1 0.00 · 0 FN, 3 FP"


def test_boxes_are_scaled_with_a_subsampled_window(detected):
    figure = plot.predictions(detected.runs, max_px=64)
    ((edges, *_),) = outlines(figure, 0, 1)
    assert grid(figure)[0][1].shape == (48, 64, 3)
    assert np.allclose(edges, parts(*(r[:4] for r in TRUE)), atol=0.01)


def test_a_grid_of_boxes_raises_if_its_only_image_is_missing(detected):
    (detected.root / "a.tif").unlink()
    with pytest.raises(RasterError, match=r"could be read\. .*a\.tif does not exist"):
        plot.predictions(detected.runs)


GROUND, HOUSE, TREE = range(3)
TRUE_CELLS = np.array([[1, 1, 0, 0], [0, 2, 2, 0], [0, 0, 0, 1]])


def cells(ids, sure=3.0):
    out = []
    for row, col in np.ndindex(ids.shape):
        raw = [0.0] * 3
        raw[ids[row, col]] = sure
        named = {"class_id": int(ids[row, col]), "class_name": NAMES[ids[row, col]]}
        place = (col * CELL, row * CELL, CELL, CELL)
        out.append(rectangle(*place, scores=raw, **named))
    return out


@pytest.fixture
def classified(tmp_path):
    """A scene of 3 × 4 cells; a perfect run, and a run with every kind of error."""
    made = Town(tmp_path, "chip_classification", CLASSES, cells(TRUE_CELLS))
    guess = TRUE_CELLS.copy()
    guess[0, 0], guess[0, 2], guess[1, 1] = GROUND, HOUSE, HOUSE
    for ids in (TRUE_CELLS, guess):
        made.add(cells(ids), infer_cells=False, lazy=False)
    return made


def middles(cell):
    """Return the centre pixels of the cells, and those of the image."""
    at = np.arange(CELL // 2, 4 * CELL, CELL)
    image = photo(town(HEIGHT, WIDTH)).transpose(1, 2, 0)
    return cell[np.ix_(at[:3], at)][..., :3], image[np.ix_(at[:3], at)]


def test_cells_are_tinted_with_class_colors_over_the_image(classified):
    figure = plot.predictions(classified.runs)
    (row,) = grid(figure)
    for cell, ids in ((row[1], TRUE_CELLS), (row[2], TRUE_CELLS)):
        shown, image = middles(cell)
        wanted = image * 0.55 + np.array(COLORS)[ids] * 0.45
        assert np.abs(shown - wanted).max() <= 2
    assert entries(figure) == ["ground", "house", "tree"]
    ((edges, _, _),) = outlines(figure, 0, 2)
    assert len(edges) == 12


def test_cells_are_scored_in_the_window(classified):
    from sklearn.metrics import f1_score

    guess = TRUE_CELLS.copy()
    guess[0, 0], guess[0, 2], guess[1, 1] = GROUND, HOUSE, HOUSE
    figure = plot.predictions(classified.runs)
    f1 = f1_score(TRUE_CELLS.ravel(), guess.ravel(), average="macro")
    assert captions(figure) == ["F1 1.00", f"F1 {f1:.2f}"]
    part = plot.predictions(classified.runs, [("a", 0, 0, 64, 64)], classes="house")
    f1 = f1_score(TRUE_CELLS[:2, :2].ravel() == 1, guess[:2, :2].ravel() == 1)
    assert captions(part) == ["F1 1.00", f"F1 {f1:.2f}"]


def test_errors_of_cells_show_all_four_outcomes(classified):
    figure = plot.predictions(classified.runs, show="errors")
    (row,) = grid(figure)
    shown, image = middles(row[3])
    grey = colorize.fade_to_grey(image)

    def tint(color):
        return color * 0.7

    wanted = grey.astype(float)
    for (r, c), color in {
        (0, 0): FN, (0, 1): TP, (0, 2): FP, (1, 1): CONFUSED, (1, 2): TP, (2, 3): TP,
    }.items():  # fmt: skip
        wanted[r, c] = grey[r, c] * 0.3 + tint(color)
    assert np.abs(shown - wanted).max() <= 2
    assert entries(figure)[:4] == ["true positive", "false positive", "false negative", "confused"]
    alone = plot.predictions(classified.runs, show="errors", classes="tree")
    shown, _ = middles(grid(alone)[0][3])
    assert np.abs(shown[1, 1] - (grey[1, 1] * 0.3 + tint(FN))).max() <= 2
    assert (shown[0] == grey[0]).all()
    assert "confused" not in entries(alone)


def test_scores_of_cells_are_class_probabilities(classified):
    figure = plot.predictions(classified.runs, show="scores", classes="tree")
    (row,) = grid(figure)
    shown, image = middles(row[2])
    sure = np.exp(3) / (np.exp(3) + 2)
    share = np.where(TRUE_CELLS == TREE, sure, (1 - sure) / 2)
    wanted = colorize.fade_to_grey(image) * 0.12 + colorize.color_heat(share) * 0.88
    assert np.abs(shown - wanted).max() <= 2
    truth, _ = middles(row[1])
    wanted = colorize.fade_to_grey(image) * 0.12 + colorize.color_heat(TRUE_CELLS == TREE) * 0.88
    assert np.abs(truth - wanted).max() <= 2


def test_overlay_of_cells_draws_only_lines_within_the_cells(classified):
    figure = plot.predictions(classified.runs, show="overlay")
    (row,) = grid(figure)
    assert (row[3] == photo(town(HEIGHT, WIDTH)).transpose(1, 2, 0)).all()
    own, truth = outlines(figure, 0, 3)
    assert len(own[0]) == 5  # houses and trees
    assert len(truth[0]) == 5
    assert truth[2]
    sides = (own[0][:, 2:] - own[0][:, :2]) * [WIDTH, HEIGHT]
    assert (sides < CELL).all()


def test_cell_of_a_run_with_another_task_shows_the_reason(classified):
    first = classified.runs.index[0]
    path = Path(classified.runs["uri"].iloc[1]) / "rv/pipeline-config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"type_hint": "object_detection"}))
    (row,) = grid(plot.predictions(classified.runs, columns=["truth", "runs"]))
    assert row[2] == f"Its task is object detection; that of {first} is chip classification."


def test_task_names_equal_those_of_raster_vision():
    assert (raster_boxes.CELLS, raster_boxes.DETECTION) == (
        "chip_classification",
        "object_detection",
    )


def test_legend_of_several_tasks_has_all_classes(classified, tmp_path):
    """Rows of cells and boxes in one grid: each task's classes, and its own kinds of entries."""
    cars = {"names": ["car", "tree"], "colors": ["red", "blue"], "null_class": None}
    truth = [rectangle(10, 10, 30, 20, class_name="car")]
    other = Town(tmp_path / "other", "object_detection", cars, truth)
    other.add([rectangle(10, 10, 30, 20, class_id=0, class_name="car", score=0.9)])
    path = Path(other.rows[0]["uri"]) / "rv/pipeline-config.json"
    path.write_text(path.read_text().replace('"id": "a"', '"id": "b"'))
    runs = pd.concat([classified.runs.iloc[:1], other.runs.rename(index=lambda run: f"{run}-b")])
    where = {"scenes": ["a", "b"]}
    figure = plot.predictions(runs, **where)
    assert entries(figure) == ["ground", "house", "tree", "car", "tree"]
    patches = figure.legends[0].get_patches()
    assert [to_rgba(p.get_facecolor())[-1] > 0 for p in patches] == [*[True] * 3, *[False] * 2]
    errors = plot.predictions(runs, show="errors", **where)
    names = ["true positive", "false positive", "false negative"]
    shown = [*names, "confused", "truth: house", "truth: tree", *(f"{one} (box)" for one in names)]
    assert entries(errors) == [*shown, "truth: car", "truth: tree"]
    outlines_of = plot.predictions(runs, show="overlay", **where)
    assert entries(outlines_of) == ["house", "tree", "car", "tree", "truth"]
