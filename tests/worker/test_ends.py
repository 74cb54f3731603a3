"""Tests of how a step ends, in a child process with a stub instead of Raster Vision."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from rvlab.errors import KeyMissing, StepError
from rvlab.frame.run_rows import read_rows
from rvlab.model import Run, Spec
from rvlab.store import Store
from rvlab.worker.records import write_end
from rvlab.worker.step import _reopen_run
from tests.worker.samples import made, record

SCRIPT = """
import sys, time
from pathlib import Path
from rvlab.worker import step

MARK = {mark!r}

def body(store, run, kind):
    Path(MARK).touch()
    print("at work")
{body}
    return step.EndSummary({{"f1": 0.5}}, {{}})

step.summarize_outputs = body
sys.exit(step.run_step({uri!r}, "summarize", every_s=1.0)[0])
"""


def start_step(folder: Path, run: Run, body: str) -> subprocess.Popen[str]:
    """Start the step summarize with another body and wait until the body runs."""
    mark = folder / "at-work"
    mark.unlink(missing_ok=True)
    script = SCRIPT.format(
        mark=str(mark), uri=run.uri, body=textwrap.indent(textwrap.dedent(body), "    ")
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not mark.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    return process


def wait_for_end(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate()
    return process.returncode, out


def step_record(store: Store, run: Run) -> dict[str, Any]:
    return dict(record(store, run, "steps", "summarize.json"))


def test_step_terminated_by_a_signal_has_failed(tmp_path: Path) -> None:
    store, run = made(tmp_path / "store")
    process = start_step(tmp_path, run, "time.sleep(3600)")
    process.send_signal(signal.SIGTERM)
    assert wait_for_end(process)[0] == 143
    why = "summarize was ended by signal 15 (SIGTERM)."
    step = step_record(store, run)
    assert (step["state"], step["exit_code"], step["error"]) == ("failed", 143, why)
    last = store.get_json(run.end_key)
    assert (last["state"], last["step"], last["error"]) == ("failed", "summarize", why)


def test_sigterm_is_recorded_when_a_library_raises_another_error(
    tmp_path: Path,
) -> None:
    """Torch does so while its C code is loaded."""
    store, run = made(tmp_path / "store")
    body = """
        try:
            time.sleep(3600)
        except BaseException:
            raise SystemError("bad call flags") from None
    """
    process = start_step(tmp_path, run, body)
    process.send_signal(signal.SIGTERM)
    assert wait_for_end(process)[0] == 143
    why = "summarize was ended by signal 15 (SIGTERM)."
    (row,) = read_rows(store, [run])
    assert (row["state"], row["error"]) == ("failed", why)
    step = step_record(store, run)
    assert (step["exit_code"], step["error"]) == (143, why)
    assert "SystemError: bad call flags" in str(step["traceback"])


def test_terminated_pod_writes_no_end_record(
    tmp_path: Path,
) -> None:
    store, run = made(tmp_path / "store")
    spec = record(store, run, "spec.json")
    store.put_json(run.key("spec.json"), {**spec, "steady_heartbeat": False})
    process = start_step(tmp_path, run, "time.sleep(3600)")
    process.send_signal(signal.SIGTERM)
    assert wait_for_end(process)[0] == 143
    step = step_record(store, run)
    assert (step["state"], step["exit_code"]) == ("failed", 143)
    assert not store.exists(run.end_key)
    assert wait_for_end(start_step(tmp_path, run, "raise OSError('no imagery')"))[0] == 1
    (row,) = read_rows(store, [run])
    assert (row["state"], row["error"]) == ("failed", "OSError: no imagery")


def test_step_terminates_itself_when_its_run_is_cancelled(tmp_path: Path) -> None:
    store, run = made(tmp_path / "store")
    process = start_step(tmp_path, run, "time.sleep(3600)")
    write_end(store, run, record(store, run, "spec.json"), "cancelled")
    assert wait_for_end(process)[0] == 143
    step = step_record(store, run)
    assert (step["state"], step["exit_code"]) == ("cancelled", 143)
    assert step["error"] == "It was cancelled."
    assert store.get_json(run.end_key)["state"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit('no imagery today')", "SystemExit: no imagery today"),
        ("sys.exit()", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_recipe_that_exits_has_failed(tmp_path: Path, body: str, why: str) -> None:
    store, run = made(tmp_path / "store")
    status, out = wait_for_end(start_step(tmp_path, run, body))
    assert status == 1
    assert "at work" in out
    last = store.get_json(run.end_key)
    assert (last["state"], last["step"], last["error"]) == ("failed", "summarize", why)
    assert step_record(store, run)["error"] == why


def test_sigterm_during_the_start_of_a_step_is_recorded(tmp_path: Path) -> None:
    """The signal arrives before there is a record and is deferred until there is one."""
    store, run = made(tmp_path / "store")
    script = f"""
import os, signal, sys
from rvlab.worker import step, step_recorder
attempts = step_recorder.StepRecorder._earlier_attempts
def slow(self):
    os.kill(os.getpid(), signal.SIGTERM)
    return attempts(self)
step_recorder.StepRecorder._earlier_attempts = slow
sys.exit(step.run_step({run.uri!r}, "summarize")[0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 143
    assert step_record(store, run)["error"] == "summarize was ended by signal 15 (SIGTERM)."
    assert store.get_json(run.end_key)["state"] == "failed"


def test_sigterm_during_the_last_writes_is_deferred(tmp_path: Path) -> None:
    store, run = made(tmp_path / "store")
    process = start_step(
        tmp_path,
        run,
        """
        import os, signal
        from rvlab.worker.step_recorder import StepRecorder
        finish = StepRecorder._finish
        def late(self, exc):
            os.kill(os.getpid(), signal.SIGTERM)
            finish(self, exc)
        StepRecorder._finish = late
        """,
    )
    assert wait_for_end(process)[0] == -signal.SIGTERM  # deferred, not ignored
    assert step_record(store, run)["state"] == "succeeded"
    assert store.get_json(run.end_key)["metrics"] == {"f1": 0.5}


def test_terminated_data_loader_does_not_interrupt_the_last_writes(tmp_path: Path) -> None:
    """A signal to the process group ends the loader too, and torch raises that at any time."""
    store, run = made(tmp_path / "store")
    process = start_step(
        tmp_path,
        run,
        """
        import os, signal
        from rvlab.worker.step_recorder import StepRecorder
        def killed(number, frame):
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")
        signal.signal(signal.SIGCHLD, killed)
        finish = StepRecorder._finish
        def late(self, exc):
            os.kill(os.getpid(), signal.SIGCHLD)
            finish(self, exc)
        StepRecorder._finish = late
        Path(MARK).with_name("ready").touch()
        time.sleep(3600)
        """,
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert wait_for_end(process)[0] == 143
    assert store.get_json(run.end_key)["error"] == "summarize was ended by signal 15 (SIGTERM)."


def test_step_that_cannot_write_its_record_fails_with_the_reason(tmp_path: Path) -> None:
    store, run = made(tmp_path / "store")
    status, _ = wait_for_end(
        start_step(
            tmp_path,
            run,
            """
            from rvlab.errors import StoreError
            from rvlab.worker import step_recorder
            def refused(self, store):
                raise StoreError("The bucket is full.")
            step_recorder.StepRecorder._write = refused
            """,
        )
    )
    assert status == 1
    last = store.get_json(run.end_key)
    assert (last["state"], last["error"]) == ("failed", "The bucket is full.")


def test_two_steps_run_in_one_process(tmp_path: Path) -> None:
    store, run = made(tmp_path / "store")
    script = f"""
import os, tempfile
from rvlab.worker import rv_patches, step
rv_patches.apply_patches = lambda scratch, seed, **split: rv_patches.patch_download_cache(scratch)
step.run_command = lambda *args, **more: tempfile.mkdtemp()
before = os.getcwd(), os.environ.get("TMPDIR"), tempfile.gettempdir()
for name in ("train", "eval"):
    assert step.run_step({run.uri!r}, name)[0] == 0, name
assert (os.getcwd(), os.environ.get("TMPDIR"), tempfile.gettempdir()) == before
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert record(store, run, "steps", "eval.json")["state"] == "succeeded"


def failed_in(store: Store, run: Run, step: str | None, *started_before: str) -> None:
    """Mark a run as failed in a step after other steps were started."""
    spec = Spec.from_record(record(store, run, "spec.json"), "spec.json")
    write_end(store, run, spec.record(), "failed", step=step, error="It rained.")
    for name in started_before:
        store.put_json(run.key("steps", f"{name}.json"), {})


@pytest.mark.parametrize(
    ("failed", "step", "split", "reopens"),
    [
        ("predict", "predict", 0, True),  # the split that failed, once more
        ("predict", "predict", 1, False),  # another, for the first time
        ("predict", "predict", None, True),
        ("predict", "train", None, True),  # an earlier step, once more
        ("predict", "analyze", None, False),
        ("predict", "eval", None, False),
        ("train", "predict", 0, False),  # a later step, although it ran before
        ("configure", "configure", None, True),
        (None, "eval", None, True),  # its process died between two steps
    ],
)
def test_retry_of_the_failed_or_an_earlier_step_reopens_a_run(
    tmp_path: Path, failed: str | None, step: str, split: int | None, reopens: bool
) -> None:
    store, run = made(tmp_path)
    failed_in(store, run, failed, "train", "predict-0")
    _reopen_run(store, run, step, split)
    assert store.exists(run.end_key) is not reopens


def test_failed_run_is_not_summarized(tmp_path: Path) -> None:
    store, run = made(tmp_path)
    failed_in(store, run, "predict", "predict-0")
    with pytest.raises(StepError, match=r"failed in predict\. Retry predict first\."):
        _reopen_run(store, run, "summarize", None)
    store.delete([run.end_key])
    _reopen_run(store, run, "summarize", None)
    with pytest.raises(KeyMissing):
        store.get_json(run.end_key)


@pytest.mark.parametrize(
    ("log", "epochs"),
    [
        ("epoch,train_loss\n0,0.5\n1,0.4\n2,0.3\n", 3),
        ("epoch,train_loss\n0,0.5\n1,0.", 1),
        ("epoch,train_loss\n", 0),
        ("no log", 0),
        ("loss\n0.5\n", None),
        (None, None),
    ],
)
def test_end_has_the_number_of_completed_epochs(
    tmp_path: Path, log: str | None, epochs: int | None
) -> None:
    store, run = made(tmp_path)
    if log is not None:
        store.put(run.key("rv", "train", "log.csv"), log.encode())
    assert write_end(store, run, store.get_json(run.key("spec.json")), "cancelled")
    assert store.get_json(run.end_key)["epochs"] == epochs
    assert read_rows(store, [run])[0]["epochs"] == epochs
