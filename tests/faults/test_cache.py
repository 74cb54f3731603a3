"""Cache faults: damaged blocks are deleted, and missing keys of a partial copy are not cached."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pytest

from rvlab import frame
from rvlab.cache import block_file, local, private_files, row_cache
from rvlab.cache.background import DeferredWrites
from rvlab.cache.block import RowBlock
from rvlab.cache.block_file import BlockDamaged
from rvlab.cache.shared import SharedRowCache
from rvlab.store import Store
from rvlab.store.annotation import write_annotations
from tests.faults import cache_damage as damage
from tests.frame.samples import Made

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with shared blocks, its local cache, and its tables."""
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RVLAB_CACHE", str(folder / "cache"))
        patch.setattr(row_cache, "FEW_KEYS", 0)
        patch.setattr(row_cache, "MIN_SHARED_KEYS", 2)
        damage.prepare(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache folder."""
    monkeypatch.setenv("RVLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write shared blocks from two runs on."""
    monkeypatch.setattr(row_cache, "FEW_KEYS", 0)
    monkeypatch.setattr(row_cache, "MIN_SHARED_KEYS", 2)


def campaign(folder: Path, way: str, start: int, count: int) -> Counter[str]:
    """Damage blocks in a child process; a crash fails the test with the number of the case."""
    command = [
        sys.executable,
        "-m",
        "tests.faults.cache_damage",
        folder,
        way,
        "blocks",
        start,
        count,
    ]
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}:\n{done.stderr[-3000:]}"
    return Counter(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("way", ["local", "shared"])
def test_damaged_block_is_detected_and_the_table_is_correct(prepared: Path, way: str) -> None:
    seen = campaign(prepared, way, 0, 30)
    assert seen["same"] == seen["warned"] == seen["cases"] == 30


def test_forged_block_never_crashes_the_reader(prepared: Path) -> None:
    seen = campaign(prepared, "forged", 0, 15)
    assert seen["cases"] == 15


@pytest.mark.extended
def test_damaged_blocks_at_full_size(prepared: Path, figure: Callable[[str, object], None]) -> None:
    total: Counter[str] = Counter()
    for way, count in (("local", 300), ("shared", 300)):
        seen = campaign(prepared, way, 1000, count)
        assert seen["same"] == seen["warned"] == count
        total += seen
    forged = campaign(prepared, "forged", 1000, 200)
    figure("damaged block files", total["cases"])
    figure("damaged block files: crashes", 0)
    figure("damaged block files: wrong tables", total["cases"] - total["same"])
    figure("damaged block files: noticed", total["warned"])
    figure("forged block files with a valid digest", forged["cases"])
    figure("forged block files: crashes", 0)


def block_of(keys: int = 3) -> RowBlock:
    names = [f"run-{n}" for n in range(keys)]
    rows = pa.table({"text": [f"row {n}" for n in range(keys)]})
    return RowBlock(rows, names, [f"tag-{n}" for n in range(keys)])


def stream_of(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as out:
        out.write_table(table)
    return sink.getvalue().to_pybytes()


def block_with(table: bytes, **index: Any) -> bytes:
    """Return a block whose streams were not written by `encode`."""
    columns: dict[str, Any] = {"key": ["a"], "tag": ["x"], "rows": [1], "block": [None], **index}
    types = [pa.string(), pa.string(), pa.int64(), pa.int64()]
    arrays = [pa.array(v, t) for v, t in zip(columns.values(), types, strict=True)]
    empty = pa.table({"name": pa.array([], pa.string())})
    pieces = [stream_of(pa.table(dict(zip(columns, arrays, strict=True)))), stream_of(empty), table]
    head = block_file._SIZES.pack(block_file._MAGIC, *map(len, pieces)).ljust(64, b"\0")
    return b"".join(piece + bytes(-len(piece) % 64) for piece in (head, *pieces))


ONE = pa.table({"text": ["a"]})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (block_with(stream_of(ONE), rows=[10**12]), "counts 1000000000000 rows, not 1"),
        (block_with(stream_of(ONE), rows=[-1]), "counts -1 rows"),
        (block_with(stream_of(ONE), rows=[None]), "counts 0 rows, not 1"),
        (block_with(stream_of(ONE), key=[None]), "keys are not unique"),
        (block_with(stream_of(ONE), block=[0]), "a shared block that is not listed"),
        (block_with(stream_of(ONE), block=[-1]), "a shared block that is not listed"),
        (
            block_with(
                stream_of(ONE), key=["a", "a"], tag=["x", "x"], rows=[1, 0], block=[None, None]
            ),
            "keys are not unique",
        ),
        (block_with(stream_of(pa.table({"a": [b"\xff"]}))), "has the type binary"),
        (block_with(stream_of(pa.table({"a": [[1]]}))), "has the type list"),
        (block_with(stream_of(pa.table({"a": pa.nulls(10**7)})), rows=[10**7]), "the type null"),
        (
            block_with(stream_of(pa.table({"a": ["x" * 9999]}), "zstd")),
            "compressed or unknown",
        ),
        (block_with(b""), "cannot be read|no schema"),
        (block_with(stream_of(ONE))[:-64], "cut off"),
        (b"PAR1" * 99, "does not start"),
        (b"", "cannot be read|does not start"),
    ],
)
def test_invalid_block_with_a_valid_digest_raises(data: bytes, reason: str) -> None:
    with pytest.raises(BlockDamaged, match=reason):
        block_file.decode_block(data)


def test_block_survives_encoding_and_decoding() -> None:
    part = block_of().with_shared_block_names(["first", None, "second"])
    compressed = block_file.compress_block(block_file.encode_block(part))
    found = block_file.decode_block(block_file.decompress_block(compressed))
    assert found.table.equals(part.table)
    for name in ("keys", "etags", "row_counts", "shared_block_names"):
        assert getattr(found, name) == getattr(part, name)


def test_size_of_a_block_is_limited_before_it_is_decompressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = block_file.compress_block(block_file.encode_block(block_of()))
    bomb = block_file._SHARED.pack(block_file._MAGIC, 4_300_000_000) + data[16:]
    limit = block_file.MAX_BLOCK_BYTES
    with pytest.raises(BlockDamaged, match=f"has 4300000000 bytes .* limit is {limit}"):
        block_file.decompress_block(bomb)
    for size in (0, 1, 10**6):  # sizes that differ from the actual one
        lie = block_file._SHARED.pack(block_file._MAGIC, size) + data[16:]
        with pytest.raises(BlockDamaged):
            block_file.decode_block(block_file.decompress_block(lie))
    monkeypatch.setattr(block_file, "MAX_ROWS", 2)
    with pytest.raises(BlockDamaged, match="has 3 rows; the limit is 2"):
        block_file.decode_block(block_file.encode_block(block_of()))


@pytest.mark.usefixtures("cache", "small_blocks")
def test_block_above_the_limits_is_not_written_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    made = Made(store)
    for n in range(4):
        made.ended({"lr": n})
    monkeypatch.setattr(block_file, "MAX_BLOCK_BYTES", 1000)
    whole = damage.table_of(store, "runs")
    assert store.files("towns/cache") == []
    monkeypatch.undo()
    monkeypatch.setenv("RVLAB_CACHE", str(tmp_path / "second"))
    monkeypatch.setattr(row_cache, "FEW_KEYS", 0)
    monkeypatch.setattr(row_cache, "MIN_SHARED_KEYS", 2)
    damage.table_of(store, "runs")
    ((key, _),) = store.files("towns/cache")
    monkeypatch.setattr(block_file, "MAX_FILE_BYTES", 1000)
    monkeypatch.setenv("RVLAB_CACHE", str(tmp_path / "third"))
    with pytest.warns(UserWarning, match=r"has \d{4} bytes; the limit is 1000"):
        pd.testing.assert_frame_equal(damage.table_of(store, "runs"), whole)
    assert store.files("towns/cache") == []  # it was removed, and the new one is too large
    assert key


@pytest.mark.usefixtures("small_blocks")
def test_damaged_shared_block_is_ignored_if_the_reader_may_not_delete_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rvlab.errors import StoreError

    store = Store(tmp_path / "store")
    made = Made(store)
    for n in range(4):
        made.ended({"lr": n})
    whole = damage.table_of(store, "runs")
    ((key, _),) = store.files("towns/cache")
    store.put(key, b"")
    monkeypatch.setenv("RVLAB_CACHE", str(cache / "second"))

    def refuse(*_: Any, **__: Any) -> None:
        raise StoreError("The bucket refused the credentials.")

    monkeypatch.setattr(store._objects, "put", refuse)
    monkeypatch.setattr(store._objects, "delete", refuse)
    with pytest.warns(UserWarning, match="shared cache block of 'runs'"):
        pd.testing.assert_frame_equal(damage.table_of(store, "runs"), whole)
    assert [one for one, _ in store.files("towns/cache")] == [key]


def test_cache_files_are_private_to_the_user(tmp_path: Path, cache: Path) -> None:
    (cache / "tables").mkdir(parents=True, mode=0o755)
    store = Store(tmp_path / "store")
    Made(store).ended({"lr": 1})
    before = os.umask(0)
    try:
        damage.table_of(store, "runs")
    finally:
        os.umask(before)
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (cache / "tables").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert stat.S_IMODE((cache / "tables").stat().st_mode) == 0o700


@pytest.mark.usefixtures("cache")
def test_cache_folder_of_another_user_is_not_used(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    Made(store).ended({"lr": 1})
    damage.table_of(store, "runs")
    files = sorted(p for p in cache.rglob("*") if p.is_file())
    private_files.try_make_private_folder.cache_clear()
    plain = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: plain + 1)  # the folder belongs to another
    Made(store).ended({"lr": 2})
    with pytest.warns(UserWarning, match="is not used: it belongs to user .* Set RVLAB_CACHE"):
        assert len(damage.table_of(store, "runs")) == 2
    assert sorted(p for p in cache.rglob("*") if p.is_file()) == files
    private_files.try_make_private_folder.cache_clear()


@pytest.mark.parametrize("kind", ["fifo", "symlink", "folder"])
def test_cache_file_that_is_not_a_regular_file_is_ignored(
    tmp_path: Path, cache: Path, kind: str
) -> None:
    store = Store(tmp_path / "store")
    Made(store).ended({"lr": 1})
    whole = damage.table_of(store, "runs")
    (path,) = (p for p in cache.rglob("runs-*/*") if p.is_file())
    data = path.read_bytes()
    local._in_memory.clear()
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)  # a read would block until a writer opens it
    elif kind == "folder":
        path.mkdir()
    else:
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    pd.testing.assert_frame_equal(damage.table_of(store, "runs"), whole)


def test_truncated_file_does_not_change_a_block_in_use(tmp_path: Path, cache: Path) -> None:
    store = Store(tmp_path / "store")
    made = Made(store)
    for n in range(200):
        made.ended({"lr": n}, {"f1": n})
    damage.table_of(store, "runs")
    script = """
import sys
from pathlib import Path
from rvlab import frame
from rvlab.store import Store
store = Store(sys.argv[1])
first = frame.runs_table(store, None).drop(columns="age")
for path in Path(sys.argv[2]).rglob("*.arrow"):
    with path.open("r+b") as file:
        file.truncate(10)
assert frame.runs_table(store, None)[first.columns].equals(first)
print(len(first))
"""
    command = [sys.executable, "-c", script, str(store.uri), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr


def test_block_is_synced_to_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: steps.append("fsync") or sync(file))
    monkeypatch.setattr(
        Path, "replace", lambda path, new: steps.append("replace") or replace(path, new)
    )

    def fill(name: str) -> Callable[[BinaryIO], str]:
        def content(out: BinaryIO) -> str:
            out.write(b"content")
            return name

        return content

    private_files.write_atomically(tmp_path / "folder", fill("file"))
    assert steps == ["fsync", "replace"]

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        private_files.write_atomically(tmp_path / "folder", fill("other"))
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


COPIED = ("runs", "evals", "confusion", "scenes", "history", "artifacts")


def source(folder: Path) -> Store:
    """Return a store of succeeded, failed and tagged runs, with all their tables."""
    store = Store(folder / "source")
    made = Made(store)
    for n in range(6):
        run = made.ended({"lr": n}, {"f1": n / 6}, state="failed" if n == 4 else "succeeded")
        if n == 4:
            store.put(run.key("rv", "train", "log.csv"), b"epoch,loss\n0,1\n1,0.5\n")
            continue
        made.table(run, "evals", [{**damage.EVAL, "value": n / 6}])
        made.table(run, "confusion", [{**damage.PAIR, "count": n}])
        made.table(run, "scenes", [damage.SCENE] if n != 3 else [])
        made.table(run, "artifacts", [damage.FILE])
        damage.history(store, run, n)
        store.put(run.key("rv", "train", "log.csv"), b"epoch,loss\n0,7\n")
        if n % 2:
            write_annotations(store, [run], "me@here", note=f"n{n}")
    return store


def tables(store: Store, cache: Path) -> dict[str, pd.DataFrame]:
    """Read every table with a cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RVLAB_CACHE", str(cache))
        return {name: damage.table_of(store, name) for name in COPIED}


def without_shared(store: Store, cache: Path) -> dict[str, pd.DataFrame]:
    """Read every table from the records, without any block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedRowCache, "names", lambda _: [])
        patch.setattr(SharedRowCache, "write", lambda *_: "none")
        return tables(store, cache)


def copied_in_random_order(folder: Path, seed: int, target: Store) -> int:
    """Copy a store key by key, read it in between, and compare with a reader without a cache."""
    rng, origin = random.Random(seed), source(folder)
    keys = [key for key, _ in origin.files()]
    rng.shuffle(keys)
    reads = 0
    for number, key in enumerate(keys):
        target.put(key, origin.get(key))
        if rng.random() < 0.12 or number == len(keys) - 1:
            reads += 1
            mine = tables(target, folder / f"reader-{rng.randint(0, 1)}")
            cold = without_shared(target, folder / f"cold-{number}")
            for name, table in mine.items():
                equal(table, cold[name], f"{name} after {number + 1} keys, seed {seed}")
    last = tables(target, folder / "last")
    for name, table in tables(origin, folder / "origin").items():
        equal(
            last[name].drop(columns="uri", errors="ignore"),
            table.drop(columns="uri", errors="ignore"),
            name,
        )
    return reads


def equal(one: pd.DataFrame, other: pd.DataFrame, what: str) -> None:
    volatile = ["duration", "age"]
    one, other = (t.drop(columns=volatile, errors="ignore") for t in (one, other))
    pd.testing.assert_frame_equal(one, other, check_like=True, obj=what)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(2))
def test_partially_copied_store_reads_the_same_with_and_without_a_cache(
    tmp_path: Path, seed: int
) -> None:
    assert copied_in_random_order(tmp_path, seed, Store(tmp_path / "target"))


@pytest.mark.extended
@pytest.mark.usefixtures("small_blocks")
def test_partially_copied_stores_at_full_size(
    tmp_path: Path, s3: Any, s3_access: Any, figure: Callable[[str, object], None]
) -> None:
    reads = 0
    for seed in range(100, 120):
        folder = tmp_path / str(seed)
        target = Store(folder / "target")
        if seed % 4 == 0:
            target = Store(f"s3://{s3.bucket}/{tmp_path.name}-{seed}", s3_access)
        reads += copied_in_random_order(folder, seed, target)
    figure("stores copied in a random order", 20)
    figure("stores copied in a random order: reads compared with a reader without a cache", reads)


@pytest.mark.usefixtures("cache")
def test_missing_table_is_requested_again_and_a_table_without_rows_is_not(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = Made(store)
    late, empty = made.ended({"lr": 1}), made.ended({"lr": 2})
    made.table(empty, "evals", [])
    assert len(damage.table_of(store, "evals")) == 0
    store.put(empty.key("tables", "evals.parquet"), b"is read once")
    made.table(late, "evals", [damage.EVAL])
    assert list(damage.table_of(store, "evals")["run"]) == [late.id]


@pytest.mark.usefixtures("cache")
def test_log_of_an_ended_run_is_read_until_its_history_exists(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    run = Made(store).ended({"lr": 1})
    log = run.key("rv", "train", "log.csv")
    store.put(log, b"epoch,loss\n0,1\n")
    assert len(damage.table_of(store, "history")) == 1
    store.put(log, b"epoch,loss\n0,1\n1,0.5\n")  # the copy continues
    assert len(damage.table_of(store, "history")) == 2
    damage.history(store, run, 3)
    assert list(damage.table_of(store, "history")["loss"]) == [3, 1.5]
    store.delete([log, run.key("tables", "history.parquet")])
    assert list(damage.table_of(store, "history")["loss"]) == [3, 1.5]


@pytest.mark.usefixtures("cache", "small_blocks")
def test_readers_in_threads_share_a_damaged_block(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = Made(store)
    for n in range(6):
        made.ended({"lr": n})
    whole = damage.table_of(store, "runs")
    (path,) = (p for p in Path(os.environ["RVLAB_CACHE"]).rglob("runs-*/*.arrow"))
    path.write_bytes(path.read_bytes()[:-1])
    local._in_memory.clear()
    with pytest.warns(UserWarning, match="damaged"), ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: frame.runs_table(store, None), range(8)))
    DeferredWrites.flush()
    for table in found:
        pd.testing.assert_frame_equal(table.drop(columns="age"), whole)
