"""Registration of predictions of any program, with their truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from rvlab import Lab, compare, plot
from rvlab.errors import RasterError, SpecError
from rvlab.metrics import macro_f1
from rvlab.raster import SceneLabels
from rvlab.raster.scene import load_run_source
from rvlab.store import Store, rv_outputs
from tests.conftest import Trained
from tests.exchange.test_adopt_lightning import write_log
from tests.raster.samples import CORNER, photo, town, write

NAMES = ["background", "building", "road"]
SIZE = (96, 128)
Ids = NDArray[np.uint8]


# Beside a real run of Raster Vision


@pytest.fixture
def beside(trained: Trained, tmp_path: Path) -> Lab:
    """A lab of its own on the same server, with the RV run ``first`` adopted into it."""
    store = trained.lab.store
    lab = Lab(Store(f"s3://{store.bucket}/beside-{tmp_path.name}", store.access))
    lab.adopt(trained.runs["first"].rv_uri, experiment="theirs")
    return lab


def files_of(trained: Trained, kind: str) -> str:
    """Return a glob of the images or labels of the validation scenes of a run."""
    config = rv_outputs.read_rv_config(trained.lab.store, trained.runs["first"])
    scene = config["dataset"]["validation_scenes"][0]
    source = scene["raster_source"] if kind == "image" else scene["label_source"]["raster_source"]
    uri = str(source["uris"][0])
    assert "validation-0" in uri
    return uri.replace("validation-0", "validation-?")


def test_predictions_of_raster_vision_have_the_metrics_that_it_reported(
    trained: Trained, beside: Lab
) -> None:
    """The labels of a real run, adopted as predictions of an unknown program."""
    first = trained.runs["first"]
    (own,) = beside.adopt(
        predictions=f"{first.rv_uri}/predict/validation-?/labels.tif",
        truth=files_of(trained, "labels"),
        images=files_of(trained, "image"),
        classes=NAMES,
        null="background",
    )
    row, original = beside.runs().loc[own.id], trained.row("first")
    assert row["eval_set"] == original["eval_set"]
    names = [n for n in trained.table if n.startswith("metrics.") and "test." not in n]
    for name in names:
        assert row.get(name) == original[name] or "rv_average" in name or pd.isna(original[name])
    assert "metrics.object_f1" in names
    for table in ("confusion", "scenes", "objects"):
        left, right = (
            getattr(lab, table)(run).query("group == 'validation'").drop(columns=["run", "name"])
            for lab, run in ((beside, own), (trained.lab, first))
        )
        assert len(left)
        pd.testing.assert_frame_equal(left.reset_index(drop=True), right.reset_index(drop=True))


def test_run_of_another_program_is_compared_with_one_of_raster_vision(
    trained: Trained, beside: Lab, tmp_path: Path
) -> None:
    first = load_run_source(trained.runs["first"].id, trained.runs["first"].uri)
    rng = np.random.default_rng(0)
    truth, matrix = {}, np.zeros((3, 3), int)
    for name in ("validation-0", "validation-1"):
        labels = SceneLabels.of_run(first, name)
        truth[name] = labels.truth()
        guess = np.where(rng.random(truth[name].shape) < 0.2, 0, truth[name]).astype(np.uint8)
        np.add.at(matrix, (truth[name], guess), 1)
        place = {"crs": labels.grid.crs, "transform": labels.grid.transform}
        write(tmp_path / f"out/pred_{name}.tif", guess, **place)
    log = write_log(tmp_path / "logs/version_0", hparams="lr: 0.5\nmodel: unet\n")
    given: dict[str, Any] = {"predictions": tmp_path / "out", "params": {"note": "by hand"}}
    (own,) = beside.adopt(
        log,
        truth=files_of(trained, "labels"),
        images=files_of(trained, "image"),
        classes=NAMES,
        null="background",
        **given,
    )
    (same,) = beside.adopt(truth=trained.runs["first"], name="as its scenes", **given)

    table = beside.runs()
    row = table.loc[own.id]
    assert set(table["eval_set"]) == {trained.row("first")["eval_set"]}
    assert row["metrics.f1"] == pytest.approx(float(macro_f1(matrix)))
    assert row[["name", "recipe", "params.lr", "params.note"]].tolist() == [
        "version_0", "lightning", 0.5, "by hand",
    ]  # fmt: skip
    assert row["metrics.train_loss"] == 0.75
    assert beside.history(own)["train_loss"].tolist() == [1.25, 0.75]
    kinds = beside.artifacts(own)["kind"].value_counts()
    assert kinds[["labels", "labels_copy", "weights"]].tolist() == [2, 2, 1]
    metrics = ["metrics.f1", "metrics.object_f1", "metrics.count_error"]
    assert row[metrics].tolist() == table.loc[same.id, metrics].tolist()
    scenes = beside.scenes().groupby("scene")[["labels", "grid", "image"]].nunique()
    assert (scenes.loc[list(truth)] == 1).all(axis=None)

    board = compare.board(table)
    assert sorted(board["rank"]) == [1, 1, 3]
    theirs = table.query("experiment == 'theirs'").index[0]
    result = compare.test(table.loc[own.id], table.loc[theirs])
    assert "over 2 scenes" in str(result)
    assert compare.test(table.loc[own.id], table.loc[theirs], metric="object_f1")
    worst = beside.windows(table, size=64, n=2)
    figure = plot.predictions(table, worst)
    assert len([image for ax in figure.axes for image in ax.images]) == 2 * 5
    objects = beside.objects(table)
    assert set(objects["run"]) == set(table.index)
    beside.viewer(table).close()


# Formats of predictions and truth


class Case:
    """Two scenes in a folder, whose predictions have random errors."""

    def __init__(self, root: Path) -> None:
        self.root = root
        rng = np.random.default_rng(1)
        self.truth = {f"town-{i}": town(*SIZE, seed=i) for i in range(2)}
        self.guess = {
            name: np.where(rng.random(SIZE) < 0.2, 0, ids).astype(np.uint8)
            for name, ids in self.truth.items()
        }

    def matrix(self, ignore: Callable[[Ids, Ids], Any] | None = None) -> NDArray[np.int64]:
        """Return the confusion matrix without the pixels that `ignore` selects."""
        found = np.zeros((3, 3), np.int64)
        for name, ids in self.truth.items():
            guess = self.guess[name]
            left = np.ones(SIZE, bool) if ignore is None else ~ignore(ids, guess)
            np.add.at(found, (ids[left], guess[left]), 1)
        return found

    def write(
        self,
        truth: Callable[[Ids], Any] | None = lambda ids: ids,
        guess: Callable[[Ids], Any] = lambda ids: ids,
        *,
        truth_profile: dict[str, Any] | None = None,
        guess_profile: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write the files, and return arguments of `Lab.adopt`."""
        for name, ids in self.truth.items():
            write(self.root / f"images/{name}.tif", photo(ids))
            write(self.root / f"out/{name}.tif", guess(self.guess[name]), **(guess_profile or {}))
            if truth is not None:
                write(self.root / f"truth/{name}.tif", truth(ids), **(truth_profile or {}))
        return {
            **{kind: self.root / folder for kind, folder in (("predictions", "out"),)},
            **{"truth": self.root / "truth", "images": self.root / "images"},
            "classes": NAMES,
        }


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


COLORS = np.array([[40, 40, 40], [200, 30, 30], [250, 250, 10]], np.uint8)


def probabilities(ids: Ids) -> NDArray[np.float32]:
    return np.moveaxis(np.eye(3, dtype=np.float32)[ids], -1, 0) * np.float32(0.8) + np.float32(0.05)


def in_corner(ids: Ids, _: Any = None) -> NDArray[np.bool_]:
    return np.add.outer(np.arange(ids.shape[0]), np.arange(ids.shape[1])) < 40


def with_255(ids: Ids) -> Ids:
    return np.where(in_corner(ids), 255, ids).astype(np.uint8)


def recoded(ids: Ids) -> NDArray[np.int16]:
    return ids.astype(np.int16) * -300 + 1000


def painted(ids: Ids) -> Ids:
    return np.moveaxis(COLORS[ids], -1, 0)


HEXES = ["#{:02x}{:02x}{:02x}".format(*color) for color in COLORS.tolist()]

FORMATS: dict[str, tuple[dict[str, Any], dict[str, Any], Any]] = {
    "ids": ({}, {}, None),
    "null class": ({}, {"null": "background"}, None),
    "other values": (
        {"truth": recoded, "guess": recoded},
        {"classes": {"road": 400, "background": 1000, "building": 700}},
        None,
    ),
    "colors": ({"truth": painted, "guess": painted},
               {"classes": dict(zip(NAMES, HEXES, strict=True))}, None),
    "value of pixels without a label": ({"truth": with_255}, {"null": 255}, in_corner),
    "nodata in the truth": ({"truth": with_255, "truth_profile": {"nodata": 255}}, {}, in_corner),
    "predictions of pixels without a label": (
        {"truth": with_255, "guess": with_255},
        {"classes": [*NAMES, "null"], "null": 255},
        in_corner,
    ),
    "unused nodata": (
        {"truth_profile": {"nodata": 255}, "guess_profile": {"nodata": 77}}, {}, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_classes_are_counted_in_each_format(lab: Lab, case: Case, kind: str) -> None:
    files, more, ignore = FORMATS[kind]
    (run,) = lab.adopt(**case.write(**files) | more)
    found = lab.confusion(run).query("scene.isna() and truth != 'null'")
    matrix = found.pivot(index="truth", columns="prediction", values="count")
    expected = case.matrix(ignore)
    np.testing.assert_array_equal(matrix.loc[NAMES, NAMES], expected)
    row = lab.runs().loc[run.id]
    assert row["metrics.f1"] == pytest.approx(float(macro_f1(expected)))
    objects, windows = lab.objects(run), lab.windows(run, size=64)
    assert objects["area_m2"].notna().all()
    assert windows["score"].gt(0).any()
    drawn = [image for ax in plot.predictions(lab.runs()).axes for image in ax.images]
    assert [image.get_array().shape[:2] for image in drawn] == [SIZE] * 6
    for name in case.truth:  # the copy has class ids
        (copy,) = lab.artifacts(run).query(f"kind == 'labels_copy' and scene == '{name}'")["uri"]
        source = load_run_source(run.id, run.uri).scene(name)
        assert source is not None
        assert source.prediction_uri == copy


@pytest.mark.parametrize("as_bytes", [False, True])
def test_largest_score_is_the_prediction(lab: Lab, case: Case, as_bytes: bool) -> None:
    def scores(ids: Ids) -> Any:
        found = probabilities(ids)
        return np.round(found * 255).astype(np.uint8) if as_bytes else found

    given = case.write(guess=scores)
    (run,) = lab.adopt(scores=given.pop("predictions"), **given)
    row = lab.runs().loc[run.id]
    assert row["metrics.f1"] == pytest.approx(float(macro_f1(case.matrix())))
    assert row["name"] == "out"
    kinds = lab.artifacts(run)["kind"].value_counts()
    assert kinds[["labels_copy", "scores_copy", "scores"]].tolist() == [2, 2, 2]
    found = lab.objects(run).query("side == 'prediction'")["score"]
    assert found.between(0.8, 0.9).all()
    assert plot.predictions(lab.runs(), show="scores", classes="building")
    confident = lab.windows(run, by="confident_error")
    assert not confident["score"].any()


def test_vector_truth_is_drawn_as_by_raster_vision(lab: Lab, case: Case) -> None:
    import geopandas as gpd
    from shapely import box

    given = case.write(truth=None)
    (case.root / "truth").mkdir()
    for name in case.truth:
        left, top = CORNER @ (10, 20)
        square = box(left, top - 15, left + 20, top)
        place = gpd.GeoDataFrame(geometry=[square], crs="EPSG:32611")
        place.to_file(case.root / f"truth/{name}.gpkg", driver="GPKG")
        case.guess[name] = np.minimum(case.guess[name], 1)
        write(case.root / f"out/{name}.tif", case.guess[name])
    given["classes"] = ["background", "building"]
    (run,) = lab.adopt(**given)
    source = load_run_source(run.id, run.uri)
    for name in case.truth:
        case.truth[name] = SceneLabels.of_run(source, name).truth()
        assert 1100 < (case.truth[name] == 1).sum() < 1300
    expected = case.matrix()[:2, :2]
    found = lab.confusion(run).query("scene.isna() and truth != 'null' and prediction != 'null'")
    np.testing.assert_array_equal(found["count"].to_numpy().reshape(2, 2), expected)
    with pytest.raises(SpecError, match=r"no class is that of the pixels outside. Name it as null"):
        lab.adopt(**given | {"classes": ["ground", "building"]})


def test_fingerprints_are_those_of_raster_visions_configs(lab: Lab, case: Case) -> None:
    from rastervision.core import data as rv

    from rvlab.worker.fingerprint import eval_sets, fingerprint_scenes

    given = case.write()
    vectors = case.root / "vectors"
    vectors.mkdir()
    for name in case.truth:
        (vectors / f"{name}.json").write_text(
            json.dumps({"type": "Feature", "properties": {}, "geometry": {
                "type": "Point", "coordinates": [-115.0, 36.1]}})
        )  # fmt: skip
    names = ["building", "background"]
    for truth, classes, null in ((given["truth"], NAMES, None), (vectors, names, "background")):
        more = {"truth": truth, "classes": classes, "null": null}
        for name in case.truth:
            write(case.root / f"out/{name}.tif", np.zeros(SIZE, np.uint8))
        (run,) = lab.adopt(**given | more)
        ours = lab.scenes(run).set_index("scene")
        config = rv.ClassConfig(names=list(classes), null_class=null)
        config.ensure_null_class()
        scenes = []
        for name in case.truth:
            if null is None:
                source: Any = rv.RasterioSourceConfig(uris=str(truth / f"{name}.tif"))
            else:
                source = rv.RasterizedSourceConfig(
                    vector_source=rv.GeoJSONVectorSourceConfig(
                        uris=str(truth / f"{name}.json"),
                        transformers=[rv.ClassInferenceTransformerConfig(default_class_id=0)],
                    ),
                    rasterizer_config=rv.RasterizerConfig(background_class_id=1),
                )
            image = rv.RasterioSourceConfig(uris=str(case.root / f"images/{name}.tif"))
            labels = rv.SemanticSegmentationLabelSourceConfig(raster_source=source)
            scenes.append(rv.SceneConfig(id=name, raster_source=image, label_source=labels))
        data = rv.DatasetConfig(class_config=config, train_scenes=[], validation_scenes=scenes)
        groups = {"validation": list(case.truth)}
        theirs = fingerprint_scenes({"dataset": data.dict()}, groups)
        expected = theirs.to_pandas().set_index("scene")
        for name in ("labels", "grid", "image"):
            assert ours[name].to_dict() == expected[name].to_dict()
        sets = eval_sets(theirs, config.dict())
        assert lab.runs().loc[run.id, "eval_set"] == sets["validation"]


def test_history_and_parameters_are_those_that_are_given(lab: Lab, case: Case) -> None:
    given = case.write() | {"group": "test", "name": "mine", "params": {"lr": 0.1}}
    given.pop("images")
    history = pd.DataFrame({"epoch": [0, 1], "loss": [1.0, 0.5], "f1": [np.nan, 0.25]})
    (run,) = lab.adopt(**given, history=history, experiment="theirs")
    row = lab.runs().loc[run.id]
    assert row[["name", "recipe", "experiment", "epochs", "params.lr"]].tolist() == [
        "mine", "predictions", "theirs", 2, 0.1,
    ]  # fmt: skip
    assert row["metrics.f1"] == pytest.approx(float(macro_f1(case.matrix())))
    assert lab.history(run).columns.tolist() == ["run", "name", "epoch", "loss", "f1"]
    assert lab.evals(run)["group"].unique().tolist() == ["test"]
    assert plot.predictions(lab.runs())
    assert lab.adopt(**given, history=history, experiment="theirs") == [run]
    (other,) = lab.adopt(**given, history={"loss": [1, 0.5]}, experiment="theirs")
    assert other != run
    for bad in ([1], {"loss": [1], "f1": [1, 2]}, {"loss": ["x"]}):
        with pytest.raises(SpecError, match="history must"):
            lab.adopt(**given, history=bad)


def test_truth_of_a_run_is_counted_again_when_its_labels_were_corrected(
    lab: Lab, case: Case
) -> None:
    given = case.write()
    (first,) = lab.adopt(**given)
    (same,) = lab.adopt(predictions=given["predictions"], truth=first)
    assert lab.adopt(predictions=given["predictions"], truth=first) == [same]
    name, ids = next(iter(case.truth.items()))
    write(case.root / f"truth/{name}.tif", np.zeros_like(ids))
    (corrected,) = lab.adopt(predictions=given["predictions"], truth=first)
    rows = lab.runs([same, corrected])
    assert rows["eval_set"].nunique() == 2
    assert rows["metrics.accuracy"].nunique() == 2


def test_address_of_a_record_is_not_opened_unless_it_is_allowed(lab: Lab, case: Case) -> None:
    given = case.write()
    (first,) = lab.adopt(**given)
    key = first.key("rv", "pipeline-config.json")
    text = lab.store.get(key).decode()
    uri = json.loads(text)["dataset"]["validation_scenes"][0]["label_source"]["raster_source"]
    lab.store.put(key, text.replace(uri["uris"][0], "https://10.0.0.1/labels.tif").encode())
    with pytest.raises(SpecError, match=r"https://10.0.0.1/labels.tif is not opened: the scene"):
        lab.adopt(predictions=given["predictions"], truth=first)


def test_warning_names_files_that_pictures_cannot_open_later(case: Case) -> None:
    lab = Lab(Store("memory://adopted-predictions"))
    with pytest.warns(
        UserWarning, match=r"truth/town-0.tif is counted now, .* rvlab.toml"
    ) as warned:
        (run,) = lab.adopt(**case.write())
    assert [one.filename for one in warned] == [__file__]
    assert lab.runs().loc[run.id, "metrics.object_f1"] > 0


# Files that do not fit


def other_size(case: Case, given: dict[str, Any]) -> None:
    write(case.root / "out/town-1.tif", np.zeros((10, 20), np.uint8))


def other_place(case: Case, given: dict[str, Any]) -> None:
    moved = CORNER @ CORNER.translation(3, 0)
    write(case.root / "out/town-1.tif", case.guess["town-1"], transform=moved)


def no_crs(case: Case, given: dict[str, Any]) -> None:
    write(case.root / "out/town-1.tif", case.guess["town-1"], crs=None)


def no_crs_of_truth(case: Case, given: dict[str, Any]) -> None:
    write(case.root / "truth/town-1.tif", case.truth["town-1"], crs=None)


def small_truth(case: Case, given: dict[str, Any]) -> None:
    write(case.root / "truth/town-1.tif", case.truth["town-1"][:50])


def floats(case: Case, given: dict[str, Any]) -> None:
    write(case.root / "out/town-1.tif", case.guess["town-1"].astype(np.float32))


def other_id(case: Case, given: dict[str, Any]) -> None:
    case.guess["town-1"][40, 7] = 9
    write(case.root / "out/town-1.tif", case.guess["town-1"])


def other_truth_id(case: Case, given: dict[str, Any]) -> None:
    case.truth["town-1"][40, 7] = 255
    write(case.root / "truth/town-1.tif", case.truth["town-1"])


def bands(case: Case, given: dict[str, Any]) -> None:
    write(case.root / "truth/town-1.tif", painted(case.truth["town-1"]))


def logits(case: Case, given: dict[str, Any]) -> None:
    given["scores"] = {
        name: write(case.root / f"scores/{name}.tif", probabilities(ids) * 7 - 2)
        for name, ids in case.guess.items()
    }


def few_scores(case: Case, given: dict[str, Any]) -> None:
    given["scores"] = {
        name: write(case.root / f"scores/{name}.tif", probabilities(ids)[:2])
        for name, ids in case.guess.items()
    }


def not_a_raster(case: Case, given: dict[str, Any]) -> None:
    (case.root / "truth/town-1.tif").write_text("no pixels")


def no_partner(case: Case, given: dict[str, Any]) -> None:
    (case.root / "truth/town-1.tif").unlink()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (other_size, r"Scene town-1: The prediction has 20 × 10 px, the scene 128 × 96 px"),
        (other_place, r"Scene town-1: The prediction starts at map coordinates 663001.5, 3999000"),
        (no_crs, r"town-1: .*/out/town-1.tif has no CRS, but the truth has EPSG:32611. Write the"),
        (no_crs_of_truth, r"/truth/town-1.tif has no CRS, but the prediction has EPSG:32611"),
        (small_truth, r"truth/town-1.tif covers 128 × 50 px of the window's 128 × 96"),
        (floats, r"/out/town-1.tif has values of the type float32, but class ids must be integers"),
        (other_id, r"/out/town-1.tif has the value 9 at column 7, row 40, which is not a class of"),
        (other_truth_id, r"truth/town-1.tif has the value 255 at column 7, row 40.* as null"),
        (bands, r"truth/town-1.tif has 3 bands of uint8. Class ids need one band"),
        (logits, r"scores/town-0.tif has scores from -1.65 to 3.95; they must be from 0 to 1"),
        (few_scores, r"scores/town-0.tif has 2 bands for the classes background, building, road"),
        (not_a_raster, r"Scene town-1: .*truth/town-1.tif is not a raster in a format"),
        (no_partner, r"1 of 2 predictions have no truth of the same name: town-1"),
    ],
)
def test_files_that_do_not_fit_together_adopt_nothing(
    lab: Lab, case: Case, break_it: Callable[[Case, dict[str, Any]], None], message: str
) -> None:
    given = case.write()
    break_it(case, given)
    with pytest.raises((RasterError, SpecError), match=message):
        lab.adopt(**given)
    assert [key for key, _ in lab.store.files()] == ["rvlab.json"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"classes": None}, "adopt needs classes: a list of names"),
        ({"truth": None}, "adopt needs truth, a folder, a glob or a run"),
        ({"classes": "roads"}, "classes must be a list of names, or a dict .*, got 'roads'"),
        ({"classes": ["a", "a"]}, "classes has a name twice: a, a"),
        ({"classes": ["a", 3]}, "The name of a class must be text, got 3"),
        ({"classes": {"a": 1, "b": 1}}, "classes has a value twice"),
        ({"classes": {"a": 1, "b": "red"}}, "classes must have values or colors, not both"),
        ({"classes": {"a": "reddish"}}, "The class 'a' has the color 'reddish'; it must be a name"),
        (
            {"null": "grund"},
            "null must be one of the classes, or a pixel value, got 'grund'. Did you mean",
        ),
        ({"null": 0.5}, "null must be the name of a class or a value, got 0.5"),
        ({"group": "train"}, "group must be validation or test, got 'train'"),
        ({"name": ""}, "name must be text, got ''"),
    ],
)
def test_error_explains_an_invalid_argument(
    lab: Lab, case: Case, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        lab.adopt(**case.write() | more)
    assert lab.runs().empty
