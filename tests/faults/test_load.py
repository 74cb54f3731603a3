"""Readers and writers of one store at once, in processes and threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rvlab import frame
from rvlab.cache.background import DeferredWrites
from rvlab.store import S3Access, Store
from tests.faults.load import parse_ledger

ROOT = Path(__file__).parent.parent.parent


def load(
    store: Store, folder: Path, *, seconds: float, readers: list[int], writers: list[int]
) -> Counter[str]:
    """Run processes with several threads each, and sum their counts."""
    ledger = folder / "ledger"
    ledger.touch()
    children = []
    for number, (role, threads) in enumerate(
        [*(("read", n) for n in readers), *(("write", n) for n in writers)]
    ):
        words = [role, store.uri, ledger, seconds, threads, number]
        # Two processes share a cache folder.
        environ = {"RVLAB_CACHE": str(folder / f"cache-{number // 2}"), "PYTHONPATH": str(ROOT)}
        children.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.faults.load", *map(str, words)],
                cwd=ROOT,
                env={**os.environ, **store.environ(), **environ},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    total: Counter[str] = Counter()
    for child in children:
        out, err = child.communicate()
        assert child.returncode == 0, err[-3000:]
        total += Counter(json.loads(out))
        assert "Traceback" not in err, err[-3000:]
    return total


def check(store: Store, folder: Path, seen: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that no reader saw a fault, and that each cache has every run at the end."""
    assert not [name for name in seen if name.startswith("fault")], dict(seen)
    ended, noted, going = parse_ledger(folder / "ledger")
    for cache in ("cache-0", "fresh"):
        monkeypatch.setenv("RVLAB_CACHE", str(folder / cache))
        table: pd.DataFrame = frame.runs_table(store, None)
        DeferredWrites.flush()
        expected = {run: number for run, number in ended.items() if run not in going}
        assert table["params.n"].to_dict() == expected
        assert {
            run for run, text in table["note"].items() if isinstance(text, str)
        } == noted - going


@pytest.fixture
def store(s3: Any, s3_access: S3Access, tmp_path: Path) -> Store:
    """Return an empty store on S3."""
    return Store(f"s3://{s3.bucket}/{tmp_path.name}", s3_access)


def test_concurrent_readers_and_writers_lose_no_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = load(store, tmp_path, seconds=3, readers=[2, 2], writers=[2])
    assert seen["tables"]
    assert seen["runs"]
    check(store, tmp_path, seen, monkeypatch)


@pytest.mark.extended
def test_twenty_readers_and_five_writers_lose_no_run(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figure: Callable[[str, object], None],
) -> None:
    seen = load(store, tmp_path, seconds=60, readers=[5, 5, 5, 5], writers=[3, 2])
    check(store, tmp_path, seen, monkeypatch)
    figure("load: readers, writers, seconds", "20, 5, 60")
    figure("load: runs written", seen["runs"])
    figure("load: runs deleted", seen["deletions"])
    figure("load: tables read and compared", seen["tables"])
    figure("load: runs lost, doubled or wrong", 0)
