"""Runs without training: real supervisor, leader, forked steps and records, without torch.

`CheapEngine` starts ``python -m tests.faults.cheap RUN_URI`` for a run. It is
`rvlab.worker.run_all.run_all` with another body for each step, which sleeps and reports when two
processes work on the same run.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rvlab import LocalEngine
from rvlab.engines.job_queue import JobQueue
from rvlab.model import Run, Spec
from rvlab.store import Store

ROOT = Path(__file__).parents[2]
SOURCE = "def get_config(runner, root_uri: str, seconds: float = 0.2, starts: str = ''): ...\n"
"""The recipe: how long each of two steps sleeps, and the kind of process that it starts."""


@dataclass(frozen=True)
class CheapEngine(LocalEngine):
    """The local engine with this module as worker."""

    @property
    def command(self) -> tuple[str, ...]:
        return ("tests.faults.cheap",)


def supervisors(queue: JobQueue) -> list[psutil.Process]:
    """List the supervisors of a queue."""
    command = ["-P", "-m", "rvlab.engines.supervisor", str(queue.folder)]
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:] == command and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def find_double_work(store: Store) -> list[str]:
    """List the ids of runs on which two processes worked at the same time."""
    return sorted(file.stem for file in _marks(store.uri).glob("*.doubled"))


def _marks(store: str) -> Path:
    folder = Path(f"{store}-marks")
    folder.mkdir(exist_ok=True)
    return folder


def run_may_end(run: Run) -> Path:
    """Return the path of a file with which a run ends before its time."""
    return _marks(run.store) / f"{run.id}.ends"


@contextlib.contextmanager
def alone(run: Run) -> Iterator[None]:
    """Work on a run, and write a mark if another process works on it at the same time."""
    with (_marks(run.store) / f"{run.id}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (_marks(run.store) / f"{run.id}.doubled").touch()
        yield


def _configure(store: Store, run: Run, spec: Spec, scratch: Path) -> Any:
    from rvlab.worker.commands import StepPlan

    with alone(run):
        time.sleep(0.01)
    return StepPlan(("chip", "train"), {})


def _command(store: Store, run: Run, step: str, scratch: Path, **_: Any) -> None:
    params = store.get_json(run.key("spec.json"))["params"]
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    with alone(run):
        if "session" in params["starts"]:
            subprocess.Popen(sleep, start_new_session=True)
        if "bare" in params["starts"]:
            subprocess.Popen(sleep, env={})
        if "cancel" in params["starts"]:
            subprocess.run(
                [sys.executable, "-m", "rvlab", "--store", store.uri, "cancel", run.uri],
                check=True,
            )
        print(f"{step} sleeps", flush=True)
        until = time.monotonic() + params["seconds"]
        while time.monotonic() < until and not run_may_end(run).exists():
            time.sleep(0.05)


def main(uri: str) -> int:
    """Run the steps of a run as the worker does."""
    for name in ("", ".pipeline", ".pipeline.cli", ".pytorch_backend"):
        sys.modules[f"rastervision{name}"] = types.ModuleType(f"rastervision{name}")
    import rvlab.worker
    from rvlab.worker import run_all, step
    from rvlab.worker.summarize import EndSummary

    patches = types.ModuleType("rvlab.worker.rv_patches")
    patches.apply_patches = lambda *_, **__: None
    sys.modules["rvlab.worker.rv_patches"] = rvlab.worker.rv_patches = patches
    changed: Any = step
    changed.save_config, changed.run_command = _configure, _command
    changed.summarize_outputs = lambda *_: EndSummary({}, {})
    return run_all.run_all(uri)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
