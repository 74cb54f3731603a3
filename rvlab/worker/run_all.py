"""Run all steps of a run one after the other on one machine.

Importing torch and Raster Vision takes ten seconds of CPU time. They are imported once, and each
step runs in a fork, which has its own memory, log and exit status without another import.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from types import FrameType

import psutil

from rvlab.model import Run
from rvlab.worker.commands import StepPlan
from rvlab.worker.records import PLAN

StartStep = Callable[[str, str, int | None, int | None], tuple[int, StepPlan | None]]


def run_all(uri: str) -> int:
    """Run every step of a run, and stop at the first that fails.

    If a signal kills a step, this process ends by the same signal, so that the parent process sees
    the cause in the exit status.

    Returns:
        The exit status of the step that failed, or 0.
    """
    start: StartStep = _run_spawned
    if sys.platform == "linux":
        import rastervision.pipeline.cli
        import rastervision.pytorch_backend  # noqa: F401

        start = _run_forked
    status, plan = start(uri, "configure", None, None)
    if status or plan is None:
        return status or 1
    for step in plan.steps:
        pieces = plan.splits.get(step, 1)
        for index in range(pieces):
            split, of = (index, pieces) if pieces > 1 else (None, None)
            status, _ = start(uri, step, split, of)
            if status:
                return status
    return start(uri, "summarize", None, None)[0]


def _run_forked(
    uri: str, step: str, split: int | None, of: int | None
) -> tuple[int, StepPlan | None]:
    """Run a step in a fork of this process.

    This process must never open a store, because obstore hangs after a fork.
    """
    # A file, not a pipe: a data loader that outlives the step would keep a pipe open for ever.
    with tempfile.TemporaryFile() as plan_file:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _fork_child(uri, step, split, of, plan_file.fileno())
        _forward_sigterm(child)
        _, status = os.waitpid(child, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        plan_file.seek(0)
        data = plan_file.read()
    if os.WIFSIGNALED(status):
        _raise_signal(os.WTERMSIG(status))
    plan = StepPlan.from_record(json.loads(data)) if data else None
    return os.WEXITSTATUS(status), plan


def _fork_child(uri: str, step: str, split: int | None, of: int | None, plan_fd: int) -> None:
    """Run a step in the child process and exit, without returning to the parent's code."""
    status = 1
    try:
        from rvlab.worker.step import run_step

        status, plan = run_step(uri, step, split=split, of=of)
        if plan is not None:
            os.write(plan_fd, json.dumps(plan.record()).encode())
    except BaseException as exc:  # noqa: BLE001  the fork must end here
        import traceback

        traceback.print_exception(exc)
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _run_spawned(
    uri: str, step: str, split: int | None, of: int | None
) -> tuple[int, StepPlan | None]:
    """Run a step in a new process, on platforms where a fork with these libraries is not safe."""
    command = [sys.executable, "-m", "rvlab.worker", step, uri]
    if split is not None:
        command += ["--split", str(split), str(of)]
    with subprocess.Popen(command) as process:
        _forward_sigterm(process.pid)
        status = process.wait()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if status < 0:
        _raise_signal(-status)
    if step != "configure" or status:
        return status, None
    from rvlab.store import Store

    run = Run.from_uri(uri)
    return status, StepPlan.from_record(Store(run.store).with_patience().get_json(run.key(PLAN)))


def _forward_sigterm(child: int) -> None:
    """Forward SIGTERM to the step, which records that it was terminated, and wait for it."""
    step = psutil.Process(child)  # checks the creation time, as the pid may be reused

    def forward(_signal: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(psutil.Error):
            step.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, forward)


def _raise_signal(number: int) -> None:
    """End this process by a signal, without its Python handler."""
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
