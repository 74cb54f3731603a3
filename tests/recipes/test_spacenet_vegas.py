"""Tests with synthetic SpaceNet scenes, in the layout of the public bucket."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rastervision.core")

import numpy as np
import rasterio
from rasterio import Affine

from rvlab.errors import NotFound, SpecError

Config = Callable[..., Any]
PX, GSD = 96, 2.7e-6
SN2 = "spacenet/SN2_buildings/train/AOI_2_Vegas"
SN3 = "spacenet/SN3_roads/train/AOI_2_Vegas"
NUMBERS = (1, 2, 3, 10, 21, 1000)


def lay_out(raw: Path, numbers: tuple[int, ...] = NUMBERS) -> Path:
    """Write scenes with one bright building and one road; the image of 1000 is missing."""
    rng = np.random.default_rng(0)
    for i, number in enumerate(numbers):
        west, north = -115.2 + i * 0.001, 36.2
        transform = Affine(GSD, 0.0, west, 0.0, -GSD, north)
        for folder, labels, prefix in (
            (SN2, "geojson_buildings", "SN2_buildings_train_AOI_2_Vegas_"),
            (SN3, "geojson_roads", "SN3_roads_train_AOI_2_Vegas_"),
        ):
            image = rng.integers(200, 500, (3, PX, PX), dtype=np.uint16)
            a, b = 24, 60
            if labels == "geojson_buildings":
                image[:, a:b, a:b] += 1200
                corners = [(a, a), (b, a), (b, b), (a, b), (a, a)]
            else:
                image[:, 33:63] += 1200
                corners = [(0, 48), (PX, 48)]
            points = [[west + col * GSD, north - row * GSD] for col, row in corners]
            shape: dict[str, Any] = {"type": "LineString", "coordinates": points}
            if labels == "geojson_buildings":
                shape = {"type": "Polygon", "coordinates": [points]}
            # Many desert scenes are empty.
            features = [{"type": "Feature", "geometry": shape, "properties": {}}] if i != 1 else []
            base = raw / folder
            (base / "PS-RGB").mkdir(parents=True, exist_ok=True)
            (base / labels).mkdir(exist_ok=True)
            text = json.dumps({"type": "FeatureCollection", "features": features})
            (base / labels / f"{prefix}{labels}_img{number}.geojson").write_text(text)
            if number == 1000:
                continue
            with rasterio.open(
                base / "PS-RGB" / f"{prefix}PS-RGB_img{number}.tif",
                "w",
                driver="GTiff",
                dtype="uint16",
                count=3,
                height=PX,
                width=PX,
                crs="EPSG:4326",
                transform=transform,
            ) as raster:
                raster.write(image)
    return raw


@pytest.fixture
def vegas(config: Config, tmp_path: Path) -> Config:
    lay_out(tmp_path / "raw")

    def made(**params: Any) -> Any:
        given = {"raw_uri": str(tmp_path / "raw"), "root_uri": str(tmp_path / "rv"), **params}
        return config("spacenet_vegas", **given)

    return made


def ids(scenes: list[Any]) -> list[str]:
    return [scene.id for scene in scenes]


def test_every_pair_is_used_once_and_only_pairs(vegas: Config) -> None:
    dataset = vegas().dataset
    train, validation = ids(dataset.train_scenes), ids(dataset.validation_scenes)
    assert sorted(train + validation, key=int) == ["1", "2", "3", "10", "21"]
    assert (len(train), len(validation)) == (4, 1)


def test_split_depends_on_its_seed_alone(vegas: Config) -> None:
    import random

    first = ids(vegas().dataset.train_scenes)
    state = random.getstate()
    assert ids(vegas(target="roads").dataset.train_scenes) == first
    assert random.getstate() == state, "the global generator is left alone"
    others = [ids(vegas(split_seed=seed).dataset.train_scenes) for seed in range(4)]
    assert any(other != first for other in others)


def test_scenes_are_read_by_the_names_of_the_public_bucket(vegas: Config, tmp_path: Path) -> None:
    scene = vegas(target="roads").dataset.train_scenes[0]
    number = scene.id
    base = f"{tmp_path}/raw/{SN3}"
    assert scene.raster_source.uris == [
        f"{base}/PS-RGB/SN3_roads_train_AOI_2_Vegas_PS-RGB_img{number}.tif"
    ]
    assert scene.label_source.raster_source.vector_source.uris == (
        f"{base}/geojson_roads/SN3_roads_train_AOI_2_Vegas_geojson_roads_img{number}.geojson"
    )


def test_resnet_is_the_default_and_unet_needs_no_weights(vegas: Config) -> None:
    model = vegas(pretrained="false", lr="3e-4").backend.model
    assert (model.backbone.value, model.pretrained, model.external_def) == ("resnet50", False, None)
    model = vegas(backbone="unet", width=4).backend.model
    assert model.external_def.entrypoint_kwargs == {"classes": 2, "width": 4}


def test_trial_is_short(vegas: Config, tmp_path: Path) -> None:
    lay_out(tmp_path / "raw", tuple(range(1, 31)))
    made = vegas(test=True)
    assert (len(made.dataset.train_scenes), len(made.dataset.validation_scenes)) == (16, 4)
    assert made.backend.solver.num_epochs == 2
    made = vegas(max_scenes=5)
    assert (len(made.dataset.train_scenes), len(made.dataset.validation_scenes)) == (4, 1)


def test_predictions_are_made_at_the_size_of_training(vegas: Config) -> None:
    made = vegas(chip_px=96, nochip=False)
    assert made.predict_options.chip_sz == made.backend.data.img_sz == 96
    assert made.chip_options.sampling.size == 96


def test_empty_folder_is_named(config: Config, tmp_path: Path) -> None:
    message = (
        rf"{tmp_path}/none/{SN2} has 0 images like PS-RGB/SN2_buildings_train_AOI_2_Vegas_PS-RGB_"
        r"img1\.tif and 0 labels like geojson_buildings/.*_img1\.geojson, 0 of them pairs, and a "
        r"training needs two\. raw_uri is the folder that contains 'spacenet'"
    )
    with pytest.raises(NotFound, match=message):
        config("spacenet_vegas", root_uri=str(tmp_path), raw_uri=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"target": "building"}, "target must be one of 'buildings', 'roads', got 'building'"),
        (
            {"backbone": "resnet18"},
            "backbone must be one of 'resnet50', 'resnet101', 'unet', got 'resnet18'",
        ),
        ({"train_share": 1}, "train_share must be below 1, got 1"),
        ({"chip_px": 651}, "chip_px must be at most 650, got 651"),
        ({"max_scenes": 1}, "max_scenes must be at least 2"),
        ({"workers": -1}, "workers must be at least 0"),
    ],
)
def test_invalid_value_is_reported(vegas: Config, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        vegas(**params)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["buildings", "roads"])
def test_tiny_run_goes_from_statistics_to_scores(run: Config, tmp_path: Path, target: str) -> None:
    raw = lay_out(tmp_path / "raw")
    root = run(
        "spacenet_vegas",
        raw_uri=raw,
        target=target,
        backbone="unet",
        width=4,
        chip_px=48,
        workers=0,
        epochs=2,
        lr=0.01,
        nochip=target == "roads",
    )
    scores = json.loads((root / "eval" / "validation_scenes" / "eval.json").read_text())
    assert {i["class_name"] for i in scores["overall"]} == {target[:-1], "background", "average"}
    assert list((root / "predict").glob("*/vector_output/*.json"))
