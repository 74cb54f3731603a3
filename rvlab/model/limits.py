"""How much is read of a file that someone else may have written; each limit with its reason.

A record that is larger is refused with both numbers, the size that was found and the limit. The
limits are far above what rvlab or Raster Vision writes, and far below what harms the reader.
"""

from __future__ import annotations

from typing import NoReturn

from rvlab.errors import RecordBroken

MIB = 2**20

RECORD_BYTES = 8 * MIB
"""Of a spec, step, end or edit in JSON. One with a thousand parameters has about 50 KB."""

RECORD_NAMES = 5_000
"""Parameters, metrics or costs of one run: each becomes a column of the table of runs."""

CONFIG_BYTES = 64 * MIB
"""Of ``pipeline-config.json``. One with ten thousand scenes has about 20 MB."""

LOG_CSV_BYTES = 32 * MIB
"""Of ``train/log.csv``. Ten thousand epochs with a hundred columns have about 18 MB."""

LOG_CSV_FIELDS = 2_000_000
"""Of ``train/log.csv``; a field takes up to a hundred bytes once it is read."""

LOG_BYTES = 64 * MIB
"""Of what a step printed; of a longer log the end is read."""

TABLE_BYTES = 128 * MIB
"""Of a parquet file in ``tables/``. The largest, of windows, has about 10 bytes a row."""

TABLE_ROWS = 4_000_000
"""Of such a file: 100 scenes in 2,048 windows of 20 classes."""

TABLE_COLUMNS = 2_000
"""Of such a file; a history has a column for each metric of each class."""

TABLE_DECODED_BYTES = 384 * MIB
"""Of such a file once it is decompressed and decoded, which compression says nothing about."""

FOOTER_BYTES = 4 * MIB
"""Of a parquet file's description, which is read before anything else."""

WINDOW_CELLS = 60_000_000
"""Counts of windows that are compared at once: 100 runs, 40,000 windows, 15 classes. 2 GB."""

CLASSES = 1_000
"""Of a run: a table of confusion has their square. Raster Vision's rasters hold 255 at most."""

GEOJSON_BYTES = 128 * MIB
"""Of labels or boxes in GeoJSON, which take about ten times as much once they are read."""

GEOJSON_VALUES = 20_000_000
"""Properties of a GeoJSON file: each feature gets those of all."""

VRT_BYTES = 8 * MIB
"""Of a VRT, which is XML. A mosaic of ten thousand files has about 5 MB."""

RASTER_BLOCK_BYTES = 256 * MIB
"""Of one block of a raster, which is decompressed whole. Common are 64 KiB to 64 MiB."""

RASTER_SOURCE_PIXELS = 20_000_000_000
"""Pixels that are read to make a smaller picture: a minute or more. Overviews make it few."""

CELLS = 4_000_000
"""Cells of a chip classification's grid: each pixel of 2,000 × 2,000 px."""

RASTER_CACHE_BYTES = 256 * MIB
"""Of blocks that GDAL keeps in memory; its default is a twentieth of the machine's memory."""

RECORD_DEPTH = 200
"""Lists and objects within one another in a JSON file; pydantic-core's parser allows no more."""


def too_large(key: str, found: int, limit: int, what: str = "bytes") -> NoReturn:
    """Refuse a file that is larger than what is read.

    Args:
        key: The file.
        found: How much there is.
        limit: How much is read.
        what: Of what.

    Raises:
        RecordBroken: Always; it names both numbers.
    """
    raise RecordBroken(f"{key} has {found:,} {what}; more than {limit:,} are not read.")
