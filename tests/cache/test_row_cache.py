"""The read cache: ended runs are read once, and cached rows are used only while they are valid."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from rvlab import frame
from rvlab.cache import block_file, evict, local, row_cache
from rvlab.cache.arrow import run_rows_to_arrow
from rvlab.cache.background import DeferredWrites
from rvlab.cache.block import RowBlock
from rvlab.cache.local import LocalRowCache
from rvlab.cache.shared import SharedRowCache
from rvlab.errors import StoreError, StoreUnreachable
from rvlab.model import Run
from rvlab.store import S3Access, Store
from rvlab.store.object_storage import ObstoreStorage
from rvlab.store.run_listing import reopen_run
from tests.frame.samples import Made
from tests.frame.test_tables import EVAL


def table(store: Store) -> pd.DataFrame:
    return wait_for_writes(frame.runs_table(store, None).drop(columns="age"))


def wait_for_writes(table: pd.DataFrame) -> pd.DataFrame:
    """Wait for the background writes."""
    DeferredWrites.flush()
    return table


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache folder."""
    monkeypatch.setenv("RVLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Read with another cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RVLAB_CACHE", str(folder))
        yield


@pytest.fixture
def far(s3: Any, s3_access: S3Access, tmp_path: Path) -> Store:
    """Return an empty store on S3."""
    return Store(f"s3://{s3.bucket}/{tmp_path.name}", s3_access)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write shared blocks from two runs on, and look up every missing run in them."""
    monkeypatch.setattr(row_cache, "FEW_KEYS", 0)
    monkeypatch.setattr(row_cache, "MIN_SHARED_KEYS", 2)
    monkeypatch.setattr(row_cache, "_read_only", set())


def blocks(store: Store) -> list[str]:
    return [key for key, _ in store.files("towns/cache/runs-3")]


@pytest.mark.usefixtures("cache")
def test_ended_run_is_read_once(store: Store, made: Made, read: list[str]) -> None:
    runs = [made.ended({"lr": n}, {"f1": n / 10}) for n in range(5)]
    first = table(store)
    assert sorted(read) == ["rvlab.json", *(run.end_key for run in runs)]
    read.clear()
    pd.testing.assert_frame_equal(table(store), first)
    assert read == []
    new = made.ended({"lr": 9.5, "width": 2})
    assert list(table(store)["params.lr"]) == [0, 1, 2, 3, 4, 9.5]
    assert read == [new.end_key]


def test_returned_table_can_be_changed_without_an_effect_on_the_cache(
    store: Store, made: Made, cache: Path
) -> None:
    runs = [made.ended({"lr": 0.5, "n": n, "on": True}, {"f1": n / 10}) for n in range(3)]
    made.table(runs[0], "evals", EVAL)
    store.put(runs[0].key("rv", "train", "log.csv"), b"epoch,a_f1,loss\n0,0.5,1\n1,0.6,2\n")
    first, wanted = table(store), frame.select_listings(store, None)
    LocalRowCache(store, "towns", "runs").remove(p.name for p in files(cache))
    for _ in range(2):  # read from the runs, then from the cache
        found = wait_for_writes(table(store))
        for other in (found, frame.evals_table(store, wanted), frame.history_table(store, wanted)):
            assert len(other)
            for name, column in other.items():
                other.loc[other.index[-1], name] = column.iloc[0]
        assert found["params.n"].tolist() == [0, 1, 0]
        pd.testing.assert_frame_equal(table(store), first)


@pytest.mark.usefixtures("cache")
def test_selected_runs_come_from_the_cache_and_leave_the_others_in_it(
    store: Store, made: Made, read: list[str]
) -> None:
    runs = [made.ended({"lr": n}) for n in range(5)]
    table(store)
    read.clear()
    assert list(frame.runs_table(store, [runs[3], runs[1]])["params.lr"]) == [3, 1]
    new = made.ended({"lr": 7})
    assert list(frame.runs_table(store, [new, runs[0]])["params.lr"]) == [7, 0]
    assert read == [new.end_key]
    assert len(table(store)) == 6
    assert read == [new.end_key]


@pytest.mark.usefixtures("cache", "small")
def test_changed_replaced_or_deleted_record_shows_at_the_next_call(
    store: Store, made: Made, tmp_path: Path
) -> None:
    runs = [made.ended({"lr": n}, {"f1": 0.5}) for n in range(6)]
    table(store)
    assert blocks(store)
    changed = store.get_json(runs[0].end_key)
    store.put_json(runs[0].end_key, {**changed, "metrics": {"f1": 0.9}})
    before = store.get_json(runs[1].end_key)
    store.put(runs[1].end_key, b"{")
    store.delete([runs[2].end_key])
    reopen_run(store, runs[3])
    for folder in ("cache", "another"):
        with cache_in(tmp_path / folder):
            found = table(store)
        assert found.loc[runs[0].id, "metrics.f1"] == 0.9
        assert found.loc[runs[1].id, "state"] == "broken"
        assert runs[2].id not in found.index
        assert found.loc[runs[3].id, "state"] == "queued"
        assert found.loc[runs[4].id, "metrics.f1"] == 0.5
    store.put_json(runs[1].end_key, before)
    assert table(store).loc[runs[1].id, "state"] == "succeeded"


def files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("damage", ["half", "none", "other", "gone", "form", "columns"])
def test_damaged_cache_is_rebuilt(
    store: Store, made: Made, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    for n in range(3):
        made.ended({"lr": n}, {"f1": 0.5})
    whole = table(store)
    local._in_memory.clear()
    (path,) = (path for path in files(cache) if path.parent.name.startswith("runs"))
    data = path.read_bytes()
    if damage != "form":
        path.unlink()  # a new file, so that a mapping of another process does not change
    if damage == "form":
        monkeypatch.setattr(local, "FORMAT", block_file.FORMAT + 1)
    elif damage == "columns":
        other = run_rows_to_arrow([{"params": {"lr": 5}}] * 3).drop_columns(["state"])
        name = LocalRowCache(store, "towns", "runs").write(
            RowBlock(other, list(whole.index), ["x", "y", "z"])
        )
        assert name in {path.name for path in files(cache)}
    elif damage != "gone":
        path.write_bytes({"half": data[: len(data) // 2], "none": b"", "other": b"?" * 999}[damage])
    if damage in ("half", "none", "other"):
        with pytest.warns(UserWarning, match="was damaged and is deleted"):
            pd.testing.assert_frame_equal(table(store), whole)
    pd.testing.assert_frame_equal(table(store), whole)
    pd.testing.assert_frame_equal(table(store), whole)


def test_tables_are_read_without_a_writable_cache(store: Store, made: Made, tmp_path: Path) -> None:
    made.ended({"lr": 1})
    (tmp_path / "file").write_text("no folder")
    with cache_in(tmp_path / "file"):
        assert len(table(store)) == len(table(store)) == 1


def test_least_recently_used_files_are_deleted_above_the_size_limit(
    store: Store, made: Made, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        made.ended(experiment=f"e{n}")
        wait_for_writes(frame.runs_table(store, f"e{n}"))
        for path in files(cache):
            os.utime(path, (n, n))
    sizes = {path: path.stat().st_size for path in files(cache)}
    made.ended(experiment="last")
    monkeypatch.setattr(local, "MAX_DISK_BYTES", 2 * max(sizes.values()))
    wait_for_writes(frame.runs_table(store, "last"))
    left = {path.parent.parent.name for path in files(cache)}
    assert "last" in left
    assert len(left) < 5
    assert "e0" not in left


@pytest.mark.usefixtures("cache", "small")
def test_reader_writes_shared_cache_blocks_for_later_readers(
    store: Store, made: Made, read: list[str], tmp_path: Path
) -> None:
    runs = [made.ended({"lr": n}) for n in range(5)]
    whole = table(store)
    (part,) = blocks(store)
    read.clear()
    with cache_in(tmp_path / "another"):
        pd.testing.assert_frame_equal(table(store), whole)
    assert read == [part]
    read.clear()
    new = made.ended({"lr": 9})
    with cache_in(tmp_path / "third"):
        assert len(table(store)) == 6
    assert sorted(read) == sorted([part, new.end_key])
    assert runs[0].end_key not in read


@pytest.mark.usefixtures("cache", "small")
def test_shared_blocks_are_merged(store: Store, made: Made) -> None:
    numbers = []
    for n in range(40):
        made.ended({"lr": n})
        table(store)
        numbers.append(len(blocks(store)))
    assert max(numbers) <= 5  # about the logarithm of 40 / 2
    stored = [key for name in blocks(store) for key in in_block(store, name)]
    assert len(stored) == len(set(stored)) >= 39


@pytest.mark.usefixtures("cache", "small")
def test_page_boundaries_of_a_shared_block_split_the_listing(
    far: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rvlab.store.store.PAGE_KEYS", 3)
    store, made = far, Made(far)
    runs = [made.ended({"lr": n}) for n in range(8)]
    whole = table(store)
    there = SharedRowCache(store, "towns", "runs")
    assert there.page_boundaries() == [runs[3].id, runs[6].id]
    (name,) = there.names()
    starts: list[str | None] = []
    plain = ObstoreStorage.pages

    def pages(mine: ObstoreStorage, prefix: str, after: str | None) -> Any:
        if prefix.endswith("/ended/"):
            starts.append(after)
        return plain(mine, prefix, after)

    monkeypatch.setattr(ObstoreStorage, "pages", pages)
    monkeypatch.setattr("rvlab.store.object_storage.MAX_KEYS_PER_PAGE", 2)
    with cache_in(tmp_path / "another"):
        pd.testing.assert_frame_equal(table(store), whole)
    assert starts[0] is None
    assert len(starts) == 3
    runs += [made.ended({"lr": n}) for n in range(8, 20)]
    table(store)
    there = SharedRowCache(store, "towns", "runs")
    assert name not in there.names()  # it was merged into another, as were its page boundaries
    assert there.page_boundaries() == sorted(run.id for run in runs)[3::3]


@pytest.mark.usefixtures("cache", "small")
def test_page_boundaries_of_deleted_runs_and_missing_blocks_are_deleted(
    far: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rvlab.store.store.PAGE_KEYS", 2)
    store, made = far, Made(far)
    runs = [made.ended({"lr": n}) for n in range(6)]
    table(store)
    (name,) = SharedRowCache(store, "towns", "runs").names()
    left = "towns/cache/runs-3/000000009-0123456789abcdef.pages/"
    for run in runs[2], runs[3]:
        store.put(f"{left}{run.id}", b"")
    from rvlab.store.delete import delete_runs

    delete_runs(store, [runs[2]])
    evict(store, [runs[2]])
    there = SharedRowCache(store, "towns", "runs")
    assert there.page_boundaries() == [runs[3].id, runs[5].id]
    assert there.names() != [name]
    assert not [key for key, _ in store.files() if runs[2].id in key or key.startswith(left)]


@pytest.mark.usefixtures("cache")
def test_background_write_that_fails_is_a_warning_and_the_next_one_runs(store: Store) -> None:
    done: list[int] = []
    go_on = Event()

    def wait() -> None:
        go_on.wait(60)

    def read() -> None:
        writes = DeferredWrites(store.uri)
        writes.submit(wait)
        writes.submit(lambda: done.append(1 // 0))
        writes.submit(lambda: done.append(2))
        writes.start()
        DeferredWrites.flush("s3://another")
        assert done == []
        go_on.set()
        DeferredWrites.flush(store.uri)

    with pytest.warns(UserWarning, match="could not be cached: ZeroDivisionError"):
        read()
    assert done == [2]


@pytest.mark.usefixtures("cache", "small")
def test_run_that_is_evicted_before_the_background_write_is_not_cached(
    store: Store, made: Made, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, other = made.ended({"lr": 1}), made.ended({"lr": 2})
    start, waiting = DeferredWrites.start, list[DeferredWrites]()
    with monkeypatch.context() as patch:
        patch.setattr(DeferredWrites, "start", lambda writes: waiting.append(writes))
        frame.runs_table(store, None)
    evict(store, [secret])
    for writes in waiting:
        start(writes)
    DeferredWrites.flush()
    assert len(waiting) == 1
    assert (blocks(store), files(cache)) == ([], [])
    assert len(table(store)) == len([secret, other])


@pytest.mark.usefixtures("small")
def test_process_that_exits_at_once_finishes_its_background_writes(
    store: Store, made: Made, tmp_path: Path
) -> None:
    for n in range(5):
        made.ended({"lr": n})
    script = READER.replace("while True:", "for _ in range(1):")
    environ = {**os.environ, "RVLAB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "error", "-c", script, store.uri]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("5 10\n", "")
    assert len(blocks(store)) == len(files(tmp_path / "cache")) == 1


def in_block(store: Store, key: str) -> list[str]:
    """Return the ids of the runs in a block, in order."""
    found = SharedRowCache(store, "towns", "runs").read(key.rpartition("/")[2])
    assert found is not None
    return list(found.keys)


@pytest.mark.usefixtures("small")
def test_concurrent_merges_of_shared_blocks_lose_no_run(
    store: Store, made: Made, tmp_path: Path
) -> None:
    for turn in range(6):
        for n in range(3):
            made.ended({"lr": turn * 3 + n})
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: table(store), range(4)))
        assert {len(one) for one in found} == {(turn + 1) * 3}
    with cache_in(tmp_path / "fresh"):
        assert list(table(store)["params.lr"]) == list(range(18))


@pytest.mark.usefixtures("cache", "small")
def test_reader_without_write_permission_gets_the_same_table(
    store: Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        made.ended({"lr": n})
    asked: list[str] = []

    def refuses(key: str, *_: Any, **__: Any) -> None:
        asked.append(key)
        raise StoreError("The bucket refused the credentials.")

    with monkeypatch.context() as patch:
        patch.setattr(store._objects, "put", refuses)
        assert len(table(store)) == 4
    made.ended({"lr": 4})
    with monkeypatch.context() as patch:
        patch.setattr(store._objects, "put", refuses)
        assert len(table(store)) == 5
    assert len(asked) == 1  # the write is not retried
    assert blocks(store) == []


@pytest.mark.usefixtures("cache", "small")
def test_shared_blocks_are_written_after_an_outage(
    store: Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        made.ended({"lr": n})

    def fails(_key: str, *_: Any, **__: Any) -> None:
        raise StoreUnreachable("The store does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(store._objects, "put", fails)
        assert len(table(store)) == 4
    assert blocks(store) == []
    made.ended({"lr": 4})
    assert len(table(store)) == 5
    assert len(blocks(store)) == 1


@pytest.mark.usefixtures("cache", "small")
@pytest.mark.parametrize("data", [b"", b"PAR1 no parquet", "without a header", "other columns"])
def test_invalid_shared_block_is_ignored_with_a_warning(
    store: Store, made: Made, data: Any, tmp_path: Path
) -> None:
    for n in range(4):
        made.ended({"lr": n})
    whole = table(store)
    (name,) = blocks(store)
    if data == "without a header":
        pq.write_table(run_rows_to_arrow([{}]), tmp_path / "x")
    elif data == "other columns":
        part = SharedRowCache(store, "towns", "runs").read(name.rpartition("/")[2])
        assert part is not None
        store.delete([name])
        other = RowBlock(part.table.drop_columns(["state"]), part.keys, part.etags)
        copy = Store(tmp_path / "copy")
        made_up = f"towns/cache/runs-3/{SharedRowCache(copy, 'towns', 'runs').write(other)}"
        store.put(made_up, copy.get(made_up))
    if data != "other columns":
        store.put(name, data if isinstance(data, bytes) else (tmp_path / "x").read_bytes())
    with (
        cache_in(tmp_path / "another"),
        pytest.warns(UserWarning, match="block of 'runs' .* ignored"),
    ):
        pd.testing.assert_frame_equal(table(store), whole)
    assert in_block(store, name) == list(whole.index)  # the block is rebuilt


@pytest.mark.usefixtures("cache", "small")
def test_deleted_run_is_in_no_block(store: Store, made: Made, cache: Path, tmp_path: Path) -> None:
    secret = made.ended({"text": "a-word-that-was-deleted"})
    others = [made.ended({"text": "x"}) for _ in range(3)]
    made.table(secret, "evals", [])
    table(store)
    wait_for_writes(frame.evals_table(store, frame.select_listings(store, None)))
    assert secret.id in [id_ for name in blocks(store) for id_ in in_block(store, name)]
    from rvlab.store.delete import delete_runs

    delete_runs(store, [secret])
    evict(store, [secret])
    assert [id_ for name in blocks(store) for id_ in in_block(store, name)] == [
        r.id for r in others
    ]
    assert not any(secret.id.encode() in path.read_bytes() for path in files(cache))
    assert not [key for key, _ in store.files() if secret.id in key]
    with cache_in(tmp_path / "another"):
        assert list(table(store).index) == [run.id for run in others]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(4))
def test_cached_table_equals_the_records_after_random_changes(
    store: Store, made: Made, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    runs: list[Run] = []
    for turn in range(30):
        what = rng.choice(["end", "end", "end", "wait", "change", "delete", "reopen", "wipe"])
        if what == "end" or not runs:
            params = {"lr": turn, "odd": rng.choice([1, "a", None, 2.5])}
            runs.append(made.ended(params, run=f"20261123-154201-{turn:06x}"))
        elif what == "wait":
            runs.append(made.queued({"lr": turn}, run=f"20261123-154201-{turn:06x}"))
        elif what == "wipe":
            name = rng.choice([key for key, _ in store.files("towns/cache")] or [""])
            store.delete([name] if name else [])
        else:
            run = rng.choice(runs)
            if store.exists(run.end_key):
                if what == "change":
                    record = store.get_json(run.end_key)
                    store.put_json(run.end_key, {**record, "metrics": {"f1": turn / 30}})
                elif what == "reopen":
                    reopen_run(store, run)
                else:
                    store.delete([run.end_key])
                    runs.remove(run)
        with cache_in(tmp_path / f"reader-{rng.randint(0, 2)}"):
            mine = table(store)
        with cache_in(tmp_path / f"fresh-{turn}"), pytest.MonkeyPatch.context() as patch:
            patch.setattr(SharedRowCache, "names", lambda _: [])
            patch.setattr(SharedRowCache, "write", lambda *_: "none")
            pd.testing.assert_frame_equal(mine, table(store), check_like=True)


READER = """
import sys
from rvlab import frame
from rvlab.cache import row_cache
from rvlab.store import S3Access, Store
row_cache.FEW_KEYS, row_cache.MIN_SHARED_KEYS = 0, 2
store = Store(sys.argv[1], S3Access.from_environ())
while True:
    table = frame.runs_table(store, None)
    print(len(table), int(table["params.lr"].sum()), flush=True)
"""


def test_killed_processes_leave_a_shared_cache_folder_valid(far: Store, tmp_path: Path) -> None:
    store, made = far, Made(far)
    made.ended({"lr": 0})
    environ = {**os.environ, **far.environ(), "RVLAB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", READER, store.uri]

    def reader() -> subprocess.Popen[str]:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() != ""
        return process

    readers = [reader() for _ in range(2)]
    try:
        for n in range(1, 25):
            made.ended({"lr": n})
            if n % 8 == 0:
                readers[0].send_signal(signal.SIGKILL)
                readers.pop(0).communicate()
                readers.append(reader())
        for one in readers:
            assert one.stdout is not None
            while (line := one.stdout.readline()).split() != ["25", "300"]:
                assert line, "the reader ended"
    finally:
        for one in readers:
            one.kill()
            one.communicate()
    with cache_in(tmp_path / "cache"):
        assert list(table(store)["params.lr"]) == list(range(25))
