"""Limits for files that other programs may have written, each with its reason.

A larger file is refused with a message that has its size and the limit; of a log only the end is
read. The limits are far above
what rvlab or Raster Vision writes, and far below what exhausts the reader's memory.
"""

from __future__ import annotations

from typing import NoReturn

from rvlab.errors import RecordBroken

MIB = 2**20

RECORD_BYTES = 8 * MIB
"""Size of a JSON record. A spec with a thousand parameters has about 50 KB."""

RECORD_NAMES = 5_000
"""Parameters, metrics or costs of one run, each of which becomes a column of the table of runs."""

RECIPE_BYTES = MIB
"""Size of a recipe's source that the record of a model's version includes."""

CONFIG_BYTES = 64 * MIB
"""Size of ``pipeline-config.json``. One with ten thousand scenes has about 20 MB."""

HPARAMS_BYTES = MIB
"""Size of Lightning's ``hparams.yaml``, which is parsed in Python."""

EVENTS_BYTES = 256 * MIB
"""Size of a TensorBoard event file, which may have images. A million scalars have about 60 MB."""

LOG_CSV_BYTES = 32 * MIB
"""Size of ``train/log.csv``. Ten thousand epochs with a hundred columns have about 18 MB."""

LOG_CSV_FIELDS = 2_000_000
"""Fields of ``train/log.csv``; a parsed field takes up to a hundred bytes."""

LOG_BYTES = 64 * MIB
"""Size of the log of a step; of a longer log only the end is read."""

TABLE_BYTES = 128 * MIB
"""Size of a parquet file in ``tables/``. The largest, of windows, has about 10 bytes per row."""

TABLE_ROWS = 4_000_000
"""Rows of such a file: 100 scenes in 2,048 windows of 20 classes."""

TABLE_COLUMNS = 2_000
"""Columns of such a file; a history has a column for each metric of each class."""

TABLE_DECODED_BYTES = 384 * MIB
"""Size of such a file after decoding, which the compressed size does not bound."""

FOOTER_BYTES = 4 * MIB
"""Size of the footer of a parquet file, which is read first."""

WINDOW_CELLS = 60_000_000
"""Window counts compared at once: 100 runs, 40,000 windows, 15 classes take 2 GB."""

CLASSES = 1_000
"""Classes of a run; a confusion matrix has their square. Raster Vision's rasters allow 255."""

GEOJSON_BYTES = 128 * MIB
"""Size of labels or boxes in GeoJSON, which take about ten times as much memory when parsed."""

GEOJSON_VALUES = 20_000_000
"""Property values of a GeoJSON file, in which each feature gets the properties of all features."""

VRT_BYTES = 8 * MIB
"""Size of a VRT file, which is XML. A mosaic of ten thousand files has about 5 MB."""

MOSAIC_FILES = 10_000
"""Files that form the image of one scene; the header of each is read."""

RASTER_BLOCK_BYTES = 256 * MIB
"""Size of one block of a raster, which GDAL decompresses at once; 64 KiB to 64 MiB are common."""

RASTER_SOURCE_PIXELS = 20_000_000_000
"""Pixels read for a downsampled picture, which takes a minute or more without overviews."""

MAX_CELLS = 4_000_000
"""Cells of a chip classification: one per pixel of 2,000 × 2,000 px."""

BUNDLE_BYTES = 16 * 2**30
"""Size of a bundle with a model, also unpacked. The largest models of torchvision have 1.3 GB."""

BUNDLE_FILES = 10_000
"""Files of a bundle. One of Raster Vision has about ten, and those of a module definition."""

RASTER_CACHE_BYTES = 256 * MIB
"""Size of GDAL's block cache; its default is a twentieth of the machine's memory."""

RECORD_DEPTH = 200
"""Nesting depth of a JSON file, which is the limit of pydantic-core's parser."""


def too_large(key: str, found: int, limit: int, what: str = "bytes") -> NoReturn:
    """Raise the error for a file that is larger than a limit.

    Args:
        key: The key of the file.
        found: What the file has, in the unit `what`.
        limit: The largest accepted value, in the same unit.
        what: The unit, such as ``bytes`` or ``rows``.

    Raises:
        RecordBroken: Always, with both numbers.
    """
    raise RecordBroken(f"{key} has {found:,} {what}; more than {limit:,} are not read.")
