"""Benchmark: the objects of a scene of 10,000 x 10,000 px with 5,000 buildings, in one pass.

Three variants read the same two GeoTIFFs (labels and prediction; deflate, tiles of 512 px), each
in a separate process, alternating:

* ``objects``: ``score_scene`` with the table of objects only: components, overlaps, matches;
* ``both``: the same with the table of boundaries, for the boundary IoU;
* ``blocks``: the lower limit. Both rasters are read block by block with rasterio and discarded.

Goals: ``objects`` and ``both`` take at most 2 x the time of ``blocks``, and less than 600 MB of
memory. A second part reads the tables of many runs with ``lab.objects``; the goal is 1 s for 100
runs of 5,000 objects, and the lower limit is reading and concatenating the same files with pandas.
A third part computes the mean average precision of 10,000 resamples of 40 scenes, as the interval
of one run does.

    python benchmarks/objects.py [--side 10000] [--objects 5000] [--runs 100] [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CLASSES: dict[str, Any] = {"names": ["building", "background"], "colors": ["orange", "grey"]}
CLASSES |= {"null_class": "background"}


def main() -> None:
    """Write the scene, measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the scene; default: temporary")
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", choices=("write", *VARIANTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "write":
        _write_scene(options.data, options.side, options.objects)
        _write_scene(options.data / "small", 64, 4)
        return
    if options.child:
        print(json.dumps(_measure(options.data, options.child)))
        return
    with tempfile.TemporaryDirectory(prefix="rvlab-objects-") as temporary:
        folder = options.data or Path(temporary)
        # In a child: Linux counts the peak memory of a process also for its later children.
        size = ("--side", str(options.side), "--objects", str(options.objects))
        _run_child(folder, "write", *size)
        _compare(folder, options.repeats)
        _read_runs(folder, options.runs, options.repeats)
        _resample(options.objects)


def _run_child(folder: Path, *arguments: str) -> str:
    """Run this script for a folder, and return what it prints."""
    command = [sys.executable, __file__, "--data", str(folder), "--child", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _write_scene(folder: Path, side: int, objects: int) -> None:
    """Write labels and a prediction in which a tenth of the buildings is missing, others differ."""
    import rasterio

    rng = np.random.default_rng(0)
    across = int(np.ceil(objects**0.5))
    step = side // across
    truth, guess = (np.ones((side, side), np.uint8) for _ in range(2))
    for i in range(objects):
        row, col = (n * step + int(rng.integers(0, max(1, step // 4))) for n in divmod(i, across))
        height, width = rng.integers(step // 4, 5 * step // 8, 2)
        truth[row : row + height, col : col + width] = 0
        if rng.random() < 0.9:
            shift = rng.integers(-3, 4, 2)
            top, left = max(0, row + shift[0]), max(0, col + shift[1])
            guess[top : top + height, left : left + width] = 0
    profile: dict[str, Any] = {"driver": "GTiff", "width": side, "height": side, "count": 1}
    profile |= {"dtype": "uint8", "tiled": True, "blockxsize": 512, "blockysize": 512}
    profile |= {"compress": "deflate", "crs": "EPSG:32611"}
    profile["transform"] = rasterio.Affine(0.3, 0, 663_000, 0, -0.3, 3_999_000)
    for name, ids in (("labels", truth), ("prediction/labels", guess)):
        path = folder / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(ids, 1)


def _count_objects(folder: Path, *others: str) -> Any:
    """Return the table of objects of the scene, by a pass that also counts other tables."""
    from rvlab.model.tables import FILE_TABLES
    from rvlab.raster.config import classes_from_config
    from rvlab.raster.scene import scenes_from_config
    from rvlab.raster.score_scene import score_scene

    labels, store = str(folder / "labels.tif"), str(folder / "prediction")
    source = {"type_hint": "rasterio_source", "uris": labels}
    scene = {"id": "town", "raster_source": source, "label_store": {"uri": store}}
    kind = "semantic_segmentation_label_source"
    scene["label_source"] = {"type_hint": kind, "raster_source": source}
    config = {"dataset": {"class_config": CLASSES, "validation_scenes": [scene]}}
    (found,) = scenes_from_config(config)
    tables = [FILE_TABLES[name] for name in ("objects", *others)]
    done = score_scene(found, classes_from_config(config), tables=tables)
    if done.problems:
        raise SystemExit(done.problems[0])
    return done.tables["objects"]


def _read_blocks(folder: Path) -> None:
    import rasterio

    for name in ("labels", "prediction/labels"):
        with rasterio.open(folder / f"{name}.tif") as dataset:
            for _, window in dataset.block_windows(1):
                dataset.read(1, window=window)


VARIANTS: dict[str, Callable[[Path], Any]] = {
    "objects": _count_objects,
    "both": lambda folder: _count_objects(folder, "boundaries"),
    "blocks": _read_blocks,
}


def _measure(folder: Path, variant: str) -> dict[str, float]:
    """Return the seconds and the peak memory in MB of a variant, after a first small call."""
    call = VARIANTS[variant]
    call(folder / "small")
    start = time.perf_counter()
    call(folder)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def _compare(folder: Path, repeats: int) -> None:
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for _ in range(repeats + 1):
        for variant, results in found.items():
            results.append(json.loads(_run_child(folder, variant)))
    # The first round warms the file cache.
    later = {variant: results[1:] for variant, results in found.items()}
    for variant, results in later.items():
        seconds = statistics.median(one["seconds"] for one in results)
        pairs = zip(results, later["blocks"], strict=True)
        ratio = statistics.median(one["seconds"] / other["seconds"] for one, other in pairs)
        peak = max(one["peak_mb"] for one in results)
        line = f"{variant}: {seconds:.2f} s, {peak:.0f} MB at most"
        goal = "" if variant == "blocks" else f"; {ratio:.2f} x blocks"
        print(line + goal)
    print("goal: objects and both at most 2 x blocks, and less than 600 MB")


def _read_runs(folder: Path, runs: int, repeats: int) -> None:
    """Read the objects of many runs, whose tables are equal."""
    import pandas as pd

    from rvlab import Lab
    from rvlab.model import Run
    from rvlab.store import Store
    from rvlab.store.table_file import encode_table

    store = Store(folder / "store")
    script = str(Path(__file__).parent / "sample_runs.py")
    command = [sys.executable, script, "--runs", str(runs), "--store", store.uri]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    lab = Lab(store)
    board = lab.runs()
    data = encode_table(_count_objects(folder))
    keys = [Run.from_uri(uri).key("tables", "objects.parquet") for uri in board["uri"]]
    for key in keys:
        store.put(key, data)
    ways: dict[str, Callable[[], Any]] = {
        "lab.objects": lambda: lab.objects(board),
        "pandas": lambda: pd.concat([pd.read_parquet(Path(store.uri, key)) for key in keys]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rows = 0
    for _ in range(repeats + 1):
        for name, read in ways.items():
            start = time.perf_counter()
            rows = len(read())
            seconds[name].append(time.perf_counter() - start)
    ours, theirs = (statistics.median(each[1:]) for each in seconds.values())
    print(f"lab.objects: {runs} runs, {rows / runs:,.0f} true and predicted objects each")
    print(f"{ours:.2f} s (goal: at most 1 s); pandas: {theirs:.2f} s, {ours / theirs:.2f} x")


def _resample(objects: int, scenes: int = 40, resamples: int = 10_000) -> None:
    """Compute the mAP of resampled scenes with as many true and predicted objects of one class."""
    from rvlab.compare.scene_matrices import RankedPredictions
    from rvlab.compare.weighted_metric import MeanAveragePrecision

    rng = np.random.default_rng(0)
    places, class_ids = rng.integers(0, scenes, objects), np.zeros(objects, np.intp)
    reached = rng.binomial(10, np.linspace(0.8, 0.02, objects))  # of ten IoUs
    scores = np.linspace(1, 0, objects)
    predictions = RankedPredictions(class_ids, places, class_ids, scores, (1 << reached) - 1)
    truths = np.bincount(places, minlength=scenes)[None, :, None].astype(float)
    weights = rng.multinomial(scenes, np.full(scenes, 1 / scenes), resamples).astype(float)
    print(f"{resamples:,} resamples of {scenes} scenes with {objects:,} predicted objects:")
    for name, ious in (("mAP", range(10)), ("mAP50", range(1))):
        start = time.process_time()
        MeanAveragePrecision(predictions, truths, [0], ious).compute((0, weights))
        print(f"{name}: {time.process_time() - start:.2f} s of processor time")


if __name__ == "__main__":
    main()
