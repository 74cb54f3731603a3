"""Find and signal the processes of a local run, and no other processes.

The supervisor puts a random token into the environment of each run's process (`TOKEN_VARIABLE`),
starts it as the leader of its own session, and records its pid and creation time. A process of
this user belongs to a run if

* its environment has the run's token, which children inherit, also in other sessions; or
* it is in the session of the run's leader, while that leader is known to be alive; or
* it descends from a process that belongs to the run.

A command line does not identify a run: an editor, a ``tail`` or a copy of the run's folder has the
run's name in its command line as well. A pid does not identify it either, since pids are reused. If
an environment cannot be read, the leader is identified by pid and creation time. The calling
process, its ancestors and processes of other users are never returned.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from rvlab.engines.job_queue import Job

TOKEN_VARIABLE = "RVLAB_JOB_TOKEN"  # noqa: S105  the variable's name
"""Environment variable that marks the processes of one run. It grants no access."""

SAME_START_S = 1.5
"""Tolerance when creation times are compared, in seconds: the boot time is rounded and drifts."""

RESCAN_S = 0.5
"""Seconds between two searches for new processes of a run that is being stopped."""


def find_leader(job: Job) -> psutil.Process | None:
    """Return the process that executes the run's steps; None if it has ended or is a zombie."""
    if job.pid is None or job.pid <= 0:
        return None
    try:
        process = psutil.Process(job.pid)
        if not _is_live_and_own(process) or _session(job.pid) not in (None, job.pid):
            return None
        return process if _is_leader(process, job) else None
    except (psutil.Error, OSError):
        return None


def find_unrecorded_leader(job: Job) -> psutil.Process | None:
    """Find a leader whose pid was not recorded, because its supervisor was killed just before."""
    found = find_processes(job)  # the oldest first
    return next((process for process in found if _session(process.pid) == process.pid), None)


def creation_time(pid: int) -> float | None:
    """Return when a process was created, in seconds since the epoch; None if it has ended."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def find_processes(job: Job, *, session: int | None = None) -> list[psutil.Process]:
    """List the live processes of a run, its leader first, then the oldest first.

    Args:
        job: The run's job.
        session: The id of a session that is known to belong to the run, such as the session of a
            child that has exited but is still a zombie. By default the leader's session, if the
            leader is alive.
    """
    if session is None and find_leader(job) is not None:
        session = job.pid
    excluded = _self_and_ancestors()
    candidates: dict[int, psutil.Process] = {}
    members: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid in excluded or not _is_live_and_own(process):
                continue
            candidates[process.pid] = process
            if _is_member(process, job, session):
                members[process.pid] = process
    _add_descendants(members, candidates)
    return sorted(members.values(), key=lambda p: (p.pid != job.pid, _age_key(p), p.pid))


def stop_job(job: Job, grace_s: float) -> list[psutil.Process]:
    """Send SIGTERM to the processes of a run, then SIGKILL to processes that have not ended.

    Args:
        job: The run's job.
        grace_s: Seconds to wait after each of the two signals.

    Returns:
        The processes that are still alive.
    """
    known: dict[int, psutil.Process] = {}
    for number in (signal.SIGTERM, signal.SIGKILL):
        signalled: set[psutil.Process] = set()
        until = time.monotonic() + grace_s
        while True:
            known |= {process.pid: process for process in find_processes(job)}
            unsignalled = [p for p in live_processes(known.values()) if p not in signalled]
            signalled.update(unsignalled)
            send_signal(unsignalled, number)
            rescan = min(until, time.monotonic() + RESCAN_S)
            while live_processes(known.values()) and time.monotonic() < rescan:
                time.sleep(0.05)
            if not live_processes(known.values()) and not find_processes(job):
                return []
            if time.monotonic() >= until:
                break
    return live_processes(known.values())


def kill_job(job: Job, *, session: int | None = None) -> None:
    """Kill the remaining processes of a run; see `find_processes`."""
    for _ in range(10):  # a process that is forking is found in the next round
        found = find_processes(job, session=session)
        if not found:
            return
        send_signal(found, signal.SIGKILL)
        psutil.wait_procs(found, timeout=RESCAN_S)


def send_signal(found: Iterable[psutil.Process], number: int) -> None:
    """Send a signal to this user's processes; psutil detects a reused pid."""
    for process in found:
        with contextlib.suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid():
                process.send_signal(number)


def live_processes(found: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that are alive; zombies are not."""
    running = []
    for process in found:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


def _is_live_and_own(process: psutil.Process) -> bool:
    return bool(process.uids().real == os.getuid() and process.status() != psutil.STATUS_ZOMBIE)


def _is_leader(process: psutil.Process, job: Job) -> bool:
    if job.token is None:  # a job of an older rvlab: compare the whole command
        return list(process.cmdline()) == job.argv
    environ = _environ(process)
    if environ:
        return environ.get(TOKEN_VARIABLE) == job.token
    return job.born is not None and abs(process.create_time() - job.born) < SAME_START_S


def _is_member(process: psutil.Process, job: Job, session: int | None) -> bool:
    process_session = _session(process.pid)
    if session is not None and process_session == session:
        return True
    if job.token is None:  # the step of an older rvlab: a fork, with its leader's command
        return (
            process_session is not None
            and process_session == job.pid
            and list(process.cmdline()) == job.argv
        )
    return _environ(process).get(TOKEN_VARIABLE) == job.token


def _session(pid: int) -> int | None:
    """Return a process's session; None if it has ended, or the system does not report it."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _environ(process: psutil.Process) -> dict[str, str]:
    """Return a process's environment; empty if it cannot be read."""
    try:
        return dict(process.environ())
    except (psutil.Error, OSError):
        return {}


def _add_descendants(
    members: dict[int, psutil.Process], candidates: dict[int, psutil.Process]
) -> None:
    """Add the descendants of members; a child is never older than its parent."""
    children: dict[int, list[psutil.Process]] = {}
    for process in candidates.values():
        with contextlib.suppress(psutil.Error):
            children.setdefault(process.ppid(), []).append(process)
    parents = list(members.values())
    while parents:
        parent = parents.pop()
        for child in children.get(parent.pid, ()):
            if child.pid not in members and _age_key(child) >= _age_key(parent):
                members[child.pid] = child
                parents.append(child)


def _age_key(process: psutil.Process) -> float:
    try:
        return float(process.create_time())
    except psutil.Error:
        return 0.0


def _self_and_ancestors() -> set[int]:
    current = psutil.Process()
    pids = {current.pid}
    with contextlib.suppress(psutil.Error):
        pids.update(process.pid for process in current.parents())
    return pids
