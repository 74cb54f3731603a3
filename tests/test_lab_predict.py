"""Predictions of new imagery with the model of a run: what is refused, and what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine

from rvlab import Lab, compare, plot
from rvlab.actions.predict import PredictOptions, save_prediction
from rvlab.cli import _commands, main
from rvlab.errors import NotFound, RasterError, SpecError, StoreError
from rvlab.model import Run, Spec
from rvlab.recipes import find_recipe, own_recipe, shipped_recipes
from rvlab.report.page import render_summary_page
from rvlab.report.run_summary import load_run_summary
from rvlab.store import Store
from tests.conftest import TINY, Trained
from tests.engines.warm_engines import WarmLocal
from tests.frame.samples import Made
from tests.plot.figure_contents import grid
from tests.raster.samples import config, raster_source, scene, write
from tests.test_lab_model import put_bundle, zip_of

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument")


def image(path: Path, bands: int = 3, dtype: str = "uint8", **more: Any) -> str:
    return write(path, np.ones((bands, 8, 8), dtype), **more)


def bundle_of(described: dict[str, Any], **files: bytes) -> bytes:
    model = zip_of({"learner-config.json": b"{}", "model.pth": b"weights"})
    named = {"pipeline-config.json": json.dumps(described).encode(), "model-bundle.zip": model}
    return zip_of({**named, **{name.replace("_py", ".py"): data for name, data in files.items()}})


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A store with a run whose bundle has imagery of three bytes a pixel, and a run without one."""
    store = Store(tmp_path / "store")
    run = Made(store).ended(name="model")
    own = image(tmp_path / "own.tif")
    labels = write(tmp_path / "labels.tif", np.zeros((8, 8), np.uint8))
    put_bundle(Lab(store), run, bundle_of(config([scene("own", own, labels, "rv/predict/own")])))
    return Lab(store)


def test_images_unlike_those_of_the_model_are_refused_with_both_values(
    lab: Lab, tmp_path: Path
) -> None:
    four = image(tmp_path / "four.tif", 4, photometric="MINISBLACK")  # else the fourth is alpha
    for path, words in (
        (four, "four.tif has 4 bands, the imagery of the run .* 3. Name the bands"),
        (image(tmp_path / "one.tif", 1), "one.tif has 1 band, the imagery of the run .* 3"),
        (image(tmp_path / "wide.tif", dtype="uint16"), "wide.tif has the type uint16, .* uint8"),
        (image(tmp_path / "nowhere.tif", crs=None), "nowhere.tif has no CRS, .* EPSG:32611"),
    ):
        with pytest.raises(SpecError, match=words):
            lab.predict("towns", [path])
    with pytest.raises(
        SpecError, match=r"four.tif has 4 bands, but the model of the run .* needs 5"
    ):
        lab.predict("towns", four, bands=[5, 2, 1])
    with pytest.raises(SpecError, match=r"2 bands of .*four.tif are named, but .* takes 3"):
        lab.predict("towns", four, bands=[2, 1])
    small = write(tmp_path / "small.tif", np.zeros((4, 6), np.uint8))
    with pytest.raises(SpecError, match=r"small.tif have 6 × 4 px, their image .* 8 × 8 px"):
        lab.predict("towns", tmp_path / "own.tif", labels=small)
    with pytest.raises(SpecError, match=r"integers from 1, got \[0, 1, 2\]"):
        lab.predict("towns", four, bands=[0, 1, 2])
    assert list(lab.runs()["kind"]) == ["training"]  # nothing was started


def test_missing_files_runs_without_a_model_and_invalid_options_are_refused(
    lab: Lab, tmp_path: Path
) -> None:
    own = str(tmp_path / "own.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(NotFound, match=r"gone.tif does not exist"):
        lab.predict("towns", tmp_path / "gone.tif")
    with pytest.raises(NotFound, match=r"x-\*.tif matches no file"):
        lab.predict("towns", f"{tmp_path}/x-*.tif")
    with pytest.raises(RasterError, match=r"text.tif is not a raster"):
        lab.predict("towns", tmp_path / "text.tif")
    with pytest.raises(SpecError, match=r"predict needs images, got none"):
        lab.predict("towns", [])
    with pytest.raises(SpecError, match=r"files in labels have no scene of the same name: labels"):
        lab.predict("towns", own, labels=[own, own.replace("own", "labels")])
    with pytest.raises(SpecError, match=r"Give a path, a URI or a STAC item"):
        lab.predict("towns", [3])
    failed = Made(lab.store).ended(state="failed", step="train", experiment="others")
    with pytest.raises(NotFound, match=r"has no model: it has the state 'failed' in train"):
        lab.predict(failed, own)
    with pytest.raises(SpecError, match=r"predict needs exactly one run, got 2"):
        lab.predict(["towns", "others"], own)
    with pytest.raises(SpecError, match=r"overlap must be a fraction from 0 to 0.9, .* got 32"):
        lab.predict("towns", own, overlap=32)


def test_code_in_a_bundle_is_refused_unless_it_is_trusted(lab: Lab, tmp_path: Path) -> None:
    run = lab.run(lab.runs().index[0])
    own = str(tmp_path / "own.tif")
    described = config([scene("own", own, own, "rv/predict/own")])
    put_bundle(lab, run, bundle_of(described, transform_py=b"print()"))
    with pytest.raises(SpecError, match=r"contains transform.py, which loading the model executes"):
        lab.predict(run, own)
    put_bundle(lab, run, b"nothing")
    with pytest.raises(StoreError, match=r"is not one of Raster Vision"):
        lab.predict(run, own)
    unread = {"type_hint": "xarray_source", "stac": {}}
    put_bundle(lab, run, bundle_of(config([scene("own", unread, own, "rv/predict/own")])))
    with pytest.raises(SpecError, match=r"New images cannot replace .*: a xarray_source is not"):
        lab.predict(run, own)


def test_files_of_several_sources_are_checked_each_with_both_values(
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = lab.run(lab.runs().index[0])
    own, dem = str(tmp_path / "own.tif"), image(tmp_path / "dem.tif", 1)

    def train_on(transformers: Sequence[Any] = (), **more: Any) -> None:
        parts = [raster_source(own), raster_source(dem, transformers=list(transformers))]
        source = {"type_hint": "multi_raster_source", "raster_sources": parts, **more}
        source = {"channel_order": None, "transformers": []} | source
        described = config([scene("own", source, own, "rv/predict/own")])
        put_bundle(lab, run, bundle_of(described))

    train_on()
    far = image(tmp_path / "far.tif", 1, transform=Affine(0.5, 0, 664_000, 0, -0.5, 3_999_000))
    nowhere = image(tmp_path / "nowhere.tif", 1, crs=None)
    wide = image(tmp_path / "wide.tif", 1, dtype="float32")
    five = image(tmp_path / "five.tif", 5)
    for images, words in (
        (
            (dem, own),
            r"dem.tif has 1 band, source 1 of the imagery of the run .* 3\. A scene needs",
        ),
        (
            (own, own),
            r"own.tif has 3 bands, source 2 of the imagery of the run .* 1\. A scene needs",
        ),
        ((own, wide), r"wide.tif has the type float32, source 2 of .* uint8"),
        ((own, nowhere), r"nowhere.tif has no CRS, source 2 of .* EPSG:32611"),
        ((own, far), r"far.tif is elsewhere: it has x from 664000 to 664004, .* x from 663000 to"),
        ([own, dem], r"own.tif has 3 bands, but the model .* takes 4 of 2 sources. Give a tuple"),
        (five, r"five.tif has 5 bands, but the model of the run .* takes 4 of 2 sources"),
    ):
        with pytest.raises(SpecError, match=words):
            lab.predict(run, images)
    monkeypatch.setattr(_commands, "open_lab", lambda _: lab)
    assert main(["predict", run.id, "--source", dem, "--source", own]) == 1
    assert "source 1 of the imagery of the run" in capsys.readouterr().err
    for command in (["predict", run.id], ["predict", run.id, own, "--source", dem]):
        assert main(command) == 1
        assert "predict needs images, or a --source for each source" in capsys.readouterr().err
    with pytest.raises(SpecError, match=r"3 bands of .*five.tif are named, but .* takes 4"):
        lab.predict(run, five, bands=[1, 2, 3])
    train_on([{"type_hint": "cast_transformer"}])
    with pytest.raises(SpecError, match=r"replace them all, because its sources have transformers"):
        lab.predict(run, five, bands=[1, 2, 3, 4])
    train_on(temporal=True)
    with pytest.raises(SpecError, match=r"replace them all, because it is a time series"):
        lab.predict(run, five, bands=[1, 2, 3, 4])
    Path(dem).unlink()
    train_on()
    with (
        pytest.warns(UserWarning, match=r"Only the number of bands of the images is checked"),
        pytest.raises(NotFound, match=r"gone.tif does not exist"),
    ):
        lab.predict(run, (own, tmp_path / "gone.tif"))
    assert list(lab.runs()["kind"]) == ["training"]


def test_file_of_a_prediction_is_saved_in_the_folder_only(lab: Lab, tmp_path: Path) -> None:
    own = tmp_path / "own.tif"
    size = own.stat().st_size
    files = pd.DataFrame(
        [["town", "labels_copy", str(own), size]], columns=["scene", "kind", "uri", "bytes"]
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out/town_labels.tif").write_bytes(b"x" * size)  # of another prediction
    (saved,) = save_prediction(lab.store, files, tmp_path / "out")
    assert saved.read_bytes() == own.read_bytes()
    for name in ("../town", f"{tmp_path}/town", ".."):
        with pytest.raises(SpecError, match="which cannot name a file"):
            save_prediction(lab.store, files.assign(scene=name), tmp_path / "out")


def test_imagery_that_cannot_be_read_is_not_compared(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "own.tif").unlink()
    with (
        pytest.warns(UserWarning, match=r"Only the number of bands of the images is checked"),
        pytest.raises(NotFound, match=r"gone.tif does not exist"),
    ):
        lab.predict("towns", tmp_path / "gone.tif")


def test_predictions_are_not_ranked_with_runs_that_train(tmp_path: Path) -> None:
    made = Made(Store(tmp_path))
    model = made.ended({"lr": 0.1}, {"f1": 0.5})
    made.ended({"overlap": 0.25}, {"f1": 0.9}, kind="prediction", parent=model.id)
    lab = Lab(made.store)
    table = lab.runs("towns")
    assert list(table["kind"]) == ["training", "prediction"]
    assert list(compare.board(table).index) == [model.id]
    assert lab.best("towns") == model
    assert lab.experiments()["metrics.f1"].item() == 0.5
    only = table[table["kind"] == "prediction"]
    assert list(compare.board(only)["metrics.f1"]) == [0.9]
    assert list(lab.lineage(model)["changed"].dropna()) == ["prediction"]
    with pytest.raises(Exception, match=r"kind must be one of training, prediction, got 'rest'"):
        Spec.from_record({**made.spec().record(), "kind": "rest"}, "spec.json")


def test_recipe_of_predictions_is_not_listed_but_declares_its_kind(tmp_path: Path) -> None:
    assert not [name for name in shipped_recipes() if "prediction" in name]
    assert own_recipe("prediction").signature.kind == "prediction"
    assert find_recipe("synthetic_town").signature.kind == "training"
    (tmp_path / "odd.py").write_text("RUN_KIND = 'rest'\ndef get_config(runner): ...\n")
    with pytest.raises(
        SpecError, match=r"RUN_KIND must be one of training, prediction, got 'rest'"
    ):
        find_recipe(tmp_path / "odd.py")
    assert PredictOptions(overlap=None).overlap is None


def predicted(lab: Lab, run: Run, scene_id: str, kind: str = "labels") -> Any:
    """Return the file of a scene's prediction: an array, or parsed JSON."""
    files = lab.artifacts(run)
    rows = files[(files["step"] == "predict") & (files["scene"] == scene_id)]
    with lab.open(rows.loc[rows["kind"] == kind, "uri"].item()) as file:
        if kind == "vectors":
            return json.load(file)
        with rasterio.open(file) as raster:
            return raster.read()


def imagery(lab: Lab, ending: str) -> str:
    """Return the pattern of the scenes that a recipe has drawn in the store."""
    return f"{lab.store.uri}/_data/**/{ending}"


@pytest.mark.slow
def test_prediction_equals_the_run_on_its_own_scenes(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lab, first, scored = trained.lab, trained.runs["first"], trained.runs["no chips"]
    images = imagery(lab, "validation-?.tif")
    options: dict[str, Any] = {"overlap": None, "experiment": "same"}
    runs = [
        lab.predict(first, images, scores=False, splits=2, **options),
        lab.predict(scored, images, labels=imagery(lab, "validation-?-labels.tif"), **options),
    ]
    monkeypatch.setattr(_commands, "open_lab", lambda _: lab)
    out = tmp_path / "out"
    command = ["predict", scored.id, imagery(lab, "test-0.tif"), "-e", "same", "-o", str(out)]
    assert main(command) == 0
    names = ["test-0.gpkg", "test-0_labels.tif", "test-0_scores.tif"]
    paths = [out / name for name in names]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    lab.wait(runs, progress=False)
    table = lab.runs("same")
    others = [uri for uri in table["uri"] if uri not in {run.uri for run in runs}]
    runs += [Run.from_uri(uri) for uri in others]
    table = table.loc[[run.id for run in runs]]
    assert list(table["state"]) == ["succeeded"] * 3, table["error"]
    assert list(table["kind"]) == ["prediction"] * 3
    assert list(table["parent"]) == [first.id, scored.id, scored.id]

    for run, model in zip(runs, (first, scored), strict=False):
        for name in ("validation-0", "validation-1"):
            assert np.array_equal(predicted(lab, run, name), predicted(lab, model, name))
    ours = predicted(lab, runs[1], "validation-0", "scores")
    assert np.array_equal(ours, predicted(lab, scored, "validation-0", "scores"))

    # Scored scenes have the metrics of the run; others have none, and no step eval.
    row = lab.runs(scored).iloc[0]
    assert table["metrics.f1"].tolist()[1:2] == [row["metrics.f1"]]
    assert set(lab.evals(runs[1])["group"]) == {"test"}
    steps = lab.steps(runs[0])
    assert list(zip(steps["step"], steps["split"].fillna(-1), strict=True)) == [
        *[("configure", -1), ("predict", 0), ("predict", 1), ("summarize", -1)]
    ]
    kinds = lab.artifacts(runs[2])["kind"].tolist()
    assert sorted(kinds) == sorted(
        ["config", "geopackage", "labels", "labels_copy", "pixel_hits", "scores", "scores_copy"]
    )

    with rasterio.open(paths[1]) as labels, rasterio.open(paths[2]) as scores:
        assert np.array_equal(labels.read(1), predicted(lab, runs[2], "test-0")[0])
        assert (labels.crs, scores.count) == ("EPSG:32632", 3)
    assert [len(row) for row in grid(plot.predictions(table.iloc[[2]]))] == [2]  # without truth
    assert [len(row) for row in grid(plot.predictions(table.iloc[[1]]))] == [3, 3]
    page = render_summary_page(load_run_summary(runs[2]))  # an output of the pipeline
    assert "Image and prediction of scenes without labels." in page


@pytest.mark.slow
def test_prediction_of_several_sources_equals_the_run_on_its_own_scenes(
    tmp_path: Path, python: Path
) -> None:
    lab = Lab(tmp_path / "store", WarmLocal(python=str(python)))
    recipe = TINY.with_name("tiny_sources.py")
    options: dict[str, Any] = {"folder": str(tmp_path / "data"), "kind": "sensors", "epochs": 1}
    model = lab.submit(recipe, experiment="sensors", **options)
    assert lab.wait(model, progress=False)["state"].tolist() == ["succeeded"], lab.logs(model)
    known = lab.store.get_json(model.key("rv", "pipeline-config.json"))["dataset"]
    files = [
        tuple(part["uris"][0] for part in one["raster_source"]["raster_sources"])
        for one in known["validation_scenes"]
    ]
    both, stacked = (str(tmp_path / f"{name}.tif") for name in ("both", "stacked"))
    for path in (both, stacked):
        shutil.copy(files[0][0], path)
    # With one image for both sources, the channels of the model are those of the image.
    images = [*files, (both, both), stacked]
    run = lab.predict(model, images, overlap=None, scores=False)
    table = lab.wait(run, progress=False)
    assert table["state"].tolist() == ["succeeded"], lab.logs(run)
    names = [one["id"] for one in known["validation_scenes"]]
    for name in names:
        assert np.array_equal(predicted(lab, run, name), predicted(lab, model, name))
    assert np.array_equal(predicted(lab, run, "both"), predicted(lab, run, "stacked"))
    assert [len(row) for row in grid(plot.predictions(table))] == [2] * 4


@pytest.mark.extended
@pytest.mark.parametrize("task", ["trained_cc", "trained_od"])
def test_cells_and_boxes_are_predicted_as_by_the_run(
    task: str, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(task)
    lab, model = trained.lab, trained.runs["first"]
    labels = {"validation-0": imagery(lab, "*384px/validation-0*.geojson")}
    run = lab.predict(model, imagery(lab, "*384px/validation-?.tif"), labels=labels)
    table = lab.wait(run, progress=False)
    assert table["state"].item() == "succeeded", table["error"].item()
    for name in ("validation-0", "validation-1"):
        assert predicted(lab, run, name, "vectors") == predicted(lab, model, name, "vectors")
    assert "geopackage" in set(lab.artifacts(run)["kind"])
    ours, theirs = (lab.evals(one) for one in (run, model))
    assert set(ours["scene"].dropna()) == {"validation-0"}  # validation-1 has no labels

    def values(table: pd.DataFrame) -> list[float]:
        return list(table.loc[table["scene"] == "validation-0", "value"].dropna())

    assert values(ours) == values(theirs)
