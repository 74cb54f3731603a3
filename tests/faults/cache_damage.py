"""Damage to cached blocks, read in a child process to detect a crash of Arrow.

``python -m tests.faults.cache_damage FOLDER WAY SEED START COUNT`` prints one JSON line.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from rvlab import frame
from rvlab.cache import block_file, row_cache
from rvlab.cache.background import DeferredWrites
from rvlab.errors import RvlabError
from rvlab.store import Store
from rvlab.store.annotation import write_annotations
from tests.frame.samples import Made

RUNS = 24
READ: dict[str, Callable[..., pd.DataFrame]] = {
    "runs": frame.runs_table,
    "edits": frame.runs_table,
    "evals": frame.evals_table,
    "confusion": frame.confusion_table,
    "scenes": frame.scene_fingerprints_table,
    "history": frame.history_table,
    "artifacts": frame.artifacts_table,
}

EVAL = {"group": "validation", "scene": "a", "class": "roof", "metric": "f1", "value": 0.5}
PAIR = {"group": "validation", "scene": "a", "truth": "roof", "prediction": "road", "count": 7}
SCENE = {
    "group": "validation",
    "scene": "a",
    "image": "0" * 16,
    "labels": "1" * 16,
    "aois": None,
    "hashed_from": "content",
}
FILE = {"step": "train", "kind": "model", "scene": None, "key": "rv/model.pth", "bytes": 10}


def table_of(store: Store, name: str) -> pd.DataFrame:
    """Return a table of all runs without their ages, after all background writes."""
    wanted: Any = None if name in ("runs", "edits") else frame.select_listings(store, None)
    found = READ[name](store, wanted)
    DeferredWrites.flush()
    return found.drop(columns="age", errors="ignore")


def small_blocks() -> None:
    """Write shared blocks from two runs on."""
    row_cache.FEW_KEYS, row_cache.MIN_SHARED_KEYS = 0, 2


def prepare(folder: Path) -> None:
    """Create a store with shared blocks, its local cache, and the expected tables."""
    small_blocks()
    store = Store(folder / "store")
    made = Made(store)
    for n in range(RUNS):
        params = {"lr": n / 7, "width": n, "text": f"word {n % 5}", "odd": [n, "a", None][n % 3]}
        run = made.ended(params, {"f1": n / RUNS, "iou.roof": 0.25})
        made.table(run, "evals", [{**EVAL, "value": n / RUNS}, {**EVAL, "class": None}])
        made.table(run, "confusion", [{**PAIR, "count": n}])
        made.table(run, "scenes", [SCENE])
        made.table(run, "artifacts", [FILE])
        history(store, run, n)
        if n % 2:
            write_annotations(store, [run], "me@here", note=f"n{n}")
    os.environ["RVLAB_CACHE"] = str(folder / "cache")
    for name in READ:
        table_of(store, name).to_pickle(folder / f"{name}.pkl")


def history(store: Store, run: Any, n: int) -> None:
    """Write the history of a run in the format of ``summarize``."""
    from rvlab.worker.results import history_from_log as of_log
    from rvlab.worker.summarize import write_tables

    write_tables(store, run, {"history": of_log(f"epoch,loss,f1\n0,{n},0.5\n1,{n / 2},0.75\n")})


def blocks(folder: Path, way: str) -> list[Path]:
    """List the block files that can be damaged, on this machine or in the store."""
    root = folder / "store/towns/cache" if way == "shared" else folder / "cache/tables"
    return sorted(p for p in root.rglob("*") if block_file.FILE_NAME.fullmatch(p.name))


def damage_block(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return bytes damaged as by a disk, a broken connection or another program."""
    at, size = rng.randrange(len(data)), rng.choice([1, 8, 64, 4096])
    ways: Mapping[str, Callable[[], bytes]] = {
        "bit": lambda: data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :],
        "byte": lambda: data[:at] + rng.randbytes(1) + data[at + 1 :],
        "zeros": lambda: data[:at] + bytes(len(data[at : at + size])) + data[at + size :],
        "random": lambda: data[:at] + rng.randbytes(len(data[at : at + size])) + data[at + size :],
        "cut": lambda: data[:at],
        "hole": lambda: data[:at] + data[at + size :],
        "more": lambda: data + rng.randbytes(size),
        "twice": lambda: data + data,
        "other": lambda: rng.choice(others),
        "garbage": lambda: rng.randbytes(len(data)),
    }
    while (found := ways[rng.choice(list(ways))]()) == data:
        pass
    return found


def forge_block(path: Path, name: str, rng: random.Random) -> tuple[str, bytes]:
    """Return a block with changed bytes and their digest, and its file name."""
    payload = bytearray(block_file.decompress_block(path.read_bytes()))
    for _ in range(rng.choice([1, 2, 8, 50])):
        payload[rng.randrange(len(payload))] = rng.randrange(256)
    data = block_file.compress_block(pa.py_buffer(bytes(payload)))
    return block_file.block_file_name(
        block_file.key_count_in_name(path.name), name, data, "zst"
    ), data


def main(folder: Path, way: str, seed: str, start: int, count: int) -> dict[str, int]:
    """Damage one block per case, and read the table twice."""
    small_blocks()
    store, seen = Store(folder / "store"), Counter[str]()
    there = {
        path: path.read_bytes() for path in blocks(folder, "local" if way == "local" else "shared")
    }
    paths = list(there)
    for case in range(start, start + count):
        print("case", case, file=sys.stderr, flush=True)
        rng = random.Random(f"{seed}-{case}")
        path = paths[case % len(paths)]
        name = path.parent.name.rpartition("-")[0]
        expected = pd.read_pickle(folder / f"{name}.pkl")  # noqa: S301  # written by `prepare`
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            os.environ["RVLAB_CACHE"] = cache
            if way == "forged":
                new, data = forge_block(path, name, rng)
                path.unlink()
                path.with_name(new).write_bytes(data)
            else:
                others = [data for other, data in there.items() if other != path]
                bad = damage_block(there[path], others, rng)
                if way == "local":
                    shutil.copytree(folder / "cache", cache, dirs_exist_ok=True)
                    Path(cache, path.relative_to(folder / "cache")).write_bytes(bad)
                else:
                    path.write_bytes(bad)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    first, again = table_of(store, name), table_of(store, name)
                except RvlabError:
                    seen["refused"] += 1
                else:
                    same = first.equals(expected) and again.equals(expected)
                    seen["same" if same else "other"] += 1
            seen["warned"] += any(
                "damaged" in str(w.message) or "ignored" in str(w.message) for w in caught
            )
        if way != "local":
            for old in path.parent.iterdir():
                if old.is_file():
                    old.unlink()
            for other, data in there.items():
                if other.parent == path.parent:
                    other.write_bytes(data)
        seen["cases"] += 1
    return dict(seen)


if __name__ == "__main__":
    start, count = map(int, sys.argv[4:6])
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], start, count)))
