from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from rvlab import plot
from rvlab.errors import NotFound, RasterError, SpecError, TableError
from tests.plot.figure_contents import captions, figure_texts, grid
from tests.raster.samples import CLASSES, CORNER, config, write
from tests.raster.test_truth import box, feature, geojson


def test_rows_are_scenes_and_columns_image_truth_and_runs(experiment):
    figure = plot.predictions(experiment.runs)
    found = grid(figure)
    assert [len(row) for row in found] == [5, 5]
    truth = np.array([[217, 217, 217], [255, 165, 0], [70, 117, 180]], np.uint8)
    for row, ids in zip(found, experiment.truth.values(), strict=True):
        assert (row[1] == truth[ids]).all()
        assert {cell.shape[:2] for cell in row} == {ids.shape}
    assert [t for t in figure_texts(figure) if " = " in t] == [
        "lr = 0.01",
        "lr = 0.001",
        "lr = 0.0001",
    ]
    assert {"image", "truth", "val-0", "val-1"} <= set(figure_texts(figure))


def test_each_run_has_its_f1_in_the_window_and_the_best_is_bold(experiment):
    from sklearn.metrics import f1_score

    figure = plot.predictions(experiment.runs, scenes=["val-0"])
    ids = experiment.truth["val-0"]
    wanted = []
    for uri in experiment.runs["uri"]:
        import rasterio

        with rasterio.open(f"{uri}/rv/predict/val-0/labels.tif") as dataset:
            guess = dataset.read(1)
        wanted.append(f"F1 {f1_score(ids.ravel(), guess.ravel(), average='macro'):.2f}")
    assert captions(figure) == wanted
    texts = [t for ax in figure.axes for t in ax.texts if t.get_text().startswith("F1")]
    assert [t.get_fontweight() for t in texts] == ["bold", "normal", "normal"]


def test_windows_of_a_table_are_rows_clipped_to_the_scene(experiment):
    windows = pd.DataFrame(
        {"scene": ["val-1", "val-0"], "col": [5, 100], "row": [7, 80], "width": 40, "height": 30}
    )
    before = windows.copy()
    figure = plot.predictions(experiment.runs, windows, columns=("truth", "runs"))
    first, second = grid(figure)
    truth = np.array([[217, 217, 217], [255, 165, 0], [70, 117, 180]], np.uint8)
    assert (first[0] == truth[experiment.truth["val-1"][7:37, 5:45]]).all()
    assert second[0].shape[:2] == (16, 28)
    assert any("28 × 16 px\ncol 100, row 80" in text for text in figure_texts(figure))
    pd.testing.assert_frame_equal(windows, before)
    same = plot.predictions(experiment.runs, [("val-1", 5, 7, 40, 30)], columns=("truth", "runs"))
    assert (grid(same)[0][0] == first[0]).all()
    as_dicts = plot.predictions(experiment.runs, windows.to_dict("records"))
    assert len(grid(as_dicts)) == 2


def test_legend_lists_classes_in_their_colors(experiment):
    figure = plot.predictions(experiment.runs)
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["background", "building", "road"]
    colors = [to_hex(patch.get_facecolor()) for patch in legend.get_patches()]
    assert colors == ["#d9d9d9", "#ffa500", "#4675b4"]


def test_null_and_unknown_ids_are_in_the_legend_only_if_drawn(experiment):
    folder = Path(experiment.runs["uri"].iloc[0])
    ids = experiment.truth["val-0"].copy()
    ids[0, 0], ids[0, 1] = 3, 77
    write(folder / "rv/predict/val-0/labels.tif", ids)
    (legend,) = plot.predictions(experiment.runs).legends
    names = [t.get_text() for t in legend.get_texts()]
    assert names == ["background", "building", "road", "null", "unknown class id"]


def test_scale_bar_has_a_round_length_in_a_projected_crs(experiment):
    figure = plot.predictions(experiment.runs, scenes=["val-0"])
    ax = figure.axes[0]
    (bar,) = [line for line in ax.lines if line.get_gid() == "scale bar"]
    left, right = np.asarray(bar.get_xdata())
    start, stop, _, _ = ax.images[0].get_extent()
    assert (right - left) / (stop - start) * 128 == pytest.approx(10 / 0.5)  # 10 m in 0.5 m pixels
    assert "10 m" in [t.get_text() for t in ax.texts]
    assert any("0.5 m per px" in text for text in figure_texts(figure))


def test_missing_prediction_is_an_error_cell_and_others_are_drawn(experiment):
    experiment.add(0.1, lr=0.1, width=8, skip=["val-1"])
    first, second = grid(plot.predictions(experiment.runs))
    assert all(isinstance(cell, np.ndarray) for cell in first)
    assert second[5] == "rv/predict/val-1/labels.tif does not exist."
    assert all(isinstance(cell, np.ndarray) for cell in second[:5])


def test_labels_are_drawn_if_the_image_is_missing(experiment):
    (experiment.root / "val-0.tif").unlink()
    first, second = grid(plot.predictions(experiment.runs))
    assert first[0].endswith("does not exist.")
    assert all(isinstance(cell, np.ndarray) for cell in [*first[1:], *second])


def test_predictions_are_drawn_without_f1_if_truth_is_broken(experiment):
    (experiment.root / "val-0-labels.tif").write_text("nothing")
    figure = plot.predictions(experiment.runs, scenes=["val-0"])
    (row,) = grid(figure)
    assert row[1].replace(" ", "").endswith("isnotarasterinaformatthatGDALreads.")
    assert captions(figure) == ["F1 –"] * 3


def test_cells_of_incomparable_runs_show_the_reason(experiment):
    other = {"names": ["background", "tree", "null"], "colors": ["grey", "green", "black"]}
    experiment.add(0.1, classes=other, lr=0.1, width=8)
    folder = experiment.add(0.1, lr=0.2, width=8)
    write(folder / "rv/predict/val-0/labels.tif", experiment.truth["val-0"][:50, :60])
    (folder.parent / "broken/rv").mkdir(parents=True)
    (folder.parent / "broken/rv/pipeline-config.json").write_text('{"dataset": ')
    experiment.rows.append({"run": "broken", "uri": str(folder.parent / "broken")})
    experiment.rows.append({"run": "gone", "uri": str(folder.parent / "gone")})
    alone = experiment.add(0.1, lr=0.3, width=8)
    experiment.write_config(alone, config([experiment.describe("val-1", alone)]))
    first, _ = grid(plot.predictions(experiment.runs))
    assert first[5].startswith("Its classes are background, tree, null; those of")
    assert first[6] == "The prediction has 60 × 50 px, the scene 128 × 96 px."
    assert first[7].startswith("rv/pipeline-config.json is not whole JSON")
    assert first[8] == "rv/pipeline-config.json does not exist."
    assert first[9] == "This run has no scene val-0."
    assert all(isinstance(cell, np.ndarray) for cell in first[:5])


def test_row_of_a_window_outside_the_scene_shows_the_error(experiment):
    figure = plot.predictions(experiment.runs, [("val-0", 500, 0, 9, 9), ("val-0", 0, 0, 9, 9)])
    first, second = grid(figure)
    assert all("is outside the raster of 128 × 96 px" in cell for cell in first)
    assert all(isinstance(cell, np.ndarray) for cell in second)


def test_a_grid_of_runs_without_a_config_raises(tmp_path):
    runs = pd.DataFrame({"run": ["a"], "uri": [str(tmp_path / "a")]})
    with pytest.raises(
        RasterError,
        match=r"this grid could be read\. rv/pipeline-config\.json does not exist\.$",
    ):
        plot.predictions(runs)


def test_a_grid_whose_rasters_were_all_deleted_raises_with_the_first_reason(tmp_path):
    from tests.raster.samples import Experiment

    made = Experiment(tmp_path, scenes=1, size=(20, 30))
    made.add(0.1)
    for path in tmp_path.rglob("*.tif"):
        path.unlink()
    with pytest.raises(
        RasterError, match=r"^No picture of this grid could be read\. .*\.tif does not exist\."
    ):
        plot.predictions(made.runs)


def test_titles_fall_back_to_ids_and_are_unique(experiment):
    one = experiment.runs.head(1)
    assert one.index[0] in figure_texts(plot.predictions(one))
    twins = pd.concat([one, experiment.runs.assign(**{"params.lr": 0.01}).iloc[[1]]])
    twins.loc[twins.index[1], "params.width"] = 16
    assert "width = 16" in figure_texts(plot.predictions(twins))
    repeats = experiment.runs.assign(**{"params.lr": [0.1, 0.1, 0.2]})
    texts = figure_texts(plot.predictions(repeats))
    assert texts.count("lr = 0.1") == 2
    assert {"…4f2a00", "…4f2a01"} <= set(texts)
    named = experiment.runs.assign(name=["best", "middle", "worst"])
    assert {"best", "middle", "worst"} <= set(figure_texts(plot.predictions(named, label="name")))


def test_at_most_four_evenly_spaced_scenes_are_shown_by_default(tmp_path):
    from tests.raster.samples import Experiment

    made = Experiment(tmp_path, scenes=10, size=(20, 30))
    made.add(0.1)
    texts = figure_texts(plot.predictions(made.runs))
    assert [t for t in texts if t.startswith("val-")] == ["val-0", "val-3", "val-6", "val-9"]


def test_large_windows_are_subsampled_but_scored_completely(experiment):
    (row,) = grid(plot.predictions(experiment.runs, scenes="val-0", max_px=32))
    assert {cell.shape[:2] for cell in row} == {(24, 32)}


def test_invalid_arguments_raise_errors_with_suggestions(experiment):
    runs = experiment.runs
    with pytest.raises(NotFound, match=r"No run has a scene 'val_0'. Did you mean 'val-0'"):
        plot.predictions(runs, scenes=["val_0"])
    with pytest.raises(NotFound, match=r"Unknown group 'valid'. Did you mean 'validation'"):
        plot.predictions(runs, group="valid")
    with pytest.raises(SpecError, match=r"columns cannot contain 'thruth'. Did you mean 'truth'"):
        plot.predictions(runs, columns=("image", "thruth"))
    with pytest.raises(TableError, match=r"has no column 'uri'"):
        plot.predictions(runs.drop(columns="uri"))
    with pytest.raises(TableError, match=r"table of windows has no column 'width'"):
        plot.predictions(runs, pd.DataFrame({"scene": ["a"], "col": 1, "row": 1, "height": 1}))
    with pytest.raises(SpecError, match=r"Give scene, col, row, width and height"):
        plot.predictions(runs, [("val-0", 1, 2)])


@pytest.mark.parametrize("split", [False, True])
def test_scene_in_train_and_validation_is_shown_as_in_the_requested_group(experiment, split):
    """Rows above 48 are in train (all false negatives), rows below in validation."""
    folder = Path(experiment.runs["uri"].iloc[0])
    ids = experiment.truth["val-0"]
    guess = ids.copy()
    guess[:48] = 3
    write(folder / "rv/predict/val-0/labels.tif", guess[48:] if split else guess)
    described = []
    for name, top in (("train", 0), ("validation", 48)):
        one = experiment.describe("val-0", folder)
        if split:
            for source in (one["raster_source"], one["label_source"]["raster_source"]):
                source["bbox"] = [top, 0, top + 48, 128]
        else:
            area = feature("Polygon", box(0, top, 128, 48))
            one["aoi_uris"] = [geojson(folder / f"{name}.json", [area])]
        described.append(one)
    if split:
        moved = CORNER @ CORNER.__class__.translation(0, 48)
        write(folder / "rv/predict/val-0/labels.tif", guess[48:], transform=moved)
    experiment.write_config(folder, config(described[1:], train=described[:1]))
    runs = experiment.runs.head(1)
    for arguments in ({}, {"scenes": ["val-0"]}, {"windows": ("val-0", 0, 0, 128, 96)}):
        figure = plot.predictions(runs, **arguments)
        assert captions(figure) == ["F1 1.00"]
    if split:
        truth = np.array([[217, 217, 217], [255, 165, 0], [70, 117, 180]], np.uint8)
        assert (grid(figure)[0][1] == truth[ids[48:]]).all()
        figure = plot.predictions(runs, group="train")
        assert (grid(figure)[0][1] == truth[ids[:48]]).all()
    else:
        assert captions(plot.predictions(runs, group="train")) == ["F1 0.00"]


def test_single_window_is_accepted_without_a_list(experiment):
    table = pd.DataFrame(
        {"scene": ["val-1", "val-0"], "col": 5, "row": 7, "width": 40, "height": 30, "score": 0.5}
    )
    wanted = grid(plot.predictions(experiment.runs, table.iloc[:1]))
    row = table.iloc[0]
    tuples = (("val-1", 5, 7, 40, 30), ["val-1", 5, 7, 40, 30])
    for window in (row, [row], row.to_dict(), *tuples):
        found = grid(plot.predictions(experiment.runs, window))
        assert len(found) == 1
        assert all((a == b).all() for a, b in zip(found[0], wanted[0], strict=True))


@pytest.mark.parametrize(
    "windows",
    [
        *(
            [1, 2],
            5,
            True,
            "val-0",
            ["val-0"],
            [None],
            [("val-0", 0, 0, 9, 9), "abcde"],
            {"col": 1},
        ),
        *(("val-0", 0, 0, 9), ("val-0", None, 0, 9, 9), [("val-0", "x", 0, 9, 9)], object()),
        *(pd.Series([1, 2]), pd.Series({"scene": "val-0", "col": 1}), np.zeros((2, 2)), b"12345"),
        {"scene": ["val-0"], "col": [0], "row": [0], "width": [9], "height": [9]},
    ],
)
def test_invalid_window_raises(experiment, windows):
    message = r"not a window. Give scene, col|must be an integer, in pixels"
    with pytest.raises(SpecError, match=message):
        plot.predictions(experiment.runs, windows)


@pytest.mark.parametrize("value", ["3", True, None, [1], float("nan"), -1])
def test_invalid_max_px_and_iou_raise(experiment, value):
    with pytest.raises(SpecError, match=r"max_px must be at least 1, got"):
        plot.predictions(experiment.runs, max_px=value)
    with pytest.raises(SpecError, match=r"iou must be at least 0 and less than 1, got"):
        plot.predictions(experiment.runs, iou=value)


def test_empty_windows_or_scenes_draw_a_note(experiment):
    table = pd.DataFrame(columns=["scene", "col", "row", "width", "height", "score"])
    for windows in (table, [], (), iter(())):
        figure = plot.predictions(experiment.runs, windows)
        assert figure.axes[0].texts[0].get_text() == "No windows: the table is empty."
    figure = plot.predictions(experiment.runs, scenes=[])
    assert figure.axes[0].texts[0].get_text() == "No scenes: the list is empty."


@pytest.mark.parametrize("what", ["bbox", "color"])
def test_broken_config_is_an_error_in_one_cell(experiment, what):
    folder = Path(experiment.runs["uri"].iloc[1])
    path = folder / "rv/pipeline-config.json"
    content = json.loads(path.read_text())
    if what == "bbox":
        content["dataset"]["validation_scenes"][1]["raster_source"]["bbox"] = [0, 0, 0.5]
    else:
        content["dataset"]["class_config"]["colors"][0] = [1, 2]
    path.write_text(json.dumps(content))
    first, _ = grid(plot.predictions(experiment.runs))
    assert first[3].startswith("pipeline-config.json has a")
    assert all(isinstance(cell, np.ndarray) for cell in (first[2], first[4]))


def test_group_without_scenes_draws_a_note(experiment):
    nothing = plot.predictions(experiment.runs, group="test")
    assert "no scenes in the group 'test'" in nothing.axes[0].texts[0].get_text()
    assert CLASSES["null_class"] == "null"


def test_table_and_rcparams_are_not_changed(experiment):
    import matplotlib
    import matplotlib.pyplot as plt

    runs = experiment.runs
    before, settings = runs.copy(), dict(matplotlib.rcParams)
    plot.predictions(runs)
    pd.testing.assert_frame_equal(runs, before)
    assert dict(matplotlib.rcParams) == settings
    assert not plt.get_fignums()


def test_invalid_config_values_do_not_affect_other_runs(experiment):
    uri = Path(experiment.runs["uri"].iloc[1])
    path = uri / "rv/pipeline-config.json"
    content = json.loads(path.read_text())
    content["dataset"]["validation_scenes"][0].pop("raster_source")
    path.write_text(json.dumps(content))
    first, _ = grid(plot.predictions(experiment.runs))
    assert "a malformed scene" in first[3]
    assert isinstance(first[4], np.ndarray)


def test_scenes_of_an_own_scene_group_are_shown(experiment):
    for uri in experiment.runs["uri"]:
        path = Path(uri) / "rv/pipeline-config.json"
        content = json.loads(path.read_text())
        content["dataset"]["scene_groups"] = {"far": ["val-1"]}
        path.write_text(json.dumps(content))
    figure = plot.predictions(experiment.runs, group="far")
    assert "val-1" in figure_texts(figure)
    assert "val-0" not in figure_texts(figure)
    with pytest.raises(NotFound, match=r"Unknown group 'near'"):
        plot.predictions(experiment.runs, group="near")
