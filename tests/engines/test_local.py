"""The local engine with real processes, which outlive their submitter and leave no orphans.

Each test runs with processes that train nothing, and, in `make test-slow`, with Raster Vision.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from rvlab import Lab, LocalEngine
from rvlab.engines.job_queue import JobQueue
from rvlab.errors import EngineError, SpecError
from rvlab.model import END_STATES, Run
from rvlab.store import S3Access, Store
from tests.conftest import TINY
from tests.engines.quick_train import ROOT, QuickLocal
from tests.waiting import wait_until as until

pytestmark = pytest.mark.slow

LONG = 10_000
"""Number of epochs of a run that is stopped before its end."""


@pytest.fixture(params=[QuickLocal, pytest.param(LocalEngine, marks=pytest.mark.extended)])
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Yield a lab on a folder and cancel its active runs at the end."""
    lab = Lab(tmp_path / "store", request.param(max_parallel=1))
    yield lab
    table = lab.runs()
    lab.cancel(table[~table["state"].isin(END_STATES)])


@pytest.fixture
def real_lab(tmp_path: Path) -> Lab:
    """Return a lab whose runs load their recipe."""
    return Lab(tmp_path / "store", LocalEngine(max_parallel=1))


def state(lab: Lab, run: Run) -> str:
    return str(lab.runs(run)["state"].item())


def training(lab: Lab, run: Run) -> bool:
    """Return whether the first epoch has ended."""
    return len(lab.history(run)) > 0


def group(lab: Lab, run: Run) -> list[psutil.Process]:
    entry = JobQueue.for_store(lab.store).find(run)
    assert entry is not None
    processes: list[psutil.Process] = entry[1].processes()
    assert processes
    return processes


def test_submit_returns_at_once_and_further_runs_wait(lab: Lab) -> None:
    runs = lab.sweep(TINY, [{"lr": 1e-2}, {"lr": 1e-3}], epochs=LONG)
    until(lambda: state(lab, runs[0]) == "running")
    assert state(lab, runs[1]) == "queued"

    lab.cancel(runs[1])
    assert state(lab, runs[1]) == "cancelled"
    with pytest.raises(EngineError, match=r"has ended already \(cancelled\)"):
        lab.cancel(runs[1])


def test_cancel_stops_all_processes_of_the_run(lab: Lab) -> None:
    run = lab.submit(TINY, epochs=LONG)
    until(lambda: training(lab, run))
    processes = group(lab, run)
    assert len(processes) >= 2
    lab.cancel(run)
    assert [p for p in processes if p.is_running() and p.status() != "zombie"] == []
    row = lab.runs(run).iloc[0]
    assert row["state"] == "cancelled"
    step = lab.store.get_json(run.step_key("train"))
    assert (step["state"], step["exit_code"]) == ("cancelled", 143)


@pytest.mark.parametrize("who", ["step", "run"])
def test_a_killed_run_is_recorded_with_step_and_signal(lab: Lab, who: str) -> None:
    run = lab.submit(TINY, epochs=LONG)
    until(lambda: training(lab, run))
    leader, step, *_ = processes = group(lab, run)
    (step if who == "step" else leader).kill()
    until(lambda: state(lab, run) == "failed")
    row = lab.runs(run).iloc[0]
    assert row["step"] == "train"
    assert row["error"].startswith("train was ended by signal 9 (SIGKILL).")
    assert [p for p in processes if p.is_running() and p.status() != "zombie"] == []


def test_a_run_that_receives_sigterm_is_recorded_with_the_signal(lab: Lab) -> None:
    """Only `lab.cancel` makes a run cancelled."""
    run = lab.submit(TINY, epochs=LONG)
    until(lambda: training(lab, run))
    os.kill(group(lab, run)[1].pid, signal.SIGTERM)
    until(lambda: state(lab, run) == "failed")
    row = lab.runs(run).iloc[0]
    assert row["step"] == "train"
    assert row["error"].startswith("train was ended by signal 15 (SIGTERM).")


def test_runs_outlive_the_process_that_submitted_them(lab: Lab, tmp_path: Path) -> None:
    """Kill a notebook's kernel in the middle of a sweep; no run is lost."""
    code = f"""
        import os, signal
        from rvlab import Lab
        from {type(lab.engine).__module__} import {type(lab.engine).__name__} as Engine
        lab = Lab({str(lab.store.uri)!r}, Engine(max_parallel=2))
        lab.sweep({str(TINY)!r}, [{{"lr": 1e-2}}, {{"lr": 1e-3}}, {{"lr": 1e-4}}])
        os.killpg(0, signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    table = lab.wait("default", progress=False)
    assert table["state"].tolist() == ["succeeded"] * 3
    assert sorted(table["params.lr"]) == [1e-4, 1e-3, 1e-2]


def test_a_new_supervisor_continues_the_work_of_a_killed_one(lab: Lab) -> None:
    first, second = lab.sweep(TINY, [{"lr": 1e-2, "epochs": LONG}, {"lr": 1e-3, "epochs": 1}])
    until(lambda: training(lab, first))
    parent = group(lab, first)[0].parent()
    assert parent is not None
    parent.kill()
    parent.wait()
    leader = group(lab, first)[0]
    os.killpg(leader.pid, signal.SIGKILL)
    until(lambda: not leader.is_running() or leader.status() == "zombie")
    table = lab.wait([first, second], progress=False)
    assert table["state"].tolist() == ["failed", "succeeded"]
    assert (
        table["error"]
        .iloc[0]
        .startswith("The process of train has ended with an unknown exit status")
    )


def test_a_step_without_a_leader_is_stopped(lab: Lab) -> None:
    run = lab.submit(TINY, epochs=LONG)
    until(lambda: training(lab, run))
    leader, step, *_ = group(lab, run)
    parent = leader.parent()
    assert parent is not None
    parent.kill()
    leader.kill()
    until(lambda: not leader.is_running() or leader.status() == "zombie")
    lab.cancel(run)
    assert not step.is_running() or step.status() == "zombie"


def test_files_of_the_user_do_not_shadow_the_standard_library(
    real_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("token.py", "random.py", "json.py"):
        (tmp_path / name).write_text("raise RuntimeError('not the standard library')")
    recipe = tmp_path / "own.py"
    recipe.write_text("def get_config(runner, root_uri):\n    raise OSError('it ran')\n")
    monkeypatch.chdir(tmp_path)
    table = real_lab.wait(real_lab.submit(recipe), progress=False)
    assert table["error"].item() == "OSError: it ran"


def test_a_run_has_the_gpus_and_the_docker_address_of_its_submitter(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    first = lab.submit(TINY, epochs=LONG)  # starts the supervisor, which has this variable
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/other.sock")
    second = lab.submit(TINY, epochs=LONG)
    for run, devices, docker in ((first, "0", None), (second, None, "unix:///run/other.sock")):
        until(partial(training, lab, run))
        environ = group(lab, run)[0].environ()
        assert (environ.get("CUDA_VISIBLE_DEVICES"), environ.get("DOCKER_HOST")) == (
            devices,
            docker,
        )
        lab.cancel(run)


def test_an_incomplete_job_file_is_renamed(lab: Lab) -> None:
    queue = JobQueue.for_store(lab.store)
    (queue.folder / "queue" / "0-broken.json").write_text("")
    assert queue.waiting() == []
    assert [p.name for p in (queue.folder / "queue").iterdir()] == ["0-broken.broken"]


def test_job_of_a_version_before_0_1_0_has_its_limit(lab: Lab) -> None:
    queue = JobQueue.for_store(lab.store)
    uri = f"{lab.store.uri}/default/20261123-154201-4f2a9c"
    file = queue.folder / "queue" / "0-old.json"
    file.write_text(json.dumps({"uri": uri, "at_most": 3, "cwd": "/", "over": False}))
    ((_, job),) = queue.waiting()
    assert (job.uri, job.max_parallel) == (uri, 3)
    queue.update(file, job, pid=1)
    assert queue.waiting()[0][1].max_parallel == 3


def test_equal_bucket_names_at_two_endpoints_have_two_queues(own_home: Path) -> None:
    one, two = (Store("s3://runs", S3Access(f"http://127.0.0.1:{p}", "a", "b")) for p in (1, 2))
    assert JobQueue.for_store(one).folder != JobQueue.for_store(two).folder


def test_an_end_is_recorded_when_the_store_is_available_again(lab: Lab, tmp_path: Path) -> None:
    """Kill the process while the store is missing."""
    run = lab.submit(TINY, epochs=LONG)
    until(lambda: training(lab, run))
    away = tmp_path / "away"
    group(lab, run)  # raises if it has no process
    shutil.move(str(lab.store.uri), away)
    Path(str(lab.store.uri)).write_text("not a folder")
    for process in group(lab, run):
        with contextlib.suppress(psutil.NoSuchProcess):  # the step may end with its leader
            process.kill()
    time.sleep(2)
    Path(str(lab.store.uri)).unlink()
    shutil.move(away, str(lab.store.uri))
    until(lambda: state(lab, run) == "failed")
    assert "SIGKILL" in lab.runs(run)["error"].item()


def test_temporary_files_of_a_killed_run_are_deleted(lab: Lab) -> None:
    run = lab.submit(TINY, epochs=LONG)
    until(lambda: training(lab, run))
    entry = JobQueue.for_store(lab.store).find(run)
    assert entry is not None
    assert entry[1].scratch
    scratch = Path(entry[1].scratch)
    assert scratch.is_dir()
    group(lab, run)[0].kill()
    until(lambda: not scratch.exists())


def test_a_recipe_can_import_a_file_beside_it(real_lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "colours.py").write_text("WORD = 'found beside the recipe'\n")
    recipe = tmp_path / "own.py"
    recipe.write_text(
        "from colours import WORD\ndef get_config(runner, root_uri):\n    raise OSError(WORD)\n"
    )
    table = real_lab.wait(real_lab.submit(recipe), progress=False)
    assert table["error"].item() == "OSError: found beside the recipe"


def test_max_parallel_must_be_positive() -> None:
    with pytest.raises(SpecError, match="max_parallel must be a positive integer, got 0"):
        LocalEngine(max_parallel=0)
