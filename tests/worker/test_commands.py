"""Tests of the config that configure saves, and of the configs that it rejects."""

from __future__ import annotations

import json
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rvlab.errors import StepError
from rvlab.model import Spec
from rvlab.worker import commands
from tests.worker.samples import made

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

RECIPE = """
from rastervision.core.backend import BackendConfig
from rastervision.core.data import *
from rastervision.core.evaluation import SemanticSegmentationEvaluatorConfig
from rastervision.core.rv_pipeline import *
from rastervision.pytorch_backend import *
from rastervision.pytorch_learner import *

def scene(name, uri="images/a.tif", **more):
    return SceneConfig(
        id=name,
        raster_source=RasterioSourceConfig(uris=uri, channel_order=[0]),
        label_source=SemanticSegmentationLabelSourceConfig(
            raster_source=RasterizedSourceConfig(
                vector_source=GeoJSONVectorSourceConfig(uris=["labels.json", "missing.json"]),
                rasterizer_config=RasterizerConfig(background_class_id=1),
            )
        ),
        **more,
    )

def made(root_uri, kind="SemanticSegmentation", test=0, img_sz=64, **more):
    data = globals()[f"{kind}ImageDataConfig"](img_sz=img_sz, num_workers=0)
    return globals()[f"{kind}Config"](
        root_uri=root_uri,
        dataset=DatasetConfig(
            class_config=ClassConfig(names=["a", "b"], null_class="b"),
            train_scenes=[scene("train")],
            validation_scenes=[scene("val", aoi_uris=["labels.json", "s3://b/aoi.json"])],
            test_scenes=[scene("test", "/far/away.tif") for _ in range(test)],
            scene_groups={"mixed": {"train", "val"}, "own": {"val"}, "none": set()},
        ),
        backend=globals()[f"PyTorch{kind}Config"](
            model=globals()[f"{kind}ModelConfig"](
                external_def=ExternalModuleConfig(uri="hub", name="m", entrypoint="net")
            ),
            solver=SolverConfig(),
            data=data,
        ),
        predict_options=globals()[
            "SemanticSegmentationPredictOptions"
            if kind == "SemanticSegmentation" else "ObjectDetectionPredictOptions"
        ](chip_sz=64),
        **more,
    )
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create the folder that a run is submitted from, not the one that configure runs in."""
    folder = tmp_path / "work"
    for name in ("images/a.tif", "labels.json", "hub/hubconf.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.chdir(tmp_path / "scratch")
    monkeypatch.delenv("RVLAB_CWD", raising=False)
    return folder


def configured(tmp_path: Path, ending: str) -> dict[str, Any]:
    """Return the saved config of a recipe with the given body."""
    recipe = f"{RECIPE}\n\ndef get_config(runner, root_uri):\n{textwrap.indent(ending, '    ')}\n"
    store, run = made(tmp_path / "store", recipe)
    spec = Spec.from_record(store.get_json(run.key("spec.json")), "spec.json")
    commands.save_config(store, run, spec, tmp_path / "scratch")
    return store.get_json(run.key("rv", "pipeline-config.json"))


def test_relative_paths_are_resolved_against_the_submit_folder(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RVLAB_CWD", str(here))
    config = configured(tmp_path, "assert open('labels.json')\nreturn made(root_uri, test=1)")
    (train,), (val,), (test,) = (
        config["dataset"][f"{group}_scenes"] for group in ("train", "validation", "test")
    )
    assert train["raster_source"]["uris"] == f"{here}/images/a.tif"
    assert test["raster_source"]["uris"] == "/far/away.tif"
    assert val["aoi_uris"] == [f"{here}/labels.json", "s3://b/aoi.json"]
    vectors = val["label_source"]["raster_source"]["vector_source"]
    assert vectors["uris"] == [f"{here}/labels.json", "missing.json"]  # nothing is guessed
    assert config["backend"]["model"]["external_def"]["uri"] == f"{here}/hub"
    assert config["backend"]["model"]["external_def"]["name"] == "m"
    assert Path.cwd() == tmp_path / "scratch"


def test_relative_paths_are_unchanged_without_the_submit_folder(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RVLAB_CWD", str(tmp_path / "on another machine"))
    config = configured(tmp_path, "return made(root_uri)")
    assert config["dataset"]["train_scenes"][0]["raster_source"]["uris"] == "images/a.tif"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("predict_uri='s3://mine/p'", "predict_uri is 's3://mine/p', outside the run's folder"),
        ("bundle_uri=f'{root_uri}/../bundle'", r"bundle_uri is '.*/rv/\.\./bundle', outside"),
        (
            "evaluators=[SemanticSegmentationEvaluatorConfig(output_uri='/tmp/scores')]",
            r"evaluators\[0\]\.output_uri is '/tmp/scores', outside",
        ),
    ],
)
def test_output_outside_the_run_is_rejected(
    here: Path, tmp_path: Path, more: str, said: str
) -> None:
    with pytest.raises(StepError, match=said) as caught:
        configured(tmp_path, f"return made(root_uri, {more})")
    assert "derive it from root_uri, which is" in str(caught.value)
    assert not list((tmp_path / "store").rglob("pipeline-config.json"))


def test_predictions_outside_the_run_are_rejected(here: Path, tmp_path: Path) -> None:
    store = "SemanticSegmentationLabelStoreConfig(uri='/tmp/p')"
    ending = f"c = made(root_uri)\nc.dataset.validation_scenes[0].label_store = {store}\nreturn c"
    with pytest.raises(StepError, match=r"label_store\.uri of the scene 'val' is '/tmp/p'"):
        configured(tmp_path, ending)


def test_output_elsewhere_in_the_run_is_accepted(here: Path, tmp_path: Path) -> None:
    config = configured(tmp_path, "return made(root_uri, predict_uri=f'{root_uri}/maps')")
    assert config["predict_uri"].endswith("/rv/maps")


def test_object_detection_with_test_scenes_and_chips_is_rejected(
    here: Path, tmp_path: Path
) -> None:
    with pytest.raises(StepError, match=r"1 of the test_scenes have labels, .*GeoDataConfig\."):
        configured(tmp_path, "return made(root_uri, 'ObjectDetection', test=1)")
    configured(tmp_path, "return made(root_uri, 'ObjectDetection')")
    configured(
        tmp_path,
        "c = made(root_uri, 'ObjectDetection', test=1)\n"
        "c.dataset.test_scenes[0].label_source = None\nreturn c",
    )


@pytest.mark.parametrize("group", ["train", "validation"])
def test_training_and_validation_scenes_need_labels(here: Path, tmp_path: Path, group: str) -> None:
    name = "train" if group == "train" else "val"
    with pytest.raises(StepError, match=rf"have no label_source: {name}\. Give them labels, or"):
        configured(
            tmp_path,
            f"c = made(root_uri)\nc.dataset.{group}_scenes[0].label_source = None\n"
            "c.dataset.scene_groups = {}\nreturn c",
        )


def test_ids_that_share_a_folder_are_rejected(here: Path, tmp_path: Path) -> None:
    body = (
        "c = made(root_uri, test=1)\nc.dataset.scene_groups = {}\n"
        "c.dataset.validation_scenes[0].id = 'AOI_2/img/1'\n"
        "c.dataset.test_scenes[0].id = %r\nreturn c"
    )
    with pytest.raises(StepError, match=r"'AOI_2/img/1' would be in the folder of .* 'AOI_2/img'"):
        configured(tmp_path, body % "AOI_2/img")
    configured(tmp_path, body % "AOI_2/im")


def test_recipe_finds_the_files_beside_it(here: Path, tmp_path: Path) -> None:
    """``__file__`` is the recipe's own path, not the copy that the step runs."""
    file = here / "towns.py"
    body = (
        "assert (Path(__file__).parent / 'labels.json').exists(), __file__\nreturn made(root_uri)"
    )
    file.write_text("changed since the submission")
    recipe = f"from pathlib import Path\n{RECIPE}\n\ndef get_config(runner, root_uri):\n"
    recipe += textwrap.indent(body, "    ")
    store, run = made(tmp_path / "store", recipe)
    spec = Spec.from_record(store.get_json(run.key("spec.json")), "spec.json")
    with pytest.raises(AssertionError, match=r"scratch/recipe\.py"):
        commands.save_config(store, run, spec, tmp_path / "scratch")  # as in a pod
    gone = replace(spec, file=str(here / "gone.py"))
    with pytest.raises(AssertionError, match=r"scratch/recipe\.py"):
        commands.save_config(store, run, gone, tmp_path / "scratch")
    commands.save_config(store, run, replace(spec, file=str(file)), tmp_path / "scratch")


@pytest.mark.parametrize("name", ["get_config", "get_configs"])
def test_either_function_of_a_recipe_is_called(here: Path, tmp_path: Path, name: str) -> None:
    recipe = f"{RECIPE}\n\ndef {name}(runner, root_uri):\n    return [made(root_uri)]\n"
    store, run = made(tmp_path / "store", recipe)
    spec = Spec.from_record(store.get_json(run.key("spec.json")), "spec.json")
    commands.save_config(store, run, spec, tmp_path / "scratch")
    assert store.exists(run.key("rv", "pipeline-config.json"))


def test_different_chip_size_in_predict_is_reported(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(tmp_path, "return made(root_uri)")
    assert "Set them equal" not in capsys.readouterr().out
    configured(tmp_path, "return made(root_uri, img_sz=32)")
    assert "predict_options.chip_sz is 64, but img_sz is 32" in capsys.readouterr().out


def test_eval_is_expected_for_groups_whose_scenes_are_predicted(here: Path, tmp_path: Path) -> None:
    from rastervision.pipeline.config import build_config

    config = build_config(json.loads(json.dumps(configured(tmp_path, "return made(root_uri)"))))
    found = commands.expected_outputs(config, "eval", 0, 1)
    assert [uri.split("/")[-2] for uri in found] == ["own", "validation_scenes"]


def test_eval_is_not_expected_for_groups_without_labels(here: Path, tmp_path: Path) -> None:
    from rastervision.pipeline.config import build_config

    body = (
        "c = made(root_uri, test=1)\nc.dataset.test_scenes[0].label_source = None\n"
        "c.dataset.scene_groups = {'both': {'val', 'test'}, 'bare': {'test'}}\nreturn c"
    )
    config = build_config(json.loads(json.dumps(configured(tmp_path, body))))
    found = commands.expected_outputs(config, "eval", 0, 1)
    assert [uri.split("/")[-2] for uri in found] == ["both", "validation_scenes"]


def test_delete_outputs_deletes_folders_and_files_of_the_run(tmp_path: Path) -> None:
    store, run = made(tmp_path / "store")
    names = ["train/log.csv", "train/deep/model.pth", "trained.txt", "predict/a.json", "predict/b"]
    for name in names:
        store.put(run.key("rv", name), b"")
    (tmp_path / "store" / run.key("rv", "eval", "empty")).mkdir(parents=True)
    store.put(run.key("copies", "a", "labels.tif"), b"")
    uris = [f"{run.rv_uri}/{name}" for name in ("train", "predict/a.json", "eval", "nothing")]
    uris += commands._derived_uris(run)
    store.put(run.key("tables", "windows.parquet"), b"")
    store.put(run.key("tables", "evals.parquet"), b"")
    commands.delete_outputs(store, run, [*uris, "s3://elsewhere/rv/train", f"{run.uri}/spec.json"])
    left = [key for key, _ in store.files(run.key("rv"))]
    assert left == [run.key("rv", "predict", "b"), run.key("rv", "trained.txt")]
    assert store.exists(run.key("spec.json"))
    assert store.files(run.key("copies")) == []  # a reader would prefer what is out of date
    assert [key for key, _ in store.files(run.key("tables"))] == [
        run.key("tables", "evals.parquet")
    ]


def test_step_has_as_many_splits_as_have_work() -> None:
    dataset = SimpleNamespace(validation_scenes=[1] * 5, test_scenes=[], train_scenes=[])
    assert [commands._count_pieces(dataset, "predict", n) for n in (1, 2, 3, 4, 9)] == [
        1,
        2,
        3,
        3,
        5,
    ]
