"""Adopted outputs with areas of interest are counted as the runs of rvlab are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform

from rvlab import Lab, compare
from rvlab.metrics import f1, iou
from rvlab.worker import rv_evaluation
from rvlab.worker.outside_aoi import count_outside_aoi

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:Implicitly cleaning up:ResourceWarning",  # Raster Vision's
)

SIDE, PLACE = 96, from_origin(500_000, 5_400_000, 0.5, 0.5)
CLASSES = {"names": ["ground", "roof"], "null_class": "ground"}


@pytest.fixture(autouse=True)
def unpatched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start with an unpatched Raster Vision."""
    from rastervision.core.evaluation import SemanticSegmentationEvaluator

    original = SemanticSegmentationEvaluator.evaluate_scene
    monkeypatch.setattr(SemanticSegmentationEvaluator, "evaluate_scene", original)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def write_ids(path: Path, ids: np.ndarray[Any, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"width": SIDE, "height": SIDE, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", "GTiff", crs="EPSG:32632", transform=PLACE, **size) as file:
        file.write(ids, 1)
    return str(path)


def write_areas(path: Path, *rings: list[tuple[float, float]]) -> str:
    """Write polygons with corners in pixels (column, row)."""
    features = []
    for ring in rings:
        xs, ys = zip(*(PLACE * at for at in [*ring, ring[0]]), strict=True)
        lon, lat = transform("EPSG:32632", "EPSG:4326", xs, ys)
        shape = {"type": "Polygon", "coordinates": [list(zip(lon, lat, strict=True))]}
        features.append({"type": "Feature", "properties": {}, "geometry": shape})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def evaluated(folder: Path, root: str, *, areas: str, image: str | None = None) -> Path:
    """Write the outputs of a run that Raster Vision itself evaluates, and return its folder."""
    from rastervision.core import data as rv
    from rastervision.core.evaluation import SemanticSegmentationEvaluatorConfig
    from rastervision.core.rv_pipeline import SemanticSegmentationConfig
    from rastervision.pipeline.config import save_pipeline_config
    from rastervision.pytorch_backend import PyTorchSemanticSegmentationConfig
    from rastervision.pytorch_learner import (
        SemanticSegmentationImageDataConfig,
        SemanticSegmentationModelConfig,
        SolverConfig,
    )

    source = rv.RasterioSourceConfig(uris=image or str(folder / "truth.tif"), channel_order=[0])
    truth = rv.RasterioSourceConfig(uris=str(folder / "truth.tif"))
    scene = rv.SceneConfig(
        id="v",
        raster_source=source,
        label_source=rv.SemanticSegmentationLabelSourceConfig(raster_source=truth),
        aoi_uris=[areas],
    )
    config = SemanticSegmentationConfig(
        root_uri=str(folder / root),
        dataset=rv.DatasetConfig(
            class_config=rv.ClassConfig(**CLASSES), train_scenes=[], validation_scenes=[scene]
        ),
        backend=PyTorchSemanticSegmentationConfig(
            model=SemanticSegmentationModelConfig(),
            solver=SolverConfig(),
            data=SemanticSegmentationImageDataConfig(img_channels=1),
        ),
        evaluators=[SemanticSegmentationEvaluatorConfig()],
    )
    config.update()
    save_pipeline_config(config, config.get_config_uri())
    rng = np.random.default_rng(0)
    ids = np.where(rng.random((SIDE, SIDE)) < 0.2, 1 - truth_ids(), truth_ids()).astype(np.uint8)
    write_ids(Path(config.predict_uri) / "v" / "labels.tif", ids)
    config.build(str(folder)).eval()
    return Path(config.root_uri)


def truth_ids() -> np.ndarray[Any, Any]:
    return (np.random.default_rng(1).random((SIDE, SIDE)) < 0.3).astype(np.uint8)


@pytest.fixture
def areas(tmp_path: Path) -> str:
    """Two areas, one of them at an angle and over the edge."""
    write_ids(tmp_path / "truth.tif", truth_ids())
    return write_areas(
        tmp_path / "areas.json",
        [(3, 5), (40.5, 5), (40.5, 60.2), (3, 60.2)],
        [(50, 50), (130, 61), (70, 95)],
    )


def test_adopted_run_has_the_metrics_and_the_evaluation_set_of_rvlab(
    tmp_path: Path, areas: str
) -> None:
    plain = evaluated(tmp_path, "plain", areas=areas)
    rv_evaluation.patch_segmentation_evaluation()
    ours = evaluated(tmp_path, "ours", areas=areas)
    raw = json.loads((ours / "eval/validation_scenes/eval.json").read_text())
    counted = next(i for i in raw["per_scene"]["v"] if rv_evaluation.OUTSIDE_AOI in i)
    config = json.loads((plain / "pipeline-config.json").read_text())
    outside = count_outside_aoi(config, ["v"])
    assert dict(outside.pixels) == {"v": counted[rv_evaluation.OUTSIDE_AOI]}
    assert not outside.problems

    lab = Lab(tmp_path / "lab")
    lab.adopt(plain)
    lab.adopt(ours)
    table = lab.runs()
    assert table["eval_set"].nunique() == 1
    names = [n for n in table if n.startswith("metrics.") and "rv_average" not in n]
    assert (table[names].nunique() == 1).all()
    matrix = np.array(next(i for i in raw["overall"] if "class_id" not in i)["conf_mat"])
    matrix[0, 0] -= outside.pixels["v"]
    assert table["metrics.f1.ground"].iloc[0] == pytest.approx(f1(matrix)[0])
    assert table["metrics.iou.roof"].iloc[0] == pytest.approx(iou(matrix)[1])
    board = compare.board(table)
    assert board["rank"].tolist() == [1, 1]


def test_run_whose_areas_cannot_be_counted_has_its_own_evaluation_set(
    tmp_path: Path, areas: str
) -> None:
    plain = evaluated(tmp_path, "plain", areas=areas)
    lab = Lab(tmp_path / "lab")
    lab.adopt(plain)
    Path(areas).write_text("{")
    with pytest.warns(UserWarning, match=r"pixels of scene v outside its areas of interest cannot"):
        lab.adopt(plain, experiment="again")
    table = lab.runs().set_index("experiment")
    assert table["eval_set"].nunique() == 2
    flattered = table.loc["again", "metrics.f1.ground"] - table.loc["adopted", "metrics.f1.ground"]
    assert flattered > 0.05


def test_area_over_the_whole_scene_leaves_nothing_outside(tmp_path: Path, areas: str) -> None:
    end = SIDE + 5
    whole = write_areas(tmp_path / "whole.json", [(-5, -5), (end, -5), (end, end), (-5, end)])
    root = evaluated(tmp_path, "plain", areas=whole)
    config = json.loads((root / "pipeline-config.json").read_text())
    assert dict(count_outside_aoi(config, ["v"]).pixels) == {"v": 0}
    assert dict(count_outside_aoi(config, ["other"]).pixels) == {}
