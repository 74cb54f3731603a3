"""Tests of the processors that a process in a container may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rvlab.worker import threads


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fake a machine with eight processors and return its cgroup folder."""
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("350000 100000\n", 3),
        ("50000 100000\n", 1),
        ("3200000 100000\n", 8),
        ("nonsense", 8),
    ],
)
def test_limit_of_cgroup_2_counts(cgroup: Path, text: str, wanted: int) -> None:
    (cgroup / "cpu.max").write_text(text)
    assert threads.available_processors() == wanted


@pytest.mark.parametrize(("quota", "wanted"), [("-1\n", 8), ("400000\n", 4), ("10000\n", 1)])
def test_limit_of_cgroup_1_counts(cgroup: Path, quota: str, wanted: int) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert threads.available_processors() == wanted


def test_process_affinity_counts_without_a_limit(cgroup: Path) -> None:
    assert threads.available_processors() == 8


def test_number_of_threads_set_by_the_user_is_preserved(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    threads.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "5"
    monkeypatch.delenv("OMP_NUM_THREADS")
    threads.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "8"


def test_worker_sets_threads_and_paths_before_torch_is_imported(tmp_path: Path) -> None:
    """Folders of recipes are appended, so that their files do not shadow Python's own."""
    script = (
        "import os, sys; from rvlab.worker import __main__ as worker;"
        "worker.main(['train', sys.argv[1]]);"
        "print(os.environ['OMP_NUM_THREADS'].isdigit(), 'torch' in sys.modules, sys.path[-2:])"
    )
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    env["RVLAB_PATH"] = os.pathsep.join(["/here/first", "", "/here/second"])
    done = subprocess.run(
        [sys.executable, "-c", script, f"{tmp_path}/a/b"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "has no key 'a/b/spec.json'" in done.stderr
    assert done.stdout.strip() == "True False ['/here/first', '/here/second']"
