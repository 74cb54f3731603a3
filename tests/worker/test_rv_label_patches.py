"""Tests of each patch for labels: first Raster Vision's behaviour without it, then with it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from rvlab.worker import rv_label_patches

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::UserWarning",
    "ignore::FutureWarning",
    "ignore:Implicitly cleaning up:ResourceWarning",  # Raster Vision's
)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Undo every patch afterwards, so that each test starts with an unpatched Raster Vision."""
    from rastervision.core.evaluation import ClassificationEvaluator
    from rastervision.pytorch_learner import GeoDataConfig

    monkeypatch.setattr(GeoDataConfig, "build_scenes", GeoDataConfig.build_scenes)
    monkeypatch.setattr(ClassificationEvaluator, "process", ClassificationEvaluator.process)
    monkeypatch.setattr(np, "int0", np.intp, raising=False)
    monkeypatch.delattr(np, "int0")
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def write_raster(path: Path, pixels: np.ndarray[Any, Any]) -> str:
    where = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_400_000, 0.5, 0.5)}
    count, height, width = pixels.shape
    size = {"width": width, "height": height, "count": count, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", **size, **where) as file:
        file.write(pixels)
    return str(path)


def write_polygon(path: Path) -> str:
    """Write one polygon in the middle of the image, with the class 1."""
    from rasterio.warp import transform

    place = from_origin(500_000, 5_400_000, 0.5, 0.5)
    corners = [place * at for at in ((16, 16), (48, 16), (48, 48), (16, 48), (16, 16))]
    xs, ys = transform("EPSG:32632", "EPSG:4326", *zip(*corners, strict=True))
    shape = {"type": "Polygon", "coordinates": [list(zip(xs, ys, strict=True))]}
    feature = {"type": "Feature", "properties": {"class_id": 1}, "geometry": shape}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return str(path)


def pipeline(task: str, folder: Path) -> Any:
    """Return a config of a task with labelled scenes, and a test scene without labels."""
    from rastervision import pytorch_backend, pytorch_learner
    from rastervision.core import data as rv
    from rastervision.core import rv_pipeline as rp

    pixels = np.random.default_rng(0).integers(1, 255, (3, 64, 64)).astype("uint8")
    image = rv.RasterioSourceConfig(uris=write_raster(folder / "image.tif", pixels))
    shapes = rv.GeoJSONVectorSourceConfig(uris=write_polygon(folder / "labels.json"))
    sources: dict[str, Callable[[], Any]] = {
        "SemanticSegmentation": lambda: rv.SemanticSegmentationLabelSourceConfig(
            raster_source=rv.RasterizedSourceConfig(
                vector_source=shapes, rasterizer_config=rv.RasterizerConfig(background_class_id=0)
            )
        ),
        "ChipClassification": lambda: rv.ChipClassificationLabelSourceConfig(
            vector_source=shapes, infer_cells=True, cell_sz=32, background_class_id=0
        ),
        "ObjectDetection": lambda: rv.ObjectDetectionLabelSourceConfig(vector_source=shapes),
    }
    kind = task.removeprefix("Chip")
    sampling = rp.WindowSamplingConfig(size=32, stride=32)
    if task == "ObjectDetection":
        sampling = rp.ObjectDetectionWindowSamplingConfig(size=32, stride=32)

    def scene(name: str, labels: Any = None) -> Any:
        return rv.SceneConfig(id=name, raster_source=image, label_source=labels)

    config = getattr(rp, f"{task}Config")(
        root_uri=str(folder / "run"),
        dataset=rv.DatasetConfig(
            class_config=rv.ClassConfig(names=["ground", "roof"], null_class="ground"),
            train_scenes=[scene("train", sources[task]())],
            validation_scenes=[scene("val", sources[task]())],
            test_scenes=[scene("test")],
        ),
        backend=getattr(pytorch_backend, f"PyTorch{task}Config")(
            model=getattr(pytorch_learner, f"{kind}ModelConfig")(),
            solver=pytorch_learner.SolverConfig(batch_sz=2, num_epochs=1),
            data=getattr(pytorch_learner, f"{kind}ImageDataConfig")(img_sz=32, num_workers=0),
        ),
        chip_options=getattr(rp, f"{task}ChipOptions", rp.ChipOptions)(sampling=sampling),
        predict_options=getattr(rp, f"{task}PredictOptions", rp.PredictOptions)(chip_sz=32),
    )
    config.update()
    return config


BUILDING_ERROR = "module 'numpy' has no attribute 'int0'"


def test_buildings_are_vectorized_under_numpy_2() -> None:
    from rastervision.core.data import BuildingVectorOutputConfig

    mask = np.zeros((64, 64), np.uint8)
    mask[8:24, 8:40] = 1
    output = BuildingVectorOutputConfig(class_id=1, denoise=0)
    with pytest.raises(AttributeError, match=BUILDING_ERROR):  # the quirk
        list(output.vectorize(mask))

    rv_label_patches.patch_numpy_int0()
    (building,) = output.vectorize(mask)
    assert building.area == pytest.approx(16 * 32, rel=0.1)


def chip_names(config: Any, folder: Path) -> set[str]:
    """Run chip and return the folders in its zip."""
    folder.mkdir()
    config.build(str(folder)).chip()
    (path,) = Path(config.chip_uri).glob("*.zip")
    with zipfile.ZipFile(path) as chips:
        names = {name.split("/")[0] for name in chips.namelist()}
    path.unlink()
    return names


def test_test_scene_without_labels_gives_no_chips(tmp_path: Path) -> None:
    from rastervision.pytorch_learner.dataset import ImageDatasetError

    config = pipeline("SemanticSegmentation", tmp_path)

    def build_data(name: str) -> None:
        learner = config.backend.get_learner_config(config)
        learner.data.uri = config.chip_uri
        learner.data.class_config = config.dataset.class_config
        (tmp_path / name).mkdir()
        learner.data.build(str(tmp_path / name))

    config.build(str(tmp_path)).chip()
    with pytest.raises(ImageDatasetError, match="a label file for every image file"):  # the quirk
        build_data("data")

    rv_label_patches.patch_datasets_without_labels()
    for path in Path(config.chip_uri).glob("*.zip"):
        path.unlink()
    assert chip_names(config, tmp_path / "chips") == {"train", "valid"}
    config.build(str(tmp_path)).chip()
    build_data("again")


@pytest.mark.parametrize("task", ["ChipClassification", "ObjectDetection"])
def test_test_scene_without_labels_does_not_end_the_chip_step(task: str, tmp_path: Path) -> None:
    config = pipeline(task, tmp_path)
    with pytest.raises((TypeError, KeyError, AttributeError, IndexError, ValueError)):  # the quirk
        config.build(str(tmp_path)).chip()

    rv_label_patches.patch_datasets_without_labels()
    for path in Path(config.chip_uri).glob("*.zip"):
        path.unlink()
    assert chip_names(config, tmp_path / "chips") == {"train", "valid"}


def predict_class_one(config: Any, tmp_path: Path) -> None:
    """Write a prediction of each predicted scene."""
    for scene in (*config.dataset.validation_scenes, *config.dataset.test_scenes):
        folder = Path(scene.label_store.uri)
        folder.mkdir(parents=True)
        pixels = np.ones((1, 64, 64), np.uint8)
        pixels[:, :8] = 0
        write_raster(folder / "labels.tif", pixels)


def test_scenes_without_labels_are_left_out_of_eval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = pipeline("SemanticSegmentation", tmp_path)
    config.dataset.scene_groups["both"] = {"val", "test"}
    predict_class_one(config, tmp_path)
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'get_labels'"):
        config.build(str(tmp_path)).eval()  # the quirk
    rv_label_patches.patch_evaluation_without_labels()
    config.build(str(tmp_path)).eval()

    written = {path.parent.name: path for path in Path(config.eval_uri).rglob("eval.json")}
    assert set(written) == {"validation_scenes", "both"}
    for path in written.values():
        found = json.loads(path.read_text())
        assert list(found["per_scene"]) == ["val"]
        roof = next(item for item in found["overall"] if item.get("class_id") == 1)
        assert roof["metrics"]["recall"] == 1.0
    assert "Scenes without labels are not scored: test." in capsys.readouterr().out
