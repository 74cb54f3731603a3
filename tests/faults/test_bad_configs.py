"""Damaged configs: pictures, counts and tables report the reason and read the other runs."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rvlab import compare
from rvlab.errors import RvlabError
from rvlab.frame.windows import load_window_counts
from rvlab.model import Run
from rvlab.raster.display import image, select_channels
from rvlab.raster.labels import SceneLabels
from rvlab.raster.scene import load_run_source
from rvlab.raster.window import Window
from rvlab.store import Store
from tests.faults import damage
from tests.raster.samples import Experiment

VECTORS: dict[str, Any] = {
    "type_hint": "geojson_vector_source",
    "uris": ["labels.json"],
    "transformers": [
        {"type_hint": "class_inference_transformer", "default_class_id": 1},
        {"type_hint": "buffer_transformer", "geom_type": "LineString", "default_buf": 3.0},
    ],
}
SHAPE = {
    "type": "Feature",
    "properties": {"building": "yes", "height": 3},
    "geometry": {"type": "LineString", "coordinates": [[-115.2, 36.1], [-115.21, 36.11]]},
}
LABELS = {"type": "FeatureCollection", "features": [SHAPE, SHAPE]}


def looks(one: Any) -> list[Callable[[], Any]]:
    """Return calls that read the inputs of a picture of a run."""
    found: list[Callable[[], Any]] = [lambda: select_channels(one.config)]
    for scene in one.scenes:
        found.append(lambda s=scene: image(s, Window(0, 0, 8, 8)))  # type: ignore[misc]
        found.append(lambda s=scene: SceneLabels.of_run(one, s.id).truth())  # type: ignore[misc]
        found.append(lambda s=scene: SceneLabels.of_run(one, s.id).labelled(Window(0, 0, 8, 8)))  # type: ignore[misc]
    return found


def fuzz(folder: Path, cases: int, seed: int) -> int:
    """Damage a config or its labels repeatedly, and return the number of failed reads."""
    made = Experiment(folder, scenes=1)
    made.add(0.1)
    made.add(0.2)
    good, bad = (Path(row["uri"]) for row in made.rows)
    store = Store(folder)
    labels = folder / "labels.json"
    before = load_window_counts(store, [Run.from_uri(str(good))])
    config = json.loads((bad / "rv/pipeline-config.json").read_text())
    config["backend"] = {"data": {"plot_options": {"channel_display_groups": {"RGB": [0, 1, 2]}}}}
    scene = config["dataset"]["validation_scenes"][0]
    scene["aoi_uris"] = [str(labels)]
    refused = 0
    for number in range(cases):
        rng = random.Random(f"{seed}-{number}")
        record = json.loads(json.dumps(config))
        if number % 2:
            record["dataset"]["validation_scenes"][0]["label_source"]["raster_source"] = {
                "type_hint": "rasterized_source",
                "vector_source": {**VECTORS, "uris": [str(labels)]},
                "rasterizer_config": {"background_class_id": 0},
            }
        texts = [json.dumps(record).encode(), json.dumps(LABELS).encode()]
        which = rng.randrange(2)
        way = damage.damaged_bytes if rng.random() < 0.1 else damage.damaged_json
        texts[which] = way(texts[which], rng)
        (bad / "rv/pipeline-config.json").write_bytes(texts[0])
        labels.write_bytes(texts[1])
        one = load_run_source(bad.name, str(bad))
        for look in looks(one):
            try:
                look()
            except RvlabError:
                refused += 1
        refused += one.error is not None
        if number % 10 == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                runs = [Run.from_uri(str(where)) for where in (bad, good)]
                table = compare.configs(runs, every=True)
                found = load_window_counts(store, runs)
            assert list(table.index) == [bad.name, good.name]
            assert found[good.name].equals(before[good.name])
    return refused


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_60_damaged_configs_and_labels_raise_errors_of_rvlab(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 60, seed=1) > 20


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_500_damaged_configs_and_labels_raise_errors_of_rvlab(
    tmp_path: Path, figure: Callable[[str, object], None]
) -> None:
    fuzz(tmp_path, 500, seed=2)
    figure("damaged configs and labels read, exceptions that are not rvlab's", "500, 0")
