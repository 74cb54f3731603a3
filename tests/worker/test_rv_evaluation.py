"""An evaluation in windows has the values of Raster Vision's, which reads whole scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rvlab.worker import rv_evaluation
from tests.raster.samples import UTM, write

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning"
)

NAMES = ["background", "building", "null"]
HEIGHT, WIDTH = 43, 70


def write_scene(folder: Path, rng: np.random.Generator) -> None:
    """Write labels with ids of no class, and a prediction with pixels that no window covers."""
    write(folder / "image.tif", rng.integers(0, 255, (3, HEIGHT, WIDTH), np.uint8))
    truth = rng.integers(0, 3, (HEIGHT, WIDTH), np.uint8)
    truth[5:9, 30:40] = 255
    write(folder / "truth.tif", truth)
    scores = rng.random((3, HEIGHT, WIDTH), np.float32)
    scores[:2, 20:] = 0.25  # equal scores
    hits = rng.integers(1, 4, (HEIGHT, WIDTH), np.uint8)
    hits[:, -6:] = 0
    write(folder / "labels/labels.tif", scores.argmax(axis=0).astype(np.uint8))
    write(folder / "rgb/labels.tif", rng.choice(np.array([0, 255], np.uint8), (3, HEIGHT, WIDTH)))
    write(folder / "bytes/scores.tif", (scores * 255).round().astype(np.uint8))
    write(folder / "floats/scores.tif", scores)
    for name in ("bytes", "floats"):
        write(folder / name / "labels.tif", np.zeros((HEIGHT, WIDTH), np.uint8))
        np.save(folder / name / "pixel_hits.npy", hits)
    area = {"type": "Polygon", "coordinates": [[[663_003, 3_998_998], [663_020, 3_998_997.3]]]}
    area["coordinates"][0] += [[663_011, 3_998_985], [663_003, 3_998_998]]
    feature = {"type": "Feature", "properties": {"class_id": 1}, "geometry": area}
    crs = {"type": "name", "properties": {"name": UTM}}
    described = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (folder / "truth.geojson").write_text(json.dumps(described))


def build_scene(folder: Path, stored: str, labels: str, classes: Any) -> Any:
    from rastervision.core.data import (
        GeoJSONVectorSourceConfig,
        RasterioSourceConfig,
        RasterizedSourceConfig,
        RasterizerConfig,
        SceneConfig,
        SemanticSegmentationLabelSourceConfig,
        SemanticSegmentationLabelStoreConfig,
    )

    source: Any = RasterioSourceConfig(uris=[str(folder / "truth.tif")])
    if labels == "vector":
        source = RasterizedSourceConfig(
            vector_source=GeoJSONVectorSourceConfig(uris=[str(folder / "truth.geojson")]),
            rasterizer_config=RasterizerConfig(background_class_id=0),
        )
    store = SemanticSegmentationLabelStoreConfig(
        uri=str(folder / stored),
        rgb=stored == "rgb",
        smooth_output=stored in ("bytes", "floats"),
        smooth_as_uint8=stored == "bytes",
    )
    return SceneConfig(
        id="one",
        raster_source=RasterioSourceConfig(uris=[str(folder / "image.tif")]),
        label_source=SemanticSegmentationLabelSourceConfig(raster_source=source),
        label_store=store,
    ).build(classes, str(folder))


@pytest.mark.parametrize(
    ("stored", "labels"),
    [("labels", "raster"), ("rgb", "raster"), ("bytes", "raster"), ("floats", "vector")],
)
def test_evaluation_in_windows_equals_raster_visions(
    stored: str, labels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rastervision.core.data import ClassConfig
    from rastervision.core.evaluation import SemanticSegmentationEvaluator

    owner, name = SemanticSegmentationEvaluator, "evaluate_scene"
    monkeypatch.setattr(owner, name, owner.__dict__[name])
    write_scene(tmp_path, np.random.default_rng(0))
    colors = ["#000000", "#ff0000", "#00ff00"]
    classes = ClassConfig(names=NAMES, colors=colors, null_class="null")
    scene = build_scene(tmp_path, stored, labels, classes)

    def evaluate() -> Any:
        evaluator = SemanticSegmentationEvaluator(classes, str(tmp_path / "eval.json"))
        evaluator.process([scene], str(tmp_path))
        return json.loads((tmp_path / "eval.json").read_text())

    whole = evaluate()
    rv_evaluation.patch_segmentation_evaluation()
    monkeypatch.setattr(rv_evaluation, "WINDOW_ROWS", 16)
    monkeypatch.setattr(rv_evaluation, "WINDOW_COLS", 24)
    read: list[tuple[int, int]] = []
    own = type(scene.label_source).get_label_arr

    def get_label_arr(self: Any, window: Any) -> Any:
        read.append(window.size)
        return own(self, window)

    monkeypatch.setattr(type(scene.label_source), "get_label_arr", get_label_arr)
    assert evaluate() == whole
    assert max(rows for rows, _ in read) == 16
    assert max(cols for _, cols in read) == 24
    counts = np.array(whole["overall"][-1]["conf_mat"])
    assert counts.sum() == HEIGHT * WIDTH
    assert (counts > 0).sum() >= 4
