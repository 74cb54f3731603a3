"""A full disk below RVLAB_HOME raises one error before any record is written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rvlab import Lab
from rvlab.engines.job_queue import JobQueue
from rvlab.errors import EngineError
from rvlab.store import Store
from tests.faults.cheap import ROOT, SOURCE, CheapEngine

LIMITED = """
import resource, sys
from rvlab import Lab
from rvlab.errors import EngineError
from tests.faults.cheap import CheapEngine
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    Lab(sys.argv[1], CheapEngine()).sweep(sys.argv[2], [{"seconds": 1.0}] * 3)
except EngineError as exc:
    print(exc)
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "cheap.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Mount a disk of 512 KiB as RVLAB_HOME, and return the file that fills it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here: root can")
    monkeypatch.setenv("RVLAB_HOME", str(disk / "home"))
    try:
        yield disk / "filler"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            return


def list_leftovers(store: Store) -> tuple[list[str], list[str]]:
    """List the files in the store and in the queue."""
    queue = JobQueue.for_store(store).folder
    return [key for key, _ in store.files()], [p.name for p in queue.rglob("*") if p.suffix]


def test_limit_on_file_size_refuses_the_sweep(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RVLAB_HOME", str(tmp_path / "home"))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "store"), str(recipe)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert "has no space for 3 runs, which needs 88 KiB: File too large." in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert list_leftovers(Store(tmp_path / "store")) == ([], [])


def test_full_disk_refuses_a_run_without_leaving_files(
    tmp_path: Path, recipe: Path, full: Path
) -> None:
    lab = Lab(tmp_path / "store", CheapEngine())
    list_leftovers(lab.store)  # the folder of the queue exists already
    fill(full)
    with pytest.raises(
        EngineError, match=r"has no space for 1 run, .*: No space left on device. Free"
    ):
        lab.submit(recipe)
    assert list_leftovers(lab.store) == ([], [])
    full.unlink()
    run = lab.submit(recipe, seconds=0.1)
    assert lab.wait(run, progress=False)["state"].tolist() == ["succeeded"]


def test_full_disk_without_a_queue_folder_raises_one_error(
    tmp_path: Path, recipe: Path, full: Path
) -> None:
    fill(full)
    store = Store(tmp_path / "store")
    with pytest.raises(EngineError, match=r"(No space left on device|has no space for 1 run)"):
        Lab(store.uri, CheapEngine()).submit(recipe)
    assert store.files() == []


def test_runs_that_could_not_be_queued_are_listed_and_can_be_started_later(
    tmp_path: Path, recipe: Path, full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fill the disk between the check and the queue."""
    lab = Lab(tmp_path / "store", CheapEngine())
    list_leftovers(lab.store)
    with monkeypatch.context() as patch:
        patch.setattr(JobQueue, "require_space", lambda *_: fill(full))
        with pytest.raises(EngineError, match=r"1 of 1 runs were not queued in .*: No space left"):
            lab.submit(recipe, seconds=0.1)
    full.unlink()
    (run,) = lab.runs()["uri"]
    assert lab.runs()["state"].tolist() == ["lost"]
    lab.retry(run)
    assert lab.wait(run, progress=False)["state"].tolist() == ["succeeded"]
