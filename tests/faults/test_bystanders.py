"""Only the processes of a run are signalled, not others that name the run or reuse its pid."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from rvlab import Lab
from rvlab.engines import processes
from rvlab.engines.job_queue import Job, JobQueue
from rvlab.engines.processes import TOKEN_VARIABLE
from rvlab.engines.supervisor import Supervisor
from rvlab.errors import HasEnded
from rvlab.model import END_STATES, Run
from rvlab.store import Store, _seaweedfs, server
from tests.faults.cheap import ROOT, SOURCE, CheapEngine, run_may_end, supervisors

SLEEP = "import time; time.sleep(600)"
NOBODY = 65534


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Return a lab with its own queue, and end the remaining runs afterwards."""
    monkeypatch.setenv("RVLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "cheap.py").write_text(SOURCE)
    lab = Lab(tmp_path / "store", CheapEngine(max_parallel=4))
    yield lab
    queue = JobQueue.for_store(lab.store)
    table = lab.runs()
    with contextlib.suppress(HasEnded):
        lab.cancel(table[~table["state"].isin(END_STATES)])
    for process in supervisors(queue):
        with contextlib.suppress(psutil.NoSuchProcess):  # it exits after its last run
            process.kill()
            process.wait(10)


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a process that has nothing to do with rvlab."""
    every: list[subprocess.Popen[bytes]] = []

    def start(*command: object, **more: object) -> subprocess.Popen[bytes]:
        given: dict[str, object] = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL, **more}
        every.append(subprocess.Popen([str(word) for word in command], **given))
        return every[-1]

    yield start
    for one in every:
        one.kill()
        one.wait(10)
        if one.stdin:
            one.stdin.close()


Start = Callable[..., "subprocess.Popen[bytes]"]


def bystanders(start: Start, uri: str, file: Path) -> dict[str, subprocess.Popen[bytes]]:
    """Start other programs of a user, with the URI of a run among their arguments."""
    file.touch()
    worker = ("-P", "-m", "rvlab.worker", "run", uri)
    return {
        "tail": start("tail", "-f", file, uri),
        "vim": start("sh", "-c", "read line", "vim", uri),
        "aws": start(sys.executable, "-c", SLEEP, "s3", "sync", uri, "/tmp/copy"),
        "in a session of its own": start(sys.executable, "-c", SLEEP, uri, start_new_session=True),
        "a worker's arguments": start(sys.executable, "-c", SLEEP, *worker),
        "another run's token": start(
            sys.executable, "-c", SLEEP, uri, env={**os.environ, TOKEN_VARIABLE: "0" * 32}
        ),
    }


def list_harmed(others: dict[str, subprocess.Popen[bytes]]) -> list[str]:
    return [name for name, one in others.items() if one.poll() is not None]


def until(holds: Callable[[], object]) -> None:
    """Wait for a condition; pytest-timeout sets the limit."""
    while not holds():
        time.sleep(0.05)


def submit(lab: Lab, tmp_path: Path, **params: object) -> Run:
    return lab.submit(tmp_path / "cheap.py", params={"seconds": 600.0, **params})


def at_work(lab: Lab, run: Run, number: int = 2) -> list[psutil.Process]:
    """Return the processes of a run, once its step has started."""
    until(lambda: lab.store.exists(run.step_key("chip")))
    until(lambda: (job := job_of(lab, run)) is not None and len(job.processes()) >= number)
    return list(job_of(lab, run).processes())


def job_of(lab: Lab, run: Run) -> Job:
    entry = JobQueue.for_store(lab.store).find(run)
    assert entry is not None
    return entry[1]


def has_exited(process: psutil.Process) -> bool:
    return not processes.live_processes([process])


def end_of(lab: Lab, run: Run) -> dict[str, object]:
    return lab.store.get_json(run.end_key)


def running_supervisor(lab: Lab) -> psutil.Process:
    """Return the supervisor, not a process that it is starting, which has its command line."""
    return min(supervisors(JobQueue.for_store(lab.store)), key=psutil.Process.create_time)


def kill_supervisor(lab: Lab) -> None:
    for process in supervisors(JobQueue.for_store(lab.store)):
        process.kill()
        process.wait(10)


def test_cancel_ends_the_run_and_no_other_process_that_names_it(
    lab: Lab, tmp_path: Path, started: Start
) -> None:
    run = submit(lab, tmp_path)
    mine = at_work(lab, run)
    others = bystanders(started, run.uri, tmp_path / "log")
    lab.cancel(run)
    assert [one.pid for one in mine if not has_exited(one)] == []
    assert list_harmed(others) == []
    assert end_of(lab, run)["state"] == "cancelled"


def test_restarted_supervisor_ends_the_step_and_no_other_process_that_names_the_run(
    lab: Lab, tmp_path: Path, started: Start
) -> None:
    run = submit(lab, tmp_path)
    leader, *steps = at_work(lab, run)
    others = bystanders(started, run.uri, tmp_path / "log")
    kill_supervisor(lab)
    leader.kill()
    until(lambda: has_exited(leader))
    lab.engine.resume(lab.store)
    until(lambda: lab.store.exists(run.end_key))
    until(lambda: all(has_exited(one) for one in steps))
    assert list_harmed(others) == []
    error = str(end_of(lab, run)["error"])
    assert error.startswith("The process of chip has ended with an unknown exit status")


def test_restarted_supervisor_does_not_end_a_running_run(lab: Lab, tmp_path: Path) -> None:
    run = submit(lab, tmp_path)
    at_work(lab, run)
    kill_supervisor(lab)
    lab.engine.resume(lab.store)
    run_may_end(run).touch()
    assert lab.wait(run, progress=False)["state"].tolist() == ["succeeded"]


def test_cancel_command_does_not_end_itself(lab: Lab, tmp_path: Path) -> None:
    run = submit(lab, tmp_path)
    mine = at_work(lab, run)
    command = [sys.executable, "-m", "rvlab", "--store", lab.store.uri, "cancel", run.uri]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [one.pid for one in mine if not has_exited(one)] == []


def test_run_can_cancel_itself(lab: Lab, tmp_path: Path) -> None:
    """Cancel from a step: ``rvlab cancel`` does not signal its ancestors; the heartbeat does."""
    run = submit(lab, tmp_path, starts="cancel")
    until(lambda: lab.store.exists(run.end_key))
    assert end_of(lab, run)["state"] == "cancelled"
    until(lambda: JobQueue.for_store(lab.store).find(run) is None)
    assert lab.steps(run)["state"].tolist()[-1] == "cancelled"


def test_processes_outside_the_session_or_without_the_token_are_ended(
    lab: Lab, tmp_path: Path
) -> None:
    run = submit(lab, tmp_path, starts="session bare")
    mine = at_work(lab, run, number=4)
    lab.cancel(run)
    assert [one.pid for one in mine if not has_exited(one)] == []


def test_restarted_supervisor_ends_the_remaining_session_of_a_step(
    lab: Lab, tmp_path: Path
) -> None:
    run = submit(lab, tmp_path, starts="session")
    leader, *others = at_work(lab, run, number=3)
    kill_supervisor(lab)
    leader.kill()
    lab.engine.resume(lab.store)
    until(lambda: all(has_exited(one) for one in others))


@pytest.mark.parametrize("way", ["cancel", "supervisor"])
def test_reused_pid_is_not_signalled(
    lab: Lab, tmp_path: Path, started: Start, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Simulate a reboot: the pid in the queue is that of an editor with the run's folder."""
    with monkeypatch.context() as patch:
        patch.setattr(CheapEngine, "resume", lambda *_: None)
        run = submit(lab, tmp_path)
    other = started(sys.executable, "-c", SLEEP, run.uri, start_new_session=True)
    queue = JobQueue.for_store(lab.store)
    (file, job), *_ = queue.waiting()
    taken = queue.claim(file)
    assert taken is not None
    born = psutil.Process(other.pid).create_time() - 86_400
    queue.update(taken, job, pid=other.pid, born=born, token="1" * 32, scratch=str(tmp_path / "no"))
    if way == "cancel":
        with pytest.raises(HasEnded, match=r"has ended already \(failed\)"):
            lab.cancel(run)
    else:
        lab.engine.resume(lab.store)
    until(lambda: lab.store.exists(run.end_key))
    until(lambda: queue.find(run) is None)
    assert other.poll() is None
    assert end_of(lab, run)["state"] == "failed"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start another user's process")
def test_process_of_another_user_is_not_signalled(lab: Lab, tmp_path: Path, started: Start) -> None:
    run = submit(lab, tmp_path)
    at_work(lab, run)
    token = job_of(lab, run).token
    assert token
    command = ("/bin/sh", "-c", "read line", "sh", run.uri)
    other = started(*command, env={TOKEN_VARIABLE: token}, user=NOBODY, cwd="/")
    lab.cancel(run)
    assert other.poll() is None


def test_leader_with_unreadable_environment_is_identified_by_its_creation_time(
    lab: Lab, tmp_path: Path, started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(lab, tmp_path)
    mine = at_work(lab, run)
    others = bystanders(started, run.uri, tmp_path / "log")
    job = job_of(lab, run)

    def refuse(self: psutil.Process) -> dict[str, str]:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "environ", refuse)
    assert {one.pid for one in job.processes()} == {one.pid for one in mine}
    assert replace(job, born=job.born - 60 if job.born else None).processes() == []
    assert list_harmed(others) == []


def test_job_of_an_older_version_is_identified_by_its_complete_command(
    lab: Lab, tmp_path: Path, started: Start
) -> None:
    run = submit(lab, tmp_path)
    mine = at_work(lab, run)
    queue = JobQueue.for_store(lab.store)
    entry = queue.find(run)
    assert entry is not None
    kill_supervisor(lab)
    record = {k: v for k, v in asdict(entry[1]).items() if k not in ("born", "token")}
    entry[0].write_text(json.dumps(record))
    old = job_of(lab, run)
    assert (old.token, old.born) == (None, None)
    assert {one.pid for one in old.processes()} == {one.pid for one in mine}
    other = started(sys.executable, "-c", SLEEP, *old.argv[1:], start_new_session=True)
    assert replace(old, pid=other.pid).processes() == []
    lab.cancel(run)
    assert [one.pid for one in mine if not has_exited(one)] == []
    assert other.poll() is None


def test_files_of_killed_processes_in_the_queue_are_deleted_after_an_hour(lab: Lab) -> None:
    queue = JobQueue.for_store(lab.store)
    old, new = (queue.folder / "queue" / f"{name}.new" for name in ("old", "new"))
    for file in (old, new):
        file.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    Supervisor(queue)
    assert (old.exists(), new.exists()) == (False, True)


def test_job_field_of_a_newer_version_is_ignored(lab: Lab) -> None:
    queue = JobQueue.for_store(lab.store)
    record = {"uri": f"{lab.store.uri}/towns/20260101-000000-abcdef", "max_parallel": 1, "newer": 1}
    (queue.folder / "queue" / "0-run.json").write_text(json.dumps(record))
    assert [job.max_parallel for _, job in queue.waiting()] == [1]


def test_supervisor_finds_a_process_whose_pid_was_not_recorded(lab: Lab, tmp_path: Path) -> None:
    """Simulate a supervisor that was killed right after it started the process."""
    run = submit(lab, tmp_path)
    leader, *_ = at_work(lab, run)
    kill_supervisor(lab)
    queue = JobQueue.for_store(lab.store)
    entry = queue.find(run)
    assert entry is not None
    queue.update(entry[0], entry[1], pid=None, born=None)
    lab.engine.resume(lab.store)
    until(lambda: job_of(lab, run).pid == leader.pid)
    run_may_end(run).touch()
    assert lab.wait(run, progress=False)["state"].tolist() == ["succeeded"]


def test_claimed_job_that_was_not_started_is_queued_again(lab: Lab, tmp_path: Path) -> None:
    """Simulate a supervisor that was killed between claiming and starting the job."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheapEngine, "resume", lambda *_: None)
        run = submit(lab, tmp_path, seconds=0.1)
    queue = JobQueue.for_store(lab.store)
    (file, _), *_ = queue.waiting()
    queue.claim(file)
    assert lab.wait(run, progress=False)["state"].tolist() == ["succeeded"]


def test_cancel_of_a_dead_run_reports_failed_and_the_run_can_be_retried(
    lab: Lab, tmp_path: Path
) -> None:
    """Kill the processes of a run and the supervisor that would have recorded its end."""
    run = submit(lab, tmp_path)
    mine = at_work(lab, run)
    kill_supervisor(lab)
    for one in mine:
        one.kill()
    until(lambda: all(has_exited(one) for one in mine))
    with pytest.raises(HasEnded, match=r"has ended already \(failed\)"):
        lab.cancel(run)
    assert lab.runs(run)["state"].tolist() == ["failed"]
    lab.retry(run)
    at_work(lab, run)


def test_cancel_of_a_killed_run_with_a_live_supervisor_reports_failed(
    lab: Lab, tmp_path: Path
) -> None:
    run = submit(lab, tmp_path)
    mine = at_work(lab, run)
    supervisor = running_supervisor(lab)
    supervisor.suspend()
    for one in mine:
        one.kill()
    until(lambda: all(has_exited(one) for one in mine))
    os.kill(supervisor.pid, signal.SIGCONT)
    with pytest.raises(HasEnded, match=r"has ended already \(failed\)"):
        lab.cancel(run)
    assert "signal 9 (SIGKILL)" in str(end_of(lab, run)["error"])


def test_repeated_cancel_ends_processes_of_an_already_cancelled_run(
    lab: Lab, tmp_path: Path
) -> None:
    """Simulate a cancel that was interrupted between the record and the signal."""
    run = submit(lab, tmp_path)
    mine = at_work(lab, run)
    lab.engine._record_cancelled(lab.store, run)
    with pytest.raises(HasEnded, match=r"has ended already \(cancelled\)"):
        lab.cancel(run)
    assert [one.pid for one in mine if not has_exited(one)] == []


def test_supervisor_started_by_a_run_is_not_a_process_of_the_run(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "2" * 32)
    submit(lab, tmp_path)
    until(lambda: supervisors(JobQueue.for_store(lab.store)))
    supervisor = running_supervisor(lab)
    assert TOKEN_VARIABLE not in supervisor.environ()


def test_only_seaweedfs_is_identified_as_the_s3_server(tmp_path: Path, started: Start) -> None:
    (tmp_path / "mini").write_text("read line")
    arguments = ("mini", f"-dir={tmp_path / 'data'}")
    editor = started("vim", *arguments, executable="/bin/sh", cwd=tmp_path)
    until(lambda: psutil.Process(editor.pid).cmdline() == ["vim", *arguments])
    assert _seaweedfs.find_process(tmp_path, likely_pid=editor.pid) is None
    (tmp_path / "lock").touch()
    assert server.stop_server(tmp_path) is False
    assert editor.poll() is None


def test_queue_and_its_files_are_private_to_their_owner(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0)
    try:
        run = submit(lab, tmp_path)
        at_work(lab, run)
    finally:
        os.umask(before)
    folder = JobQueue.for_store(lab.store).folder
    for path in (folder.parent, folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    (folder / "supervisor.log").chmod(0o644)
    folder.chmod(0o755)
    JobQueue.for_store(Store(lab.store.uri))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "supervisor.log").stat().st_mode & 0o777 == 0o600
