"""Size limits of reads: each error has the size and the limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rvlab import frame
from rvlab.errors import RasterError, RecordBroken
from rvlab.frame.untrusted_parquet import decode_parquet
from rvlab.model.tables import EVALS_TABLE
from rvlab.raster.cells import cell_grid
from rvlab.raster.file_bytes import read_bytes
from rvlab.raster.vector_files import read_features
from rvlab.raster.window import Window
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from rvlab.store.table_file import arrow_schema
from tests.faults import damage

PEAK_MB = 600


def peak_of(code: str, *args: str) -> tuple[str, int]:
    """Run a child process, and return its output and its peak memory in MiB."""
    text = textwrap.dedent(code) + textwrap.dedent(
        r"""
        import re, resource, sys
        from pathlib import Path
        if sys.platform == "linux":  # ru_maxrss includes the parent's memory at the fork
            status = Path("/proc/self/status").read_text()
            print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024)
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20)
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text, *args],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    *said, peak = done.stdout.strip().splitlines()
    return "\n".join(said), int(peak)


def bomb(rows: int) -> bytes:
    """Return a small parquet file with very many equal rows of evaluations."""
    codes = pa.array([0] * (rows // 100), pa.int8())
    columns = []
    for one in arrow_schema(EVALS_TABLE):
        value = pa.array([0.5] if one.name == "value" else ["x" * 200], one.type)
        columns.append(pa.chunked_array([pa.DictionaryArray.from_arrays(codes, value)] * 100))
    table = pa.table(columns, EVALS_TABLE.names)
    return damage.parquet_of(table, store_schema=False, row_group_size=rows)


def test_small_parquet_file_of_many_rows_needs_little_memory(
    tmp_path: Path, figure: Callable[[str, object], None]
) -> None:
    store = Store(tmp_path / "store")
    run = damage.run_at(store, 0)
    data = bomb(5_000_000)
    assert len(data) < 500_000
    damage.write(store, run)
    store.put(run.key("tables", "evals.parquet"), data)
    said, peak = peak_of(
        """
        import sys, warnings
        from rvlab import frame
        from rvlab.store import Store
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            store = Store(sys.argv[1])
            table = frame.evals_table(store, frame.resolve_runs(store, "towns"))
        print(len(table), *(one.message for one in caught))
        """,
        store.uri,
    )
    assert said.startswith("0 ")
    assert "has 5,000,000 rows; more than 4,000,000 are not read" in said
    assert peak < PEAK_MB
    figure(f"peak memory, {len(data) // 1000} KB parquet of 5,000,000 rows, MiB", peak)


def test_dictionary_encoded_text_is_measured_before_it_is_decoded(
    figure: Callable[[str, object], None], tmp_path: Path
) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), ["x" * 1_000_000])
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"group": text}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 1_000_000
    said, peak = peak_of(
        """
        import sys
        from pathlib import Path
        from rvlab.errors import RecordBroken
        from rvlab.frame.untrusted_parquet import decode_parquet
        try:
            decode_parquet("k", Path(sys.argv[1]).read_bytes())
        except RecordBroken as exc:
            print(exc)
        """,
        str(path),
    )
    assert "bytes or more once it is decoded; more than 402,653,184 are not read" in said
    assert peak < PEAK_MB
    figure("peak memory, parquet of 50,000 texts of 1 MB in one, MiB", peak)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PAR1" + (2**31 - 1).to_bytes(4, "little") + b"PAR1", "has 2,147,483,647 bytes; more"),
        (damage.parquet_of(pa.table({f"c{i}": [1] for i in range(2500)})), "has 2,500 columns; "),
        (damage.parquet_of(pa.table([[1], [2]], ["a", "a"])), "it has two columns 'a'"),
        (b"PAR1" * 4, "bytes; more than 4,194,304 are not read"),
    ],
    ids=["footer", "columns", "twice", "short"],
)
def test_footer_of_a_parquet_file_is_limited(data: bytes, why: str) -> None:
    with pytest.raises(RecordBroken, match="k") as raised:
        decode_parquet("k", data)
    assert why in str(raised.value)


def test_file_within_the_limits_reads_as_with_pyarrow() -> None:
    texts = [f"{i % 97}-{'x' * (i % 50)}" for i in range(60_000)]
    table = pa.table({"t": texts, "n": range(60_000), "none": pa.nulls(60_000, pa.float64())})
    data = damage.parquet_of(table)
    assert decode_parquet("k", data).equals(table)
    assert decode_parquet("k", damage.parquet_of(table.slice(0, 10))).equals(table.slice(0, 10))
    assert decode_parquet("k", damage.parquet_of(table.slice(0, 0))).equals(table.slice(0, 0))


@pytest.mark.parametrize(
    ("key", "size", "limit"),
    [
        ("tables/evals.parquet", 200_000_000, 134_217_728),
        ("rv/train/log.csv", 40_000_000, 33_554_432),
    ],
)
def test_table_above_the_limit_is_not_fetched(
    tmp_path: Path, key: str, size: int, limit: int
) -> None:
    store = Store(tmp_path)
    run = damage.run_at(store, 0)
    damage.write(store, run, damage.Case(run, "x", run.key(key), b""))
    os.truncate(tmp_path / run.key(key), size)
    read = frame.evals_table if "evals" in key else frame.history_table
    with pytest.warns(UserWarning, match=f"has {size:,} bytes; more than {limit:,} are not read"):
        assert read(store, [run]).empty


def test_log_with_too_many_fields_is_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = damage.run_at(store, 0)
    data = b"epoch,a\n" + b"0,\n" * 1_100_000
    damage.write(store, run, damage.Case(run, "x", run.key("rv/train/log.csv"), data))
    with pytest.warns(UserWarning, match=r"has 2,200,002 fields; more than 2,000,000 are not"):
        assert frame.history_table(store, [run]).empty


def test_record_on_s3_above_the_limit_is_not_fetched(s3: Server, s3_access: S3Access) -> None:
    store = Store(f"s3://{s3.bucket}/limits", s3_access)
    run = damage.run_at(store, 0)
    store.put(run.end_key, b" " * 9_000_000)
    row = frame.runs_table(store, damage.EXPERIMENT).loc[run.id]
    assert row["state"] == "broken"
    assert row["error"] == f"{run.end_key} has 9,000,000 bytes; more than 8,388,608 are not read."


def test_geojson_above_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.touch()
    os.truncate(path, 200_000_000)
    with pytest.raises(RasterError, match=r"has 200,000,000 bytes; more than 134,217,728 are not"):
        read_bytes(str(path))


def test_property_values_of_geojson_are_limited(tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [0, 0]}
    features = [
        {"type": "Feature", "geometry": point, "properties": {f"p{i}": 1}} for i in range(6000)
    ]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(RasterError, match=r"36,000,000 values; more than 20,000,000 are not read"):
        read_features(str(path))


def test_number_of_grid_cells_is_limited() -> None:
    area = Window(0, 0, 60_000, 60_000)
    with pytest.raises(
        RasterError, match=r"has 3,600,000,000 cells .*; the number must be 1 to 4,000,000"
    ):
        cell_grid(area, 1)
    with pytest.raises(RasterError, match="0 cells of 0 px"):
        cell_grid(area, 0)
    assert len(cell_grid(area, 200)) == 90_000


SPARSE: dict[str, Any] = {"driver": "GTiff", "dtype": "uint8", "count": 1, "sparse_ok": True}


def sparse(path: Path, side: int, **more: Any) -> Path:
    """Create a GeoTIFF without any written block."""
    import rasterio
    from rasterio.transform import Affine

    where = {"transform": Affine(2, 0, 500_000, 0, -2, 4_000_000), "crs": "EPSG:32611"}
    with rasterio.open(path, "w", width=side, height=side, **where, **{**SPARSE, **more}):
        pass
    return path


@pytest.mark.parametrize("side", [20_000, pytest.param(60_000, marks=pytest.mark.extended)])
def test_sparse_raster_is_read_at_the_size_of_the_picture(
    tmp_path: Path, figure: Callable[[str, object], None], side: int
) -> None:
    path = sparse(tmp_path / "a.tif", side, tiled=True, blockxsize=512, blockysize=512)
    assert path.stat().st_size < 1_000_000
    said, peak = peak_of(
        """
        import sys
        from rvlab.raster import read
        chip = read(sys.argv[1], max_px=512)
        print(chip.array.shape, chip.full_grid.width)
        """,
        str(path),
    )
    assert said == f"(1, 512, 512) {side}"
    assert peak < PEAK_MB
    figure(f"peak memory, sparse TIFF of {side:,} x {side:,} px, MiB", peak)


def test_raster_blocks_and_pictures_above_the_limits_raise_with_both_numbers(
    tmp_path: Path,
) -> None:
    from rvlab.raster import read

    side = 32_768
    tile = sparse(tmp_path / "tile.tif", 60_000, tiled=True, blockxsize=side, blockysize=side)
    with pytest.raises(RasterError, match=r"1,073,741,824 bytes each; more than 268,435,456 are"):
        read(str(tile), Window(0, 0, 8, 8))
    huge = sparse(tmp_path / "huge.tif", 400_000, tiled=True, blockxsize=4096, blockysize=4096)
    with pytest.raises(RasterError, match=r"160,000,000,000 pixels .* more than 20,000,000,000"):
        read(str(huge), max_px=512)
    assert read(str(huge), Window(0, 0, 8, 8)).array.shape == (1, 8, 8)
    with pytest.raises(RasterError, match=r"are 160,000 MB; the limit of one read is 1,000 MB"):
        read(str(huge), max_px=None)
