"""Tests of the synthetic towns: images, configs and training."""

from __future__ import annotations

import hashlib
import json
import runpy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rastervision.core")

import rasterio
from rastervision.pipeline.config import build_config

import rvlab.recipes
from rvlab.errors import SpecError
from rvlab.recipes import town

Config = Callable[..., Any]
RECIPE = Path(rvlab.recipes.__file__).with_name("synthetic_town.py")
TINY: dict[str, Any] = {"scene_px": 128, "chip_px": 64, "epochs": 1, "width": 4}


@pytest.fixture
def town_config(config: Config) -> Config:
    def made(root: Path, **params: Any) -> Any:
        return config("synthetic_town", root_uri=str(root), **{**TINY, **params})

    return made


def hashes(folder: Path) -> dict[str, str]:
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.tif"))
    }


@pytest.mark.parametrize("px", [64, 128, 300])
@pytest.mark.parametrize("seed", [0, 7])
def test_every_class_is_in_a_scene_of_any_size(px: int, seed: int) -> None:
    image, labels = town.render_image_and_labels(px, seed, (0, 0))
    assert (image.shape, image.dtype) == ((px, px, 3), np.uint8)
    assert set(np.unique(labels)) == {0, 1, 2} if px > 64 else set(np.unique(labels)) <= {0, 1, 2}


def test_scene_depends_on_its_seed_and_place_alone() -> None:
    image, labels = town.render_image_and_labels(96, 3, (1, 2))
    again, labels_again = town.render_image_and_labels(96, 3, (1, 2))
    assert (image == again).all()
    assert (labels == labels_again).all()
    assert (town.render_image_and_labels(96, 4, (1, 2))[0] != image).any()
    assert (town.render_image_and_labels(96, 3, (1, 3))[0] != image).any()


def test_scenes_are_georeferenced_rgb_and_coloured_class_ids(
    town_config: Config, tmp_path: Path
) -> None:
    town_config(tmp_path)
    folder = tmp_path / "data" / "town-v1-seed0-128px"
    images = [p for p in folder.iterdir() if "labels" not in p.name]
    assert len(images) == 7
    corners = set()
    for path in images:
        with (
            rasterio.open(path) as image,
            rasterio.open(path.with_name(f"{path.stem}-labels.tif")) as labels,
        ):
            assert image.dtypes == ("uint8",) * 3
            assert (image.crs.to_epsg(), image.res) == (32632, (0.3, 0.3))
            assert (labels.crs, labels.transform) == (image.crs, image.transform)
            assert set(np.unique(labels.read(1))) <= {0, 1, 2}
            assert labels.colormap(1)[1] == (*bytes.fromhex("e4572e"), 255)
            corners.add((image.bounds.left, image.bounds.top))
    assert len(corners) == 7, "no two scenes lie in one place"


def test_no_scene_is_used_twice(town_config: Config, tmp_path: Path) -> None:
    dataset = town_config(tmp_path, train_scenes=4).dataset
    groups = [dataset.train_scenes, dataset.validation_scenes, dataset.test_scenes]
    uris = [scene.raster_source.uris[0] for group in groups for scene in group]
    assert [len(group) for group in groups] == [4, 2, 1]
    assert len(set(uris)) == len({s.id for group in groups for s in group}) == 7


def test_same_parameters_write_the_same_bytes(town_config: Config, tmp_path: Path) -> None:
    town_config(tmp_path / "a")
    town_config(tmp_path / "b")
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_scenes_are_drawn_once_for_all_runs(town_config: Config, tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    town_config(tmp_path / "a", data_uri=shared)
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "shared").rglob("*.*")}
    town_config(tmp_path / "b", data_uri=shared, lr=1e-3, width=8)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "shared").rglob("*.*")} == written
    assert not (tmp_path / "b" / "data").exists()


def test_other_scenes_have_another_folder(town_config: Config, tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    town_config(tmp_path, data_uri=shared)
    town_config(tmp_path, data_uri=shared, data_seed=1)
    town_config(tmp_path, data_uri=shared, scene_px=96)
    folders = sorted(p.name for p in (tmp_path / "shared").iterdir() if p.is_dir())
    assert folders == ["town-v1-seed0-128px", "town-v1-seed0-96px", "town-v1-seed1-128px"]


def test_deleted_scene_is_drawn_again(town_config: Config, tmp_path: Path) -> None:
    town_config(tmp_path)
    before = hashes(tmp_path)
    next(tmp_path.rglob("train-1.tif")).unlink()
    town_config(tmp_path)
    assert hashes(tmp_path) == before


def test_two_runs_may_draw_at_the_same_time(town_config: Config, tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    town_config(tmp_path / "alone")
    failed: list[BaseException] = []

    def run(name: str) -> None:
        try:
            town_config(tmp_path / name, data_uri=shared)
        except BaseException as exc:  # noqa: BLE001
            failed.append(exc)

    threads = [threading.Thread(target=run, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert hashes(tmp_path / "shared") == hashes(tmp_path / "alone")
    assert not list(tmp_path.rglob("*.part"))


def test_text_from_the_command_line_is_parsed(town_config: Config, tmp_path: Path) -> None:
    params = {"lr": 3e-3, "epochs": 2, "batch_size": 2, "nochip": True, "building_weight": 1.5}
    typed = town_config(tmp_path, **params)
    text = town_config(tmp_path, **{k: str(v) for k, v in {**TINY, **params}.items()})
    assert text.model_dump_json() == typed.model_dump_json()
    assert typed.backend.solver.lr == 3e-3
    assert typed.backend.solver.class_loss_weights == [1.0, 1.5, 2.0]


def test_local_data_folder_is_found_from_anywhere(
    town_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = town_config(Path("out"), data_uri="shared")
    assert made.dataset.train_scenes[0].raster_source.uris == [
        str(tmp_path / "shared" / "town-v1-seed0-128px" / "train-0.tif")
    ]
    assert made.backend.model.external_def.uri.startswith(str(tmp_path / "shared" / "unet-"))


def test_model_is_stored_as_a_zip(town_config: Config, tmp_path: Path) -> None:
    import torch

    definition = town_config(tmp_path).backend.model.external_def
    again = build_config(json.loads(definition.model_dump_json()))
    model = again.build(save_dir=str(tmp_path / "modules"))
    scores = model(torch.zeros(2, 3, 50, 38))
    assert scores.shape == (2, 3, 50, 38), "any size goes in and comes out"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"chip_px": 256}, "chip_px must be at most scene_px, which is 128, got 256"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be an integer, got 1.5"),
        ({"lr": -1}, "lr must be above 0, got -1"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"lr": "nan"}, "lr must be a finite number, got 'nan'"),
        ({"width": 0}, "width must be at least 1"),
        ({"scene_px": 32}, "scene_px must be at least 64"),
        ({"data_seed": -1}, "data_seed must be at least 0"),
        ({"nochip": "maybe"}, "nochip must be true or false, got 'maybe'"),
        ({"keep_scores": 2}, "keep_scores must be true or false, got 2"),
        ({"road_weight": True}, "road_weight must be a number, got True"),
    ],
)
def test_invalid_value_is_reported_and_writes_nothing(
    town_config: Config, tmp_path: Path, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        town_config(tmp_path, **params)
    assert not list(tmp_path.iterdir())


def test_source_alone_is_a_recipe(tmp_path: Path) -> None:
    copy = tmp_path / "recipe.py"
    copy.write_text(RECIPE.read_text())
    made = runpy.run_path(str(copy))["get_config"](None, root_uri=str(tmp_path), **TINY)
    assert made.root_uri == str(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("nochip", [False, True])
def test_tiny_run_goes_from_chips_to_scores(run: Config, nochip: bool) -> None:
    root = run("synthetic_town", nochip=nochip, **TINY)
    scores = json.loads((root / "eval" / "validation_scenes" / "eval.json").read_text())
    average = next(i for i in scores["overall"] if i["class_name"] == "average")
    matrix = np.array(average["conf_mat"])
    assert matrix.shape == (3, 3)
    assert matrix.sum() == 2 * 128 * 128
    assert (root / "predict" / "test-0" / "labels.tif").is_file()
