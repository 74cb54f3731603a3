"""Grids of semantic segmentation with `show=`, `classes=`, `bands=` and `stretch=`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from rvlab import plot
from rvlab.errors import SpecError
from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import choose_error_colors
from rvlab.raster import Classes
from tests.plot.figure_contents import captions, entries, figure_texts, grid
from tests.raster.samples import CLASSES, Experiment, config, photo, raster_source, scene, write

OWN = Classes(
    ("background", "building", "road", "null"),
    ((217, 217, 217), (255, 165, 0), (70, 117, 180), (0, 0, 0)),
    "null",
)
NONE = np.zeros((96, 128), bool)
TP, FP, FN, CONFUSED = map(np.array, choose_error_colors(OWN.colors[1:3]))


def guessed(experiment, run=0, name="val-0"):
    with rasterio.open(f"{experiment.runs['uri'].iloc[run]}/rv/predict/{name}/labels.tif") as data:
        return data.read(1)


def share(run, name, probability, **more):
    """Write a run's scores: `probability` for building, the remainder for other classes."""
    folder = Path(run)
    rest = (1 - probability) / 3
    bands = np.stack([rest, probability, rest, rest]).astype(np.float32)
    if more.pop("as_uint8", False):
        bands = np.rint(bands * 255).astype(np.uint8)
    write(folder / f"rv/predict/{name}/scores.tif", bands, **more)
    path = folder / "rv/pipeline-config.json"
    content = json.loads(path.read_text())
    for one in content["dataset"]["validation_scenes"]:
        one["label_store"]["smooth_output"] = True
    path.write_text(json.dumps(content))


def test_errors_are_painted_over_the_grey_image(experiment):
    figure = plot.predictions(
        experiment.runs, scenes=["val-0"], show="errors", classes=["building", "road"]
    )
    (row,) = grid(figure)
    ids, guess = experiment.truth["val-0"], guessed(experiment, 2)
    grey = colorize.fade_to_grey(photo(ids).transpose(1, 2, 0))
    cell = row[4]
    assert (cell[(ids == guess) & (ids > 0)] == TP).all()
    assert (cell[(ids > 0) & (guess == 0)] == FN).all()
    assert (cell[(ids == 0) & (guess == 0)] == grey[(ids == 0) & (guess == 0)]).all()
    assert ((ids > 0) & (guess == 0)).sum() > 100
    assert (row[0][..., :3] == photo(ids).transpose(1, 2, 0)).all()
    assert (row[1][ids == 0] == grey[ids == 0]).all()
    assert entries(figure) == [
        *("true positive", "false positive", "false negative", "confused"),
        *("truth: building", "truth: road"),
    ]


def test_errors_of_one_class_show_its_f1_without_confused_classes(experiment):
    from sklearn.metrics import f1_score

    folder = Path(experiment.runs["uri"].iloc[0])
    ids = experiment.truth["val-0"]
    guess = ids.copy()
    guess[ids == 2], guess[:5] = 1, 1
    write(folder / "rv/predict/val-0/labels.tif", guess)
    figure = plot.predictions(
        experiment.runs.head(1), scenes=["val-0"], show="errors", classes="building"
    )
    (row,) = grid(figure)
    assert (row[2][(ids != 1) & (guess == 1)] == FP).all()
    assert entries(figure) == [
        "true positive",
        "false positive",
        "false negative",
        "truth: building",
    ]
    f1 = f1_score(ids.ravel() == 1, guess.ravel() == 1)
    assert captions(figure) == [f"F1 {f1:.2f}"]
    assert "F1: building in the window" in figure_texts(figure)
    both = plot.predictions(
        experiment.runs.head(1), scenes=["val-0"], show="errors", classes=["building", "road"]
    )
    assert (grid(both)[0][2][(ids == 2) & (guess == 1)] == CONFUSED).all()


def test_classes_of_interest_default_to_all_except_null(experiment):
    figure = plot.predictions(experiment.runs, scenes=["val-0"], show="errors")
    truths = ["truth: background", "truth: building", "truth: road"]
    assert entries(figure)[4:] == truths
    for run in experiment.runs["uri"]:
        path = Path(run) / "rv/pipeline-config.json"
        content = json.loads(path.read_text())
        content["dataset"]["class_config"] = {
            "names": ["background", "building", "road"],
            "colors": CLASSES["colors"][:3],
            "null_class": "background",
        }
        path.write_text(json.dumps(content))
    figure = plot.predictions(experiment.runs, scenes=["val-0"], show="errors")
    assert entries(figure)[4:] == truths[1:]


def test_class_absent_from_a_window_has_no_f1(experiment):
    ids = experiment.truth["val-0"]
    rows = np.flatnonzero((ids != 2).all(axis=1))
    top = int(rows[0])
    figure = plot.predictions(
        experiment.runs, [("val-0", 0, top, 128, 8)], show="errors", classes="road"
    )
    assert (ids[top : top + 8] != 2).all()
    assert captions(figure) == ["F1 –"] * 3
    (row,) = grid(figure)
    assert len(np.unique(row[2].reshape(-1, 3), axis=0)) > 1  # the background image is visible


def test_unlabelled_pixels_have_no_errors(experiment, tmp_path):
    from tests.raster.test_truth import box, feature, geojson

    ids = experiment.truth["val-0"].copy()
    ids[:20] = 3
    write(experiment.root / "val-0-labels.tif", ids)
    folder = Path(experiment.runs["uri"].iloc[0])
    write(folder / "rv/predict/val-0/labels.tif", np.ones_like(ids))
    area = geojson(tmp_path / "aoi.json", [feature("Polygon", box(0, 0, 60, 95))])
    for run in experiment.runs["uri"]:
        path = Path(run) / "rv/pipeline-config.json"
        content = json.loads(path.read_text())
        content["dataset"]["validation_scenes"][0]["aoi_uris"] = [area]
        path.write_text(json.dumps(content))
    more = {"scenes": ["val-0"], "show": "errors", "classes": "building", "columns": ["runs"]}
    (row,) = grid(plot.predictions(experiment.runs.head(1), **more))
    grey = colorize.fade_to_grey(photo(experiment.truth["val-0"]).transpose(1, 2, 0))
    dark = colorize.shade_outside(grey, photo(experiment.truth["val-0"]).transpose(1, 2, 0), NONE)
    assert (row[0][:20, :58] == grey[:20, :58]).all()
    assert (row[0][:, 62:] == dark[:, 62:]).all()
    assert (row[0][20:90, :58][ids[20:90, :58] == 1] == TP).all()
    assert (row[0][20:90, :58][ids[20:90, :58] == 0] == FP).all()


@pytest.mark.parametrize("show", ["labels", "errors", "overlay"])
def test_pixels_outside_the_areas_of_interest_are_dark_in_every_cell(experiment, tmp_path, show):
    from tests.raster.test_truth import box, feature, geojson

    area = geojson(tmp_path / "aoi.json", [feature("Polygon", box(20, 10, 70, 60))])
    for run in experiment.runs["uri"]:
        change_scene(Path(run), aoi_uris=[area])
    figure = plot.predictions(experiment.runs.head(2), scenes=["val-0"], show=show)
    picture = photo(experiment.truth["val-0"]).transpose(1, 2, 0)
    dark = colorize.shade_outside(picture, picture, NONE)
    outside = np.ones((96, 128), bool)
    outside[9:72, 19:92] = False
    for cell in grid(figure)[0]:
        times = cell.shape[0] // 96  # outlines are drawn larger
        small = cell[::times, ::times, :3]
        far = outside.copy()
        far[:, :2], far[:2] = False, False
        assert (small[far] == dark[far]).mean() > 0.99
        assert not (small[15:65, 25:85] == dark[15:65, 25:85]).all(axis=-1).any()
    assert "outside the areas of interest" in entries(figure)
    complete = plot.predictions(experiment.runs.head(1), scenes=["val-1"], show=show)
    assert "outside the areas of interest" not in entries(complete)


def test_area_of_interest_outside_the_scene_is_ignored(experiment, tmp_path):
    from tests.raster.test_truth import box, feature, geojson

    wanted = captions(plot.predictions(experiment.runs.head(1), scenes=["val-0"]))
    area = geojson(tmp_path / "aoi.json", [feature("Polygon", box(900, 10, 70, 60))])
    change_scene(Path(experiment.runs["uri"].iloc[0]), aoi_uris=[area])
    assert captions(plot.predictions(experiment.runs.head(1), scenes=["val-0"])) == wanted


def test_class_predicted_on_every_pixel_has_a_frame_in_the_overlay(experiment):
    folder = Path(experiment.runs["uri"].iloc[0])
    write(folder / "rv/predict/val-0/labels.tif", np.ones((96, 128), np.uint8))
    more = {"scenes": ["val-0"], "show": "overlay", "columns": ["runs"]}
    ((cell,),) = grid(plot.predictions(experiment.runs.head(1), **more))
    orange = (cell[..., :3] == OWN.colors[1]).all(axis=-1)
    assert orange[0].all()
    assert orange[:, -1].all()
    assert not orange[40:60, 40:60].any()


def change_scene(folder, **changes):
    """Change the first validation scene in the config of a run."""
    path = folder / "rv/pipeline-config.json"
    content = json.loads(path.read_text())
    content["dataset"]["validation_scenes"][0].update(changes)
    path.write_text(json.dumps(content))


def test_errors_without_truth_are_error_cells_and_the_image_is_drawn(experiment):
    (experiment.root / "val-0-labels.tif").unlink()
    (row,) = grid(plot.predictions(experiment.runs, scenes=["val-0"], show="errors"))
    assert isinstance(row[0], np.ndarray)
    assert row[1].endswith("does not exist.")
    assert all(words.startswith("Errors cannot be shown without truth.") for words in row[2:])


def test_errors_are_drawn_on_grey_if_the_image_is_missing(experiment):
    (experiment.root / "val-0.tif").unlink()
    figure = plot.predictions(experiment.runs, scenes=["val-0"], show="errors", classes="building")
    (row,) = grid(figure)
    assert row[0].endswith("does not exist.")
    ids, guess = experiment.truth["val-0"], guessed(experiment)
    neither = (ids != 1) & (guess != 1)
    assert len(np.unique(row[2][neither], axis=0)) == 1
    assert (row[2][(ids == 1) & (guess == 1)] == TP).all()


def test_outlines_have_class_colors_over_the_image(experiment):
    figure = plot.predictions(
        experiment.runs, scenes=["val-0"], show="overlay", classes=["building", "road"]
    )
    (row,) = grid(figure)
    ids = experiment.truth["val-0"]
    times = row[1].shape[0] // ids.shape[0]
    big, image = (a.repeat(times, 0).repeat(times, 1) for a in (ids, photo(ids).transpose(1, 2, 0)))
    layers = [colorize.color_outlines(big, OWN, class_ids=[1, 2], width=w) for w in range(1, 8)]
    lines = layers[0][..., 3] == 255
    assert (row[1][lines] == colorize.color_classes(big, OWN)[lines]).all()
    far = ~(layers[6][..., 3] == 255)
    assert (row[1][far] == image[far]).all()
    assert (row[1][(big == 0)] == image[big == 0]).all()
    assert entries(figure) == ["building", "road"]


def test_outline_width_does_not_depend_on_the_window_size(tmp_path):
    made = Experiment(tmp_path, scenes=1, size=(1200, 1200))
    made.add(0.0)
    figure = plot.predictions(made.runs, show="overlay", classes="road", max_px=1200)
    (row,) = grid(figure)
    road = (made.truth["val-0"][598:608] == 2).sum(axis=0) == 6
    lines = (row[2][600:606] == np.array(OWN.colors[2])).all(axis=-1)[:, road]
    assert row[2].shape[:2] == (1200, 1200)
    assert lines.all()  # 1200 pixels on 260 screen pixels: the outline fills the road
    small = plot.predictions(made.runs, [("val-0", 0, 590, 40, 40)], show="overlay", classes="road")
    (row,) = grid(small)
    assert row[2].shape[0] > 200  # more than the pixels of the window
    lines = (row[2] == np.array(OWN.colors[2])).all(axis=-1)
    assert 0 < lines[:, 5].sum() <= 10  # two lines on 520 pixels, drawn on 260 screen pixels


def test_scores_are_class_probabilities_and_a_run_without_scores_shows_an_error(experiment):
    probability = np.linspace(0, 1, 96 * 128).reshape(96, 128)
    share(experiment.runs["uri"].iloc[1], "val-0", probability)
    more = {"scenes": ["val-0"], "show": "scores", "classes": "building"}
    figure = plot.predictions(experiment.runs, **more)
    (row,) = grid(figure)
    assert (row[3] == colorize.color_heat(probability.astype(np.float32))).all()
    for words in (row[2], row[4]):
        wanted = "SemanticSegmentationLabelStoreConfig(smooth_output=True) stores them."
        assert words.replace(" ", "") == f"This run stored no scores. {wanted}".replace(" ", "")
    assert (row[1] == colorize.color_heat(experiment.truth["val-0"] == 1)).all()
    texts = [t.get_text() for t in figure.axes[0].texts if t.get_gid() == "scale"]
    assert texts == ["probability of building", "0", "1"]
    assert len(captions(figure)) == 1
    other = plot.predictions(experiment.runs, **more | {"classes": "road"})
    left = (1 - probability.astype(np.float32)) / 3
    assert np.abs(grid(other)[0][3].astype(int) - colorize.color_heat(left)).max() <= 2


def test_uint8_scores_are_divided_by_255_and_missing_scores_are_grey(experiment):
    probability = np.full((96, 128), 0.6)
    share(experiment.runs["uri"].iloc[0], "val-0", probability, as_uint8=True)
    unknown = probability.copy()
    unknown[:10] = np.nan
    share(experiment.runs["uri"].iloc[1], "val-0", unknown)
    more = {"scenes": ["val-0"], "show": "scores", "classes": "building"}
    (row,) = grid(plot.predictions(experiment.runs, **more))
    assert (row[2] == colorize.color_heat(0.6)).all()
    assert (row[3][:10] == colorize.UNKNOWN_COLOR).all()
    assert (row[3][10:] == colorize.color_heat(0.6)).all()


def test_scores_of_another_size_show_an_error_with_both_sizes(experiment):
    share(experiment.runs["uri"].iloc[0], "val-0", np.full((50, 60), 0.5))
    (row,) = grid(plot.predictions(experiment.runs, scenes=["val-0"], show="scores"))
    assert row[2] == "The scores have 60 × 50 px, the scene 128 × 96 px."


def test_invalid_arguments_raise_before_drawing(experiment):
    runs = experiment.runs
    with pytest.raises(SpecError, match=r"show cannot be 'error'. Did you mean 'errors'"):
        plot.predictions(runs, show="error")
    with pytest.raises(SpecError, match=r"Unknown class 'bilding'. Did you mean 'building'"):
        plot.predictions(runs, show="errors", classes=["road", "bilding"])
    with pytest.raises(SpecError, match=r"classes is empty"):
        plot.predictions(runs, show="errors", classes=[])
    with pytest.raises(SpecError, match=r"Unknown channel display group 'RGB'"):
        plot.predictions(runs, bands="RGB")
    with pytest.raises(SpecError, match=r"Give 1 to 3 channel numbers"):
        plot.predictions(runs, bands=[0, 1, 2, 3])
    with pytest.raises(SpecError, match=r"stretch cannot be \(98, 2\)"):
        plot.predictions(runs, stretch=(98, 2))
    with pytest.raises(SpecError, match=r"iou must be at least 0 and less than 1, got 1.5"):
        plot.predictions(runs, iou=1.5)
    with pytest.raises(SpecError, match=r"max_px must be at least 1, got 0"):
        plot.predictions(runs, max_px=0)


def test_grid_above_the_memory_limit_shows_an_error_with_both_sizes(experiment, monkeypatch):
    monkeypatch.setattr("rvlab.plot._grid.options.MAX_BYTES", 400_000)
    windows = [("val-0", 0, 0, 128, 96), ("val-1", 0, 0, 90, 90)]
    first, second = grid(plot.predictions(experiment.runs, windows))
    wanted = "2 × 5 pictures of 128 × 96 px take 0.492 MB, more than the 0.4 MB allowed."
    assert all(cell.startswith(wanted) for cell in first)
    assert all(isinstance(cell, np.ndarray) for cell in second)
    (alone,) = grid(plot.predictions(experiment.runs, windows[:1]))
    assert all(isinstance(cell, np.ndarray) for cell in alone)


def deep(experiment, groups=None):
    """Write the scenes as four 16-bit channels, with nodata at the left."""
    for name, ids in experiment.truth.items():
        red, green, blue = photo(ids).astype(np.uint16) * 40 + 1
        array = np.stack([red, green, blue, red[::-1]])
        array[:, :, :10] = 0
        write(experiment.root / f"{name}.tif", array, nodata=0)
    for run in experiment.runs["uri"]:
        path = Path(run) / "rv/pipeline-config.json"
        content = json.loads(path.read_text())
        options = {"type_hint": "plot_options", "channel_display_groups": groups}
        content["backend"] = {"data": {"plot_options": options}}
        path.write_text(json.dumps(content))


def test_multispectral_imagery_uses_the_first_display_group(experiment):
    deep(experiment, {"Infrared": [3, 1, 2], "RGB": [0, 1, 2]})
    more = {"scenes": ["val-0"], "columns": ["image"]}
    ((infrared,),) = grid(plot.predictions(experiment.runs, **more))
    ((plain,),) = grid(plot.predictions(experiment.runs, bands="RGB", **more))
    assert infrared.shape == (96, 128, 4)
    assert (infrared[:, :10, 3] == 0).all()
    assert (infrared[:, 10:, 3] == 255).all()
    assert (infrared[..., 0] == plain[::-1, :, 0]).all()
    assert (infrared[..., 1:] == plain[..., 1:]).all()
    assert np.ptp(infrared[:, 10:, 1]) == 255
    ((grey,),) = grid(plot.predictions(experiment.runs, bands=[3], stretch="minmax", **more))
    assert (grey[..., 0] == grey[..., 2]).all()
    brightest = grey[:, 10:, 0]
    assert (brightest == 255).sum() < 20  # only the largest value
    deep(experiment)
    ((first,),) = grid(plot.predictions(experiment.runs, **more))
    assert (first == plain).all()


def test_display_group_with_missing_channels_is_an_error_cell(experiment):
    deep(experiment, {"Far": [7]})
    (row,) = grid(plot.predictions(experiment.runs, scenes=["val-0"]))
    assert row[0].endswith("has no channel 7; the scene's channels are 0 to 3.")
    assert all(isinstance(cell, np.ndarray) for cell in row[1:])


def test_nodata_pixels_are_white_below_outlines(experiment):
    deep(experiment)
    more = {"scenes": ["val-0"], "show": "overlay", "classes": "building", "columns": ["runs"]}
    (row,) = grid(plot.predictions(experiment.runs, **more))
    times = row[0].shape[0] // 96
    blank = row[0][:, : 10 * times][guessed(experiment).repeat(times, 0).repeat(times, 1)
                                    [:, : 10 * times] == 0]  # fmt: skip
    assert (blank == 255).all()


def test_imagery_without_georeference_has_no_scale_bar(tmp_path):
    made = Experiment(tmp_path, scenes=1)
    made.add(0.1)
    ids = made.truth["val-0"]
    for name, array in (("val-0", photo(ids)), ("val-0-labels", ids)):
        write(tmp_path / f"{name}.tif", array, crs=None)
    write(Path(made.runs["uri"].iloc[0]) / "rv/predict/val-0/labels.tif", ids, crs=None)
    for show in ("labels", "errors", "overlay"):
        figure = plot.predictions(made.runs, show=show, classes="building")
        assert captions(figure) == ["F1 1.00"]
        assert not figure.axes[0].lines
        assert not any("per px" in text for text in figure_texts(figure))


def test_cells_of_runs_with_different_scenes_show_the_difference(experiment):
    first = experiment.runs.index[0]
    ids = experiment.truth["val-0"]

    def add(name, array, **more):
        image = write(experiment.root / f"{name}.tif", photo(array), **more)
        folder = experiment.add(0.1, lr=len(experiment.rows), width=8)
        described = scene("val-0", raster_source(image), None, f"{folder}/rv/predict/val-0")
        experiment.write_config(folder, config([described | {"label_source": None}]))

    add("small", ids[:50, :60])
    add("elsewhere", ids, transform=Affine(0.5, 0, 700_000, 0, -0.5, 3_999_000))
    add("abroad", ids, crs="EPSG:32612")
    add("nowhere", ids, crs=None)
    wanted = [
        f"Its scene val-0 has 60 × 50 px, that of {first} 128 × 96 px.",
        f"Its scene val-0 has its origin at 700000, 3999000, that of {first} at 663000, 3999000.",
        f"Its scene val-0 has CRS EPSG:32612, that of {first} has CRS EPSG:32611.",
        f"Its scene val-0 has CRS none, that of {first} has CRS EPSG:32611.",
    ]
    for number, words in enumerate(wanted, start=3):
        two = experiment.runs.iloc[[0, number]]
        (row,) = grid(plot.predictions(two, scenes=["val-0"], columns=["truth", "runs"]))
        assert isinstance(row[0], np.ndarray)
        assert isinstance(row[1], np.ndarray)
        assert row[2] == words


def test_copy_of_the_image_at_another_path_is_the_same_scene(experiment):
    ids = experiment.truth["val-0"]
    image = write(experiment.root / "copy/val-0.tif", photo(ids))
    folder = experiment.add(0.1, lr=1, width=8)
    labels = str(experiment.root / "val-0-labels.tif")
    described = scene("val-0", raster_source(image), labels, f"{folder}/rv/predict/val-0")
    experiment.write_config(folder, config([described]))
    (row,) = grid(plot.predictions(experiment.runs, scenes=["val-0"]))
    assert isinstance(row[5], np.ndarray)


@pytest.mark.parametrize("runs", [1, 2, 6])
@pytest.mark.parametrize("show", ["labels", "errors", "overlay", "scores"])
def test_texts_do_not_overlap(experiment, runs, show):
    for i in range(3):
        experiment.add(0.1, lr=i, backbone_and_its_weights="resnet50_pretrained", width=8)
    share(experiment.runs["uri"].iloc[0], "val-0", np.full((96, 128), 0.3))
    windows = [("val-0", 0, 0, 128, 96), ("val-0", 0, 0, 100, 20), ("val-1", 0, 0, 20, 90)]
    figure = plot.predictions(experiment.runs.head(runs), windows, show=show)
    figure.canvas.draw()
    (ax,) = figure.axes
    outside = [
        t for t in [*ax.texts, *figure.texts] if t.get_gid() is not None or t in figure.texts
    ]
    outside += [t for legend in figure.legends for t in legend.get_texts()]
    boxes = [t.get_window_extent() for t in outside if t.get_text()]
    for i, one in enumerate(boxes):
        assert one.x0 >= 0
        assert one.x1 <= figure.bbox.x1
        assert one.y0 >= 0
        for other in boxes[i + 1 :]:
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            down = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert across <= 0.5 or down <= 2.0
    pictures = [image.get_window_extent() for image in ax.images if image.get_gid() != "scale"]
    for text in [t for t in outside if t.get_gid() != "words" and t.get_text()]:
        box = text.get_window_extent()
        for picture in pictures:
            across = min(box.x1, picture.x1) - max(box.x0, picture.x0)
            down = min(box.y1, picture.y1) - max(box.y0, picture.y0)
            assert across <= 0.5 or down <= 0.5


def test_labels_are_drawn_only_in_class_colors(tmp_path):
    from PIL import Image

    made = Experiment(tmp_path, scenes=1, size=(400, 500))
    made.add(0.1)
    figure = plot.predictions(made.runs, columns=["image", "truth"])
    figure.savefig(tmp_path / "one.png", dpi=100)
    drawn = np.asarray(Image.open(tmp_path / "one.png").convert("RGB"))

    def colors(image):
        box = image.get_window_extent()
        top, bottom = (drawn.shape[0] - round(y) for y in (box.y1, box.y0))
        part = drawn[top + 2 : bottom - 2, round(box.x0) + 2 : round(box.x1) - 2]
        return {tuple(color) for color in part.reshape(-1, 3).tolist()}

    image, truth = figure.axes[0].images
    assert colors(truth) == set(OWN.colors[:3])
    own = {tuple(c) for c in photo(made.truth["val-0"]).reshape(3, -1).T.tolist()}
    assert len(colors(image) - own) > 100  # averaged colors


def test_long_scene_name_fits_the_row_title():
    from rvlab.plot._grid.layout import CellRow, GridCell, draw_grid
    from rvlab.plot._grid.legend import GridLegend

    row = CellRow(
        "a_scene_with_a_name_that_takes_some_lines", ["1", "2"], [GridCell(message="-")] * 7, 0.1
    )
    figure = draw_grid([["run"]] * 7, [row, row], GridLegend())
    figure.canvas.draw()
    (first, second) = [t.get_window_extent() for t in figure.texts if t.get_gid() == "row"]
    lines = [t.get_window_extent() for t in figure.texts if t.get_text() == "1\n2"]
    assert second.y1 < lines[0].y0
    assert lines[0].y1 < first.y0
