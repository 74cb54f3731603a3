"""Adoption of outputs of Raster Vision 0.12 to 0.20."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rvlab import Lab, compare, plot
from rvlab.errors import RecordBroken
from rvlab.raster import SceneLabels
from rvlab.raster.scene import load_run_source
from tests.raster.samples import town, write

NAMES = ["roof", "ground"]


def old_item(
    name: str, number: int | None, p: float | None, r: float | None, n: int, **more: Any
) -> dict[str, Any]:
    """Return an item of Raster Vision 0.12 and 0.13."""
    f1 = 2 * p * r / (p + r) if p and r else None
    numbers = {"precision": p, "recall": r, "f1": f1, "gt_count": n, "count_error": 10}
    return {"class_id": number, "class_name": name, **numbers, **more}


ITEMS = [
    old_item("roof", 0, 0.8, 0.5, 1000, conf_mat=[500.0, 500.0]),
    old_item("ground", 1, 0.9, 0.97, 9000, conf_mat=[270.0, 8730.0]),
    old_item("average", None, 0.89, 0.92, 10_000, conf_mat=[[0.0, 0.0], [500.0, 500.0]]),
]


def output(folder: Path, scored: Any, *, null: str | None = None, says: str | None = None) -> Path:
    """Write outputs as these versions did: no scene groups, and eval.json without a folder."""
    root = says or str(folder)
    config = {
        "type_hint": "semantic_segmentation",
        "root_uri": root,
        "eval_uri": f"{root}/eval",
        "dataset": {
            "class_config": {"names": NAMES, "colors": ["red", "green"], "null_class": null},
            "train_scenes": [scene("t")],
            "validation_scenes": [scene("v")],
        },
        "backend": {"solver": {"lr": 1e-4, "num_epochs": 2}},
        "evaluators": [{"output_uri": f"{root}/eval/eval.json"}],
    }
    for name, text in (
        ("pipeline-config.json", json.dumps(config)),
        ("eval/eval.json", json.dumps(scored)),
        ("train/log.csv", "epoch,train_time,train_loss,val_loss\n0,0:00:05.1,0.7,0.6\n"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def scene(name: str) -> dict[str, Any]:
    source = {"type_hint": "rasterio_source", "uris": [f"/data/{name}.tif"]}
    labels = {"type_hint": "semantic_segmentation_label_source", "raster_source": source}
    return {"id": name, "raster_source": source, "label_source": labels}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


@pytest.mark.parametrize("says", [None, "/opt/data/out"])
@pytest.mark.parametrize("scored", [{"overall": ITEMS, "per_scene": {"v": ITEMS}}, ITEMS])
def test_reported_metrics_are_adopted(
    lab: Lab, tmp_path: Path, scored: Any, says: str | None
) -> None:
    lab.adopt(output(tmp_path / "old", scored, says=says))
    row = lab.runs().iloc[0]
    roof, ground = 8 / 13, 2 * 0.9 * 0.97 / 1.87
    assert row["metrics.f1.roof"] == pytest.approx(roof)
    assert row["metrics.f1"] == pytest.approx((roof + ground) / 2)
    assert row["metrics.precision"] == pytest.approx(0.85)
    assert row["metrics.rv_average_f1"] == pytest.approx(2 * 0.89 * 0.92 / 1.81)
    assert not [name for name in row.index if "iou" in name or "accuracy" in name]
    assert row["params.solver.lr"] == 1e-4
    evals = lab.evals()
    assert set(evals["group"]) == {"validation"}
    count = evals[(evals["metric"] == "truth_count") & evals["scene"].isna()]
    assert dict(zip(count["class"], count["value"], strict=True)) == {"roof": 1000, "ground": 9000}
    assert lab.scenes()["scene"].tolist() == ["v"]
    assert lab.history()["val_loss"].tolist() == [0.6]
    assert lab.confusion().empty


def test_missing_metric_of_a_class_that_occurs_is_zero(lab: Lab, tmp_path: Path) -> None:
    absent = {**old_item("ground", 1, None, None, 0), "count_error": 0}
    items = [old_item("roof", 0, None, 0.0, 50), absent]
    lab.adopt(output(tmp_path / "old", {"overall": items}))
    row = lab.runs().iloc[0]
    assert row["metrics.f1.roof"] == row["metrics.f1"] == 0
    assert "metrics.f1.ground" not in row


def test_null_class_may_have_no_item_and_has_no_metrics(lab: Lab, tmp_path: Path) -> None:
    lab.adopt(output(tmp_path / "old", {"overall": ITEMS[:1]}, null="ground"))
    assert lab.runs().iloc[0]["metrics.f1"] == pytest.approx(8 / 13)


def test_old_metrics_are_not_ranked_with_those_of_later_versions(lab: Lab, tmp_path: Path) -> None:
    lab.adopt(output(tmp_path / "old", {"overall": ITEMS, "per_scene": {"v": ITEMS}}))
    new = tmp_path / "new"
    output(new, {})
    config = json.loads((new / "pipeline-config.json").read_text())
    config["evaluators"] = [{"output_uri": f"{new}/eval"}]
    config["dataset"]["scene_groups"] = {"validation_scenes": ["v"]}
    (new / "pipeline-config.json").write_text(json.dumps(config))
    (new / "eval/eval.json").unlink()
    (new / "eval/validation_scenes").mkdir()
    metrics = {"f1": 0.5, "precision": 0.5, "recall": 0.5}
    classes = [{"class_id": i, "class_name": n, "metrics": metrics} for i, n in enumerate(NAMES)]
    items = [
        *classes,
        {"class_name": "average", "metrics": metrics, "conf_mat": [[5.0, 1], [2, 9]]},
    ]
    scored = {"overall": items, "per_scene": {"v": items}}
    (new / "eval/validation_scenes/eval.json").write_text(json.dumps(scored))
    lab.adopt(new)
    table = lab.runs()
    assert table["eval_set"].nunique() == 2
    with pytest.warns(UserWarning, match="differ in their classes or in the way in which pixels"):
        assert compare.board(table)["rank"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_name": "tree"}, "has the class 'tree' with the id 0"),
        ({"class_id": 5}, "has the class 'roof' with the id 5"),
        ({"precision": "high"}, "has an item without usable metrics"),
        ({"class_id": []}, "has the class 'roof' with the id"),
    ],
)
def test_invalid_item_is_refused(
    lab: Lab, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecordBroken, match=said):
        lab.adopt(output(tmp_path / "old", {"overall": [{**ITEMS[0], **change}]}))


def test_log_of_an_old_run_has_its_times(lab: Lab, tmp_path: Path) -> None:
    lab.adopt(output(tmp_path / "old", {"overall": ITEMS}))
    assert pd.notna(lab.history()["train_time_s"]).all()


def test_prediction_and_labels_of_0_12_are_read(lab: Lab, tmp_path: Path) -> None:
    folder = output(tmp_path / "old", {"overall": ITEMS, "per_scene": {"v": ITEMS}})
    ids = (town() > 0).astype("uint8")
    colors = np.array([[255, 0, 0], [0, 128, 0]], np.uint8)[ids].transpose(2, 0, 1)
    write(folder / "predict/v.tif", ids)
    config = json.loads((folder / "pipeline-config.json").read_text())
    (known,) = config["dataset"]["validation_scenes"]
    known["raster_source"]["uris"] = [write(tmp_path / "image.tif", colors)]
    known["label_store"] = {"uri": f"{folder}/predict/v.tif"}
    known["label_source"] = {
        "type_hint": "semantic_segmentation_label_source",
        "rgb_class_config": {"names": NAMES, "colors": ["red", "green"]},
        "raster_source": {"type_hint": "rasterio_source", "uris": [f"{tmp_path}/image.tif"]},
    }
    (folder / "pipeline-config.json").write_text(json.dumps(config))
    (run,) = lab.adopt(folder)
    source = load_run_source(run.id, run.uri)
    found = source.scene("v")
    assert found is not None
    assert found.prediction_uri == f"{folder}/predict/v.tif"
    assert (SceneLabels.of_run(source, "v").truth() == ids).all()
    files = lab.artifacts()
    assert files.loc[files["uri"] == found.prediction_uri, "scene"].tolist() == ["v"]
    figure = plot.predictions(lab.runs(), scenes=["v"])
    texts = " ".join(t.get_text() for axes in figure.axes for t in axes.texts)
    assert "cannot" not in texts
    plt.close(figure)
