"""Generated scenes and runs; pixel values encode the position of the pixel."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

UTM = "EPSG:32611"
CORNER = Affine(0.5, 0, 663_000, 0, -0.5, 3_999_000)
CLASSES = {
    "names": ["background", "building", "road", "null"],
    "colors": ["#d9d9d9", "orange", [70, 117, 180], "black"],
    "null_class": "null",
}


def write(path, array, *, crs=UTM, transform=CORNER, **profile):
    """Write an array of shape (rows, columns) or (bands, rows, columns) as a GeoTIFF."""
    array = array[None] if array.ndim == 2 else array
    where = {"crs": crs, "transform": transform} if crs else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = array.shape
    profile |= {"height": height, "width": width, "count": bands, "dtype": array.dtype.name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **where, **profile) as dataset:
            dataset.write(array)
    return str(path)


def places(height, width):
    """Return ``row * 1000 + col`` of each pixel."""
    return (np.arange(height)[:, None] * 1000 + np.arange(width)).astype(np.int32)


def town(height=96, width=128, seed=0):
    """Return class ids of a road and buildings."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((height, width), np.uint8)
    ids[height // 2 : height // 2 + 6] = 2
    for _ in range(12):
        row, col = rng.integers(0, height - 12), rng.integers(0, width - 12)
        ids[row : row + 10, col : col + 12] = 1
    return ids


def photo(ids, seed=0):
    """Return an image that matches class ids, shape (3, rows, columns)."""
    colors = np.array([[90, 120, 70], [170, 110, 90], [120, 120, 125], [0, 0, 0]])
    noise = np.random.default_rng(seed).normal(0, 12, (*ids.shape, 3))
    return np.clip(colors[ids] + noise, 0, 255).astype(np.uint8).transpose(2, 0, 1)


def raster_source(uri, **more):
    """Return the JSON of a RasterioSourceConfig."""
    base = {"type_hint": "rasterio_source", "uris": uri, "channel_order": None}
    return base | {"transformers": [], "bbox": None} | more


def scene(name, image, labels, store, **more):
    """Return the JSON of a SceneConfig."""
    source = labels if isinstance(labels, dict) else raster_source(labels)
    image = image if isinstance(image, dict) else raster_source(image)
    label_store = {"type_hint": "semantic_segmentation_label_store", "uri": store, "rgb": False}
    label_source = {"type_hint": "semantic_segmentation_label_source", "raster_source": source}
    return {
        "id": name,
        "raster_source": image,
        "label_source": label_source,
        "label_store": label_store,
        "aoi_uris": None,
    } | more


def config(validation, train=(), test=(), classes=None):
    """Return the fields that rvlab reads from the JSON of a SemanticSegmentationConfig."""
    groups = {"train_scenes": train, "validation_scenes": validation, "test_scenes": test}
    dataset = {"class_config": classes or CLASSES} | {k: list(v) for k, v in groups.items()}
    return {"type_hint": "semantic_segmentation_config", "dataset": dataset}


def write_scene(folder):
    """Write a scene whose prediction is correct except for the first 10 rows."""
    ids = town()
    guess = ids.copy()
    guess[:10] = 1
    write(folder / "p/labels.tif", guess)
    image, labels = write(folder / "i.tif", photo(ids)), write(folder / "l.tif", ids)
    return scene("a", image, labels, folder / "p"), ids, guess


class Experiment:
    """Runs in a folder that predicted the scenes ``val-0``, ``val-1`` … with random errors."""

    def __init__(self, root: Path, scenes: int = 2, size: tuple[int, int] = (96, 128)) -> None:
        self.root, self.rows = root, []
        self.truth = {f"val-{i}": town(*size, seed=i) for i in range(scenes)}
        for name, ids in self.truth.items():
            write(root / f"{name}.tif", photo(ids))
            write(root / f"{name}-labels.tif", ids)

    def add(self, wrong: float, *, classes=None, skip=(), **params) -> Path:
        """Add a run with that fraction of wrong pixels; return its folder."""
        number = len(self.rows)
        run = f"20261123-15420{number}-4f2a0{number}"
        folder = self.root / "town" / run
        described = []
        for name, ids in self.truth.items():
            guess, rng = ids.copy(), np.random.default_rng(number)
            guess[rng.random(ids.shape) < wrong] = 0
            described.append(self.describe(name, folder))
            if name not in skip:
                write(folder / f"rv/predict/{name}/labels.tif", guess)
        self.write_config(folder, config(described, classes=classes))
        row = {"run": run, "uri": str(folder)} | {f"params.{k}": v for k, v in params.items()}
        self.rows.append(row)
        return folder

    def describe(self, name: str, folder: Path) -> dict[str, Any]:
        """Return the JSON of a scene's config."""
        image, labels = (str(self.root / f"{name}{end}.tif") for end in ("", "-labels"))
        return scene(name, image, labels, f"{folder}/rv/predict/{name}")

    def write_config(self, folder: Path, content: dict[str, Any]) -> None:
        """Write ``pipeline-config.json``."""
        (folder / "rv").mkdir(parents=True, exist_ok=True)
        (folder / "rv/pipeline-config.json").write_text(json.dumps(content))

    @property
    def runs(self) -> pd.DataFrame:
        """The table of runs."""
        columns = ["run", "uri"]
        return pd.DataFrame(self.rows, columns=None if self.rows else columns).set_index("run")
