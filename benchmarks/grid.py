"""Benchmark: a grid of predictions from scenes of 10,000 x 10,000 px on S3 with 20 ms latency.

Four variants read the same windows of the same runs, alternating, each in a separate process:

* ``grid``: ``plot.predictions(runs, windows)``, with separate times for reading and drawing;
* ``ranges``: the lower limit. Concurrent plain range requests fetch the compressed tiles of the
  windows, at known offsets; nothing is decoded, scored or drawn;
* ``headers``: the lower limit for a reader that does not know the offsets: first the header of each
  file, then ranges that are merged as rvlab does; nothing is decoded;
* ``download``: common practice. Each output file of Raster Vision is downloaded, opened with
  rasterio and read in the window, eight files at a time.

Each scene has a tiled image and labels (COG), and five predictions as Raster Vision writes them
(strips, no compression), with the COG copies of rvlab's own code. Nothing is trained.
Goals: reading at most 1.4 x the time and 2 x the bytes of ``ranges``, memory under 350 MB, drawing
at most 1 s, and 40 x faster than ``download``. Imports and a first small call are not measured.

    python benchmarks/grid.py --data FOLDER [--scenes 20] [--side 10000] [--repeats 5]

The first call creates the scenes in FOLDER, 12 GB in 140 files at full size, which take 3 GB
compressed on the server; later calls reuse them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from slow_s3 import Wire, delay_requests

from rvlab.store import S3Access, Store, server

CLASSES = {
    "names": ["background", "building", "road", "null"],
    "colors": ["#d9d9d9", "orange", "#4675b4", "black"],
    "null_class": "null",
}
RUNS, WINDOW, WAIT_S = 5, 512, 0.02
TOWNS = 4  # generated scenes; several scenes share the same pixels at another place
LEFT = 663_000.0
IN_FLIGHT = 32
IDS = [f"20261101-00000{i}-{i:06x}" for i in range(RUNS)]


def main() -> None:
    """Prepare the data, measure and print the results."""
    options = _arguments()
    if options.child:
        print(json.dumps(_child(options)))
        return
    options.data.mkdir(parents=True, exist_ok=True)
    one = server.start_server(options.data / "s3")
    try:
        _prepare(options, _store(one.endpoint, one))
        with delay_requests(one.endpoint, wait_s=WAIT_S) as wire:
            _measure(options, wire, one)
    finally:
        server.stop_server(options.data / "s3")


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description="See the first lines of this file.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--downloads", type=int, default=2, help="repeats of download")
    parser.add_argument(
        "--child", choices=["grid", "ranges", "headers", "download"], help=argparse.SUPPRESS
    )
    return parser.parse_args()


# Measurements. Each runs in a separate process, so that peak memory is that of one variant.


def _measure(options: Any, wire: Any, one: Any) -> None:
    found: dict[str, list[dict[str, float]]] = {
        way: [] for way in ("ranges", "headers", "grid", "download")
    }
    secrets = {
        "AWS_ACCESS_KEY_ID": one.access_key,
        "AWS_SECRET_ACCESS_KEY": one.secret_key,
        "AWS_DEFAULT_REGION": one.region,
        "AWS_ENDPOINT_URL": wire.endpoint,
        "GRID_STORE": f"s3://{one.bucket}/grid",
        "MPLBACKEND": "agg",
    }
    for turn in range(options.repeats):
        for way, results in found.items():
            if way == "download" and turn >= options.downloads:
                continue  # each takes a minute
            done = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--child", way],
                env=os.environ | secrets,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            results.append(json.loads(done.stdout.splitlines()[-1]))
    _print(options, found)


def _print(options: Any, found: dict[str, list[dict[str, float]]]) -> None:
    def median(way: str, what: str) -> float:
        return statistics.median(one[what] for one in found[way])

    size = f"{options.scenes} windows of {WINDOW} px x {RUNS} runs"
    print(f"{size}, scenes of {options.side} px, {1000 * WAIT_S:.0f} ms a request")
    print(f"{'':10}{'seconds':>9}{'requests':>10}{'MB':>9}{'peak MB':>9}  (medians)")
    found = {way: results for way, results in found.items() if results}
    for way, results in found.items():
        numbers = (median(way, n) for n in ("seconds", "requests", "mb", "peak_mb"))
        seconds, requests, mb, peak = numbers
        print(f"{way:10}{seconds:9.2f}{requests:10.0f}{mb:9.1f}{peak:9.0f}  of {len(results)}")
    drawing = median("grid", "drawing")
    reading = median("grid", "seconds")
    cpu = median("grid", "cpu")
    print(f"processor seconds of reading {cpu:.2f}")
    print(f"reading / ranges      {reading / median('ranges', 'seconds'):6.2f}   goal  <= 1.4")
    print(f"reading / headers     {reading / median('headers', 'seconds'):6.2f}")
    print(
        f"bytes / ranges        {median('grid', 'mb') / median('ranges', 'mb'):6.2f}   goal  <= 2"
    )
    print(f"peak memory, MB       {median('grid', 'peak_mb'):6.0f}   goal  <= 350")
    print(f"drawing, seconds      {drawing:6.2f}   goal  <= 1")
    if "download" in found:
        print(f"download / grid       {median('download', 'seconds') / reading:6.1f}   goal  >= 40")


def _child(options: Any) -> dict[str, float]:
    wire, windows = Wire(os.environ["AWS_ENDPOINT_URL"]), _windows(options)
    ways = {"grid": _grid, "ranges": _ranges, "headers": _headers, "download": _download}
    way = ways[options.child]
    result = way(
        windows, wire.take_counts
    )  # each variant resets the counters when it starts the clock
    requests, size = wire.take_counts()
    return result | {"requests": requests, "mb": size / 1e6, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """Return the peak memory of this process; getrusage can report that of the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def _windows(options: Any) -> list[tuple[str, int, int, int, int]]:
    """Return a random window in each scene, not aligned with tiles."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, options.side - WINDOW, (options.scenes, 2)).tolist()
    return [(f"scene-{i}", col, row, WINDOW, WINDOW) for i, (col, row) in enumerate(places)]


def _grid(windows: list[Any], begin: Any) -> dict[str, float]:
    """Measure ``plot.predictions``, after one small figure."""
    import pandas as pd

    from rvlab.plot import _predictions, predictions

    store = os.environ["GRID_STORE"]
    table = pd.DataFrame({"run": IDS, "uri": [f"{store}/towns/{run}" for run in IDS]})
    table["params.lr"] = [10.0**-i for i in range(RUNS)]
    drawing = drawing_cpu = 0.0
    names = vars(_predictions)
    plain = names["draw_grid"]

    def timed_draw(*args: Any) -> Any:
        nonlocal drawing, drawing_cpu
        start, cpu = time.perf_counter(), time.process_time()
        figure = plain(*args)
        drawing += time.perf_counter() - start
        drawing_cpu += time.process_time() - cpu
        return figure

    predictions(table.head(1), windows[:1])._repr_png_()  # type: ignore[attr-defined]
    names["draw_grid"] = timed_draw
    begin()
    start, cpu = time.perf_counter(), time.process_time()
    figure = predictions(table, windows)
    seconds = time.perf_counter() - start - drawing
    cpu = time.process_time() - cpu - drawing_cpu
    start = time.perf_counter()
    png = figure._repr_png_()  # type: ignore[attr-defined]
    drawing += time.perf_counter() - start
    shown = sum(len(ax.images) for ax in figure.axes)
    texts = [t.get_text() for ax in figure.axes for t in ax.texts]
    assert shown, texts
    if name := os.environ.get("GRID_PNG"):
        Path(name).write_bytes(png[0])
    return {"seconds": seconds, "drawing": drawing, "cpu": cpu}


def _ranges(windows: list[Any], begin: Any, *, header: int = 0, gap: int = 0) -> dict[str, float]:
    """Measure the lower limit: fetch only the bytes of the tiles.

    Args:
        windows: The windows.
        begin: Function to call when the clock starts.
        header: Bytes to request of each file first.
        gap: Bytes between ranges that become one request.
    """
    import obstore

    store = _s3()
    wanted = [
        (key, ranges)
        for window in windows
        for key in _keys(window[0], copies=True)
        if (ranges := _tiles(key, window[1:]))
    ]

    def fetch(one: Any) -> int:
        key, ranges = one
        starts, ends = zip(*ranges, strict=True)
        if header:
            bytes(obstore.get_range(store, key, start=0, length=header))
        got = obstore.get_ranges(store, key, starts=starts, ends=ends, coalesce=gap)
        return sum(len(part) for part in got)

    fetch(wanted[0])
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        begin()
        start = time.perf_counter()
        total = sum(pool.map(fetch, wanted))
        seconds = time.perf_counter() - start
    assert total
    return {"seconds": seconds}


def _headers(windows: list[Any], begin: Any) -> dict[str, float]:
    """Measure the lower limit without knowing where tiles are: a header, then merged ranges."""
    from rvlab.raster.object_file import PAGE_BYTES
    from rvlab.store.object_storage import MERGED_GAP_BYTES

    return _ranges(windows, begin, header=PAGE_BYTES, gap=MERGED_GAP_BYTES)


def _download(windows: list[Any], begin: Any) -> dict[str, float]:
    """Measure downloading each file and reading the window with rasterio."""
    import obstore
    import rasterio
    from rasterio.windows import Window

    store = _s3()

    def one(job: tuple[str, Any]) -> int:
        key, (_, col, row, width, height) = job
        with tempfile.NamedTemporaryFile(suffix=".tif") as file:
            for part in obstore.get(store, key).stream(2**22):
                file.write(part)
            file.flush()
            with rasterio.open(file.name) as dataset:
                return int(dataset.read(window=Window(col, row, width, height)).size)

    jobs = [(key, window) for window in windows for key in _keys(window[0], copies=False)]
    with ThreadPoolExecutor(8) as pool:
        begin()
        start = time.perf_counter()
        assert all(pool.map(one, jobs))
        return {"seconds": time.perf_counter() - start}


def _keys(scene: str, *, copies: bool) -> list[str]:
    folder = "copies" if copies else "rv/predict"
    predicted = [f"towns/{run}/{folder}/{scene}/labels.tif" for run in IDS]
    return [f"images/{scene}.tif", f"images/{scene}-labels.tif", *predicted]


def _tiles(key: str, window: Any) -> list[tuple[int, int]]:
    """Return the byte ranges of the tiles of a window, with adjacent tiles merged."""
    layout = json.loads(_layout(key).read_text())
    col, row, width, height = window
    block, across = layout["block"], layout["across"]
    found: list[tuple[int, int]] = []
    for y in range(row // block, (row + height - 1) // block + 1):
        for x in range(col // block, (col + width - 1) // block + 1):
            start, size = layout["tiles"][y * across + x]
            if found and 0 <= start - found[-1][1] <= 16:  # a COG has a few bytes between tiles
                found[-1] = (found[-1][0], start + size)
            else:
                found.append((start, start + size))
    return found


def _layout(key: str) -> Path:
    folder = Path(sys.argv[sys.argv.index("--data") + 1]) / "layouts"
    return folder / f"{key.replace('/', '+')}.json"


def _s3() -> Any:
    from obstore.store import S3Store

    bucket, _, prefix = os.environ["GRID_STORE"].removeprefix("s3://").partition("/")
    return S3Store(
        bucket,
        prefix=prefix,
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


# Test data.


def _store(endpoint: str, one: Any) -> Store:
    access = S3Access(endpoint, one.access_key, one.secret_key, region=one.region)
    return Store(f"s3://{one.bucket}/grid", access)


def _prepare(options: Any, store: Store) -> None:
    """Write the scenes and runs to the store, unless they exist."""
    done = f"done-{options.scenes}-{options.side}.json"
    if store.exists(done):
        return
    print("Creating the scenes; this takes some minutes.")
    (options.data / "layouts").mkdir(exist_ok=True)
    for number, run in enumerate(IDS):
        parts = [_scene(store, f"scene-{i}", run) for i in range(options.scenes)]
        config = {
            "type_hint": "semantic_segmentation_config",
            "dataset": {"class_config": CLASSES, "validation_scenes": parts},
        }
        store.put_json(f"towns/{run}/rv/pipeline-config.json", config)
        store.put_json(f"towns/{run}/spec.json", {"schema": 1, "run": run, "number": number})
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        for town in range(min(TOWNS, options.scenes)):
            for key, data in _rasters(town, options.side, Path(folder)):
                for i in range(town, options.scenes, TOWNS):
                    other = key.replace(f"scene-{town}", f"scene-{i}")
                    store.put(other, _move(data, 3000.0 * i))
                    if i != town and (layout := _layout(key)).exists():
                        shutil.copy(layout, _layout(other))
            print(f"town {town + 1} of {min(TOWNS, options.scenes)}")
    store.put_json(done, {})


def _scene(store: Store, name: str, run: str) -> dict[str, Any]:
    def raster(uri: str) -> dict[str, Any]:
        return {"type_hint": "rasterio_source", "uris": uri, "channel_order": None}

    image = raster(f"{store.uri}/images/{name}.tif")
    truth = raster(f"{store.uri}/images/{name}-labels.tif")
    return {
        "id": name,
        "raster_source": image,
        "label_source": {
            "type_hint": "semantic_segmentation_label_source",
            "raster_source": truth,
        },
        "label_store": {
            "type_hint": "semantic_segmentation_label_store",
            "uri": f"{store.uri}/towns/{run}/rv/predict/{name}",
        },
        "aoi_uris": None,
    }


def _rasters(number: int, side: int, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield key and bytes of each file of a scene: image, truth, predictions and COG copies."""
    import rasterio.shutil
    from affine import Affine

    from rvlab.raster import Classes
    from rvlab.raster.cog import labels_cog
    from rvlab.raster.read import Grid
    from rvlab.raster.window import Window

    name, rng = f"scene-{number}", np.random.default_rng(number)
    truth = _town(side, rng)
    grey = np.array([96, 168, 128, 0], np.uint8)[truth]
    image = grey + rng.integers(0, 24, truth.shape, np.uint8)
    transform = Affine(0.3, 0, LEFT, 0, -0.3, 3_999_000)
    plain = {"driver": "GTiff", "count": 1, "dtype": "uint8", "width": side, "height": side}
    plain |= {"crs": "EPSG:32611", "transform": transform}
    path, cog = folder / "raw.tif", folder / "cog.tif"
    for key, array in ((f"images/{name}.tif", image), (f"images/{name}-labels.tif", truth)):
        with rasterio.open(path, "w", **plain) as dataset:
            dataset.write(array, 1)
        made = {"compress": "DEFLATE", "blocksize": 512, "overview_resampling": "NEAREST"}
        rasterio.shutil.copy(path, cog, driver="COG", **made)
        yield key, _read_with_layout(key, cog)
    colors = ((217, 217, 217), (255, 165, 0), (70, 117, 180), (0, 0, 0))
    classes = Classes(tuple(CLASSES["names"]), colors, "null")
    grid = Grid(side, side, transform, rasterio.crs.CRS.from_string("EPSG:32611"))
    for shift, run in enumerate(IDS):
        guess = np.roll(truth, 2 * shift + 1, axis=1)
        key = f"towns/{run}/rv/predict/{name}/labels.tif"
        with rasterio.open(path, "w", **plain, blockxsize=512, blockysize=512) as dataset:
            dataset.write(guess, 1)
        yield key, path.read_bytes()
        key = f"towns/{run}/copies/{name}/labels.tif"
        with labels_cog(cog, grid, classes) as write:
            write(Window(0, 0, side, side), guess)
        yield key, _read_with_layout(key, cog)


def _move(data: bytes, metres: float) -> bytes:
    """Return a TIFF with its upper left corner further east, without writing it again."""
    old, new = (struct.pack("<d", LEFT + more) for more in (0.0, metres))
    assert old in data
    return data.replace(old, new, 1)


def _town(side: int, rng: np.random.Generator) -> Any:
    """Draw streets and houses, with as many edges as a real town."""
    ids = np.zeros((side, side), np.uint8)
    for at in range(0, side, 160):
        ids[at : at + 14] = ids[:, at : at + 14] = 2
    count = side * side // 4000
    places = rng.integers(0, side - 60, (count, 2))
    sizes = rng.integers(12, 50, (count, 2))
    for (row, col), (tall, wide) in zip(places.tolist(), sizes.tolist(), strict=True):
        ids[row : row + tall, col : col + wide] = 1
    return ids


def _read_with_layout(key: str, path: Path) -> bytes:
    """Return a file's bytes, and save the offsets of its tiles for the plain range requests."""
    import rasterio

    with rasterio.open(path) as dataset:
        block = dataset.block_shapes[0][0]
        across, down = (-(-n // block) for n in (dataset.width, dataset.height))
        tiles = [
            [int(dataset.get_tag_item(f"{n}_{x}_{y}", "TIFF", bidx=1) or 0) for n in FIELDS]
            for y in range(down)
            for x in range(across)
        ]
    layout = {"block": block, "across": across, "tiles": tiles}
    _layout(key).write_text(json.dumps(layout))
    return path.read_bytes()


FIELDS = ("BLOCK_OFFSET", "BLOCK_SIZE")


if __name__ == "__main__":
    main()
