"""Benchmark: a prediction of an image of 20,000 x 20,000 px with three bands, larger than memory.

A small model is trained first. Then ``lab.predict`` runs on the local engine, as for a user. Peak
memory is that of the processes of the steps, as their records have it.

Goal: at most 2 GB. The time is compared with the lower limit: reading the image block by block with
rasterio. A prediction takes many times as long.

    python benchmarks/predict.py [--side 20000] [--chip 256] [--overlap 0.25] [--labels]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rvlab import Lab

BLOCK_PX = 512


def main() -> None:
    """Train, predict and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--chip", type=int, default=256)
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--no-scores", dest="scores", action="store_false")
    parser.add_argument("--labels", action="store_true", help="score the prediction, too")
    parser.add_argument("--store", type=Path, help="folder of the runs; default: temporary")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rvlab-predict-") as temporary:
        folder = options.store or Path(temporary)
        lab = Lab(folder / "store")
        size: dict[str, Any] = {"scene_px": 2 * options.chip, "chip_px": options.chip}
        size |= {"train_scenes": 2, "validation_scenes": 1, "epochs": 2, "width": 4}
        model = lab.submit("synthetic_town", experiment="towns", **size)
        lab.wait(model)
        image, labels = folder / "large.tif", None
        _write_image(image, next(folder.rglob("validation-0.tif")), options.side, step=16)
        if options.labels:
            labels = folder / "large-labels.tif"
            _write_image(labels, next(folder.rglob("validation-0-labels.tif")), options.side)
        run = lab.predict(
            model, image, labels=labels, overlap=options.overlap, scores=options.scores
        )
        row = lab.wait(run).iloc[0]
        if row["state"] != "succeeded":
            raise SystemExit(row["error"])
        read_s = min(_read_blocks(image) for _ in range(2))
        steps = lab.steps(run)
        peaks: dict[str, float] = dict(zip(steps["step"], steps["peak_mb"], strict=True))
        print(
            f"image: {options.side:,} × {options.side:,} px, {image.stat().st_size / 1e6:,.0f} MB"
        )
        for name in [one for one in ("predict", "eval", "summarize") if one in peaks]:
            seconds, peak = row[f"costs.{name}_s"], peaks[name] * 1.048576
            print(f"{name}: {seconds:.0f} s, {seconds / read_s:.1f} x reading; {peak:,.0f} MB")
        print(f"reading block by block: {read_s:.1f} s")
        print(f"peak memory: {row['costs.peak_mb'] * 1.048576:,.0f} MB (goal: at most 2,000 MB)")
        files = lab.artifacts(run)
        print(files[["kind", "bytes"]].to_string(index=False))


def _write_image(path: Path, tile: Path, side: int, step: int = 1) -> None:
    """Write a raster that repeats a tile, in steps of its values, so that it is written fast."""
    import rasterio

    with rasterio.open(tile) as dataset:
        pixels = dataset.read() // step * step
        profile = dataset.profile
    repeats = -(-BLOCK_PX // pixels.shape[1])
    block = np.tile(pixels, (1, repeats, repeats))[:, :BLOCK_PX, :BLOCK_PX]
    profile |= {"width": side, "height": side, "tiled": True, "compress": "lzw", "predictor": 1}
    profile |= {"blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "bigtiff": "IF_SAFER"}
    with rasterio.open(path, "w", **profile) as dataset:
        for _, window in dataset.block_windows(1):
            dataset.write(block[:, : window.height, : window.width], window=window)


def _read_blocks(path: Path) -> float:
    """Return the seconds of reading an image block by block."""
    import rasterio

    start = time.perf_counter()
    with rasterio.open(path) as dataset:
        for _, window in dataset.block_windows(1):
            dataset.read(window=window)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
