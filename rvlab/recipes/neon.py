"""Download and verification of a tile of NEON's airborne imagery from the DeepForest wheel."""

from __future__ import annotations

import csv
import hashlib
import secrets
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import StoreError
from rvlab.store.local_folders import user_cache_dir

WHEEL = "deepforest==2.1.0"
SHA256 = {
    "OSBS_029.tif": "8521dbb5e8063d37d61895867dfcca7476491d1345103dc1b3fd96f71b186353",
    "OSBS_029.csv": "83ecd1fb6339eb0997c5a543300295fdd6e0d23c943f50429eb82d149905adba",
}


@dataclass(frozen=True)
class NeonTile:
    """A tile and its trees.

    Args:
        image: RGB, ``(400, 400, 3)``.
        crowns: Whether a pixel is in the ellipse of a tree's box, ``(400, 400)``.
        crs: Its coordinate reference system.
        transform: The affine transform from pixels to the CRS.
    """

    image: NDArray[np.uint8]
    crowns: NDArray[np.bool_]
    crs: str
    transform: Any


def fetch_tile_files() -> dict[str, Path]:
    """Return the files of the tile and its boxes, downloaded by pip if they are not cached.

    Returns:
        The path of each file by name, with verified SHA-256.

    Raises:
        StoreError: If they cannot be downloaded, or their SHA-256 differs.
    """
    folder = user_cache_dir() / WHEEL.replace("==", "-")
    paths = {name: folder / name for name in SHA256}
    if not all(path.is_file() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory() as tmp,
            zipfile.ZipFile(_download_wheel(Path(tmp))) as wheel,
        ):
            for name, path in paths.items():
                part = path.with_name(f"{name}.{secrets.token_hex(4)}.part")
                part.write_bytes(wheel.read(f"deepforest/data/{name}"))
                part.replace(path)
    for path in paths.values():
        _check_sha256(path)
    return paths


@cache
def load_tile() -> NeonTile:
    """Read the tile, with its boxes as ellipses.

    Raises:
        StoreError: If it cannot be downloaded, or its SHA-256 differs.
    """
    import rasterio

    paths = fetch_tile_files()
    with rasterio.open(paths["OSBS_029.tif"]) as raster:
        image = np.moveaxis(raster.read(), 0, -1)
        crs, transform = str(raster.crs), raster.transform
    rows, cols = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    crowns = np.zeros(image.shape[:2], dtype=bool)
    with paths["OSBS_029.csv"].open(newline="") as lines:
        for line in csv.DictReader(lines):
            left, top, right, bottom = (float(line[k]) for k in ("xmin", "ymin", "xmax", "ymax"))
            x = (2 * cols - left - right) / (right - left)
            y = (2 * rows - top - bottom) / (bottom - top)
            crowns |= x**2 + y**2 <= 1
    return NeonTile(image, crowns, crs, transform)


def _check_sha256(path: Path) -> None:
    found, wanted = hashlib.sha256(path.read_bytes()).hexdigest(), SHA256[path.name]
    if found != wanted:
        raise StoreError(
            f"{path} is not the file that {WHEEL} contains: its SHA-256 begins with {found[:12]}, "
            f"not with {wanted[:12]}. Delete it; the next run downloads it again."
        )


def _download_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", WHEEL, "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("deepforest-*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["it left no wheel"])[-1]
        raise StoreError(
            f"The imagery of neon_trees could not be fetched: pip download {WHEEL} failed "
            f"({reason}). Run the command where PyPI can be reached, or put "
            f"{' and '.join(SHA256)} into {user_cache_dir() / WHEEL.replace('==', '-')}."
        )
    return wheels[0]
