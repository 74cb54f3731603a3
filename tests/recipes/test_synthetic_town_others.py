"""Tests of the chip classification and object detection recipes: configs and training.

What is drawn is tested in ``test_town_scenes.py``; training as such in the fixtures `trained_cc`
and `trained_od`, which go through rvlab's own local engine.
"""

from __future__ import annotations

import io
import json
import runpy
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("rastervision.core")

from rastervision.pipeline.config import build_config

import rvlab.recipes
from rvlab import Lab, compare
from rvlab.errors import SpecError
from rvlab.model import Run
from rvlab.recipes import find_recipe
from tests.conftest import Trained

Config = Callable[..., Any]
NAMES = ("synthetic_town_classification", "synthetic_town_detection")
CC, OD = NAMES
TINY: dict[str, Any] = {"scene_px": 128, "chip_px": 64, "epochs": 1, "width": 4}
EACH = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def tiny(config: Config) -> Config:
    def made(name: str, root: Path, **params: Any) -> Any:
        return config(name, root_uri=str(root), **{**TINY, **params})

    return made


@EACH
def test_parameters_are_documented_like_those_of_synthetic_town(name: str) -> None:
    own = set(find_recipe(name).signature.parameters)
    pixels = {"building_weight", "road_weight", "keep_scores"}  # they keep their scores anyway
    first = set(find_recipe("synthetic_town").signature.parameters) - pixels
    assert first <= own
    assert own - first == (
        {"stride_px", "least_share"} if name == CC else {"chips_per_scene", "least_score"}
    )


@EACH
def test_scenes_are_drawn_once_for_all_runs(name: str, tiny: Config, tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    tiny(name, tmp_path / "a", data_uri=shared)
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "shared").rglob("*.*")}
    tiny(name, tmp_path / "b", data_uri=shared, lr=1e-3, width=8)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "shared").rglob("*.*")} == written
    assert not (tmp_path / "b" / "data").exists()


def test_both_use_the_same_files(tiny: Config, tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    labels = [
        tiny(name, tmp_path, data_uri=shared)
        .dataset.train_scenes[0]
        .label_source.vector_source.uris
        for name in NAMES
    ]
    assert labels[0] == labels[1]


@EACH
def test_text_from_the_command_line_is_parsed(name: str, tiny: Config, tmp_path: Path) -> None:
    params = {"lr": 3e-3, "epochs": 2, "batch_size": 2, "nochip": True, "train_scenes": 1}
    typed = tiny(name, tmp_path, **params)
    text = tiny(name, tmp_path, **{k: str(v) for k, v in {**TINY, **params}.items()})
    assert text.model_dump_json() == typed.model_dump_json()
    assert typed.backend.solver.lr == 3e-3


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        *(
            (name, {"chip_px": 256}, "chip_px must be at most scene_px, which is 128, got 256")
            for name in NAMES
        ),
        *((name, {"epochs": 0}, "epochs must be at least 1, got 0") for name in NAMES),
        *((name, {"lr": -1}, "lr must be above 0, got -1") for name in NAMES),
        *((name, {"width": 0}, "width must be at least 1") for name in NAMES),
        *((name, {"scene_px": 64}, "scene_px must be at least 128") for name in NAMES),
        *((name, {"data_seed": -1}, "data_seed must be at least 0") for name in NAMES),
        *((name, {"nochip": "maybe"}, "nochip must be true or false") for name in NAMES),
        (CC, {"stride_px": 0}, "stride_px must be at least 1"),
        (CC, {"least_share": 1.5}, "least_share must be below 1"),
        (OD, {"least_score": 0}, "least_score must be above 0"),
        (OD, {"chips_per_scene": 0}, "chips_per_scene must be at least 1"),
        (OD, {"chip_px": 32}, "chip_px must be at least 64"),
    ],
)
def test_invalid_value_is_reported_and_writes_nothing(
    name: str, tiny: Config, tmp_path: Path, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        tiny(name, tmp_path, **params)
    assert not list(tmp_path.iterdir())


@EACH
def test_source_alone_is_a_recipe(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "recipe.py"
    copy.write_text(Path(rvlab.recipes.__file__).with_name(f"{name}.py").read_text())
    made = runpy.run_path(str(copy))["get_config"](None, root_uri=str(tmp_path), **TINY)
    assert made.root_uri == str(tmp_path)


def build_dataset(made: Any, folder: Path) -> Any:
    definition = made.backend.model.external_def
    again = build_config(json.loads(definition.model_dump_json()))
    return again.build(save_dir=str(folder / "modules"))


def test_network_in_the_store_scores_chips_of_any_size(tiny: Config, tmp_path: Path) -> None:
    import torch

    model = build_dataset(tiny(CC, tmp_path), tmp_path)
    assert model(torch.zeros(2, 3, 50, 38)).shape == (2, 2)


def test_detector_in_the_store_gives_losses_and_boxes(tiny: Config, tmp_path: Path) -> None:
    import torch

    model = build_dataset(tiny(OD, tmp_path), tmp_path)
    images = torch.rand(2, 3, 64, 64)
    target = {"boxes": torch.tensor([[10.0, 10, 40, 30]]), "labels": torch.tensor([1])}
    losses = model(images, [target, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}])
    assert set(losses) == {
        *("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")
    }
    assert all(torch.isfinite(loss) for loss in losses.values())
    found = model.eval()(images)
    assert [set(f) for f in found] == [{"boxes", "labels", "scores"}] * 2


def test_cells_are_labelled_by_how_much_of_them_a_building_covers(
    tiny: Config, tmp_path: Path
) -> None:
    from rasterio.features import rasterize

    made = tiny(CC, tmp_path, scene_px=256, least_share=0.2)
    made.update()
    config = made.dataset.train_scenes[0]
    scene = config.build(made.dataset.class_config, str(tmp_path))
    geojson = scene.label_source.vector_source.get_geojson()
    covers = [
        rasterize([f["geometry"]], (256, 256)).reshape(4, 64, 4, 64).mean((1, 3))
        for f in geojson["features"]
    ]
    labels = scene.label_source.get_labels()
    assert len(labels) == 16
    for cell in labels.get_cells():
        share = max(cover[cell.ymin // 64, cell.xmin // 64] for cover in covers)
        if abs(share - 0.2) > 0.005:  # pixels are not the polygons themselves
            assert (labels.get_cell_class_id(cell) == 0) == (share > 0.2)
    assert {labels.get_cell_class_id(c) for c in labels.get_cells()} == {0, 1}


def test_boxes_match_the_outlines_without_a_test_scene(tiny: Config, tmp_path: Path) -> None:
    made = tiny(OD, tmp_path, scene_px=256)
    assert made.dataset.test_scenes == []
    scene = made.dataset.validation_scenes[0].build(made.dataset.class_config, str(tmp_path))
    labels = scene.label_source.get_labels()
    outlines = json.loads(
        Path(made.dataset.validation_scenes[0].label_source.vector_source.uris[0]).read_text()
    )
    assert len(labels) == len(outlines["features"]) > 3
    boxes = labels.get_npboxes()
    assert boxes.min() > -1
    assert boxes.max() < 257
    assert ((boxes[:, 2:] - boxes[:, :2]) > 5).all()


def predictions(trained: Trained, name: str) -> dict[str, Any]:
    run = trained.runs["first"]
    return dict(json.loads(trained.lab.store.get(run.key("rv", "predict", f"{name}.json"))))


@pytest.mark.extended
def test_classification_learns_and_is_scored_by_class(trained_cc: Trained) -> None:
    row = trained_cc.row("first")
    assert row["state"] == "succeeded", row["error"]
    assert row["metrics.f1"] > 0.75
    evals = trained_cc.lab.evals(trained_cc.runs["first"]).query("group == 'validation'")
    whole = evals[evals["scene"].isna()].set_index(["class", "metric"])["value"]
    assert whole["building", "f1"] > 0.7
    assert whole["no_building", "f1"] > 0.7
    assert whole["building", "truth_count"] + whole["no_building", "truth_count"] == 2 * 36
    confusion = trained_cc.lab.confusion(trained_cc.runs["first"])
    assert confusion.query("group == 'validation' and scene.isna()")["count"].sum() == 2 * 36


@pytest.mark.extended
def test_classification_predicts_every_cell(trained_cc: Trained) -> None:
    features = predictions(trained_cc, "test-0")["features"]
    assert len(features) == 36
    for feature in features:
        scores = feature["properties"]["scores"]
        assert feature["properties"]["class_id"] == scores.index(max(scores))


@pytest.mark.extended
def test_detection_learns_and_has_no_iou(trained_od: Trained) -> None:
    row = trained_od.row("first")
    assert row["state"] == "succeeded", row["error"]
    assert row["metrics.f1"] > 0.5
    assert row["metrics.f1"] == row["metrics.f1.building"]
    assert not [c for c in trained_od.table if "iou" in c or c == "metrics.accuracy"]
    evals = trained_od.lab.evals(trained_od.runs["first"])
    of_class = evals[evals["class"] == "building"]
    assert set(of_class["metric"]) == {
        *("precision", "recall", "f1", "truth_count", "prediction_count")
    }
    assert of_class.query("metric == 'truth_count' and scene.isna()")["value"].item() > 10
    assert trained_od.lab.confusion(trained_od.runs["first"]).empty
    scores = compare.object_scores(trained_od.runs["first"]).iloc[0]
    names = {"object_f1": "f1", "mAP": "mAP", "mAP50": "mAP50", "count_error": "count_error"}
    assert [row[f"metrics.{name}"] for name in names] == pytest.approx(
        [scores[name] for name in names.values()]
    )
    assert 0.5 < scores["mAP50"] <= 1
    features = predictions(trained_od, "validation-0")["features"]
    assert features
    assert all(0.5 <= f["properties"]["score"] <= 1 for f in features)


@pytest.mark.extended
def test_their_histories_have_the_columns_of_their_task(
    trained_cc: Trained, trained_od: Trained
) -> None:
    for trained, columns in (
        (trained_cc, ["train_loss", "val_loss", "avg_f1", "building_f1"]),
        (trained_od, ["train_loss", "mAP", "mAP50", "loss_objectness"]),
    ):
        history = trained.lab.history(trained.runs["first"])
        assert set(columns) < set(history)
        assert history[columns].notna().all(axis=None)
        assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


@pytest.mark.extended
@pytest.mark.parametrize("fixture", ["trained_cc", "trained_od"])
def test_runs_of_every_task_can_be_read(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from rvlab import compare, plot

    trained: Trained = request.getfixturevalue(fixture)
    run = trained.runs["first"]
    board = compare.board(trained.table)
    assert list(board.index) == [run.id]
    assert trained.lab.scenes(run)["hashed_from"].eq("content").all()
    assert pd.notna(trained.row("first")["eval_set"])
    artifacts = trained.lab.artifacts(run).query("step == 'predict'")
    assert set(artifacts["kind"]) == {"vectors"}
    assert set(artifacts["scene"]) >= {"validation-0", "validation-1"}
    drawn = plot.curves(trained.lab.history(run))
    assert drawn is not None
    report = trained.lab.report(run, tmp_path / "run.html")
    assert run.id in Path(report).read_text()


@pytest.mark.extended
@pytest.mark.parametrize(("name", "fixture"), [(CC, "trained_cc"), (OD, "trained_od")])
def test_same_seed_gives_the_same_weights_with_chips_and_without(
    name: str, fixture: str, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    lab = trained.lab
    asked = [False, False, True]
    runs = [lab.submit(name, experiment="repeated", nochip=nochip, **TINY) for nochip in asked]
    table = lab.wait(runs, progress=False)
    assert set(table["state"]) == {"succeeded"}, table["error"].tolist()
    chips, chips_again, scenes = (weights(lab, run) for run in runs)
    assert chips == chips_again
    assert chips != scenes


def weights(lab: Lab, run: Run) -> bytes:
    import torch

    stored = lab.store.get(run.key("rv", "train", "model-bundle.zip"))
    bundle = zipfile.ZipFile(io.BytesIO(stored))
    state = torch.load(io.BytesIO(bundle.read("model.pth")), weights_only=True)
    return b"".join(v.numpy().tobytes() for v in state.values())
