"""The record with heartbeat and the log that a step writes while it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from rvlab.errors import KeyMissing, RecordBroken, RvlabError, StoreError
from rvlab.model import HEARTBEAT_S, Run, StepRecord, step_name, utc_now
from rvlab.store import Store
from rvlab.worker.masking import complete_length, mask_bytes, mask_text
from rvlab.worker.sigterm import Terminated

TRACEBACK_LINES = 30
"""Number of traceback lines in a step's record."""


EXIT_FAILED, EXIT_TERMINATED = 1, 143
"""Exit statuses of a step."""


class StepRecorder:
    """Writes ``steps/{step}.json`` and ``logs/{step}.log`` of one step while its body runs.

    Standard output and error are captured at the level of file descriptors, so that the output of
    libraries and data loaders is included, and forwarded to the original descriptors. While the
    recorder runs, `Terminated` may be raised at any time in the thread that entered it: by a
    SIGTERM from outside, or by the SIGTERM that the recorder sends to its own process when a
    heartbeat finds that the run was cancelled. Writes at the start and the end wait for a store
    that does not answer, up to the store's patience. A heartbeat that cannot be written is skipped.

    Args:
        store: The run's store, with patience (`Store.with_patience`).
        run: The run.
        step: The step's name.
        split: The split; None for a complete step.
        of: The number of splits.
        scratch: A folder for the log until it is written to the store.
        every_s: Seconds between heartbeats.
    """

    def __init__(
        self,
        store: Store,
        run: Run,
        step: str,
        *,
        split: int | None = None,
        of: int | None = None,
        scratch: Path,
        every_s: float = HEARTBEAT_S,
    ) -> None:
        self._store, self._run, self._every_s = store, run, every_s
        self._impatient_store = store.with_patience(0.0)
        self._name = step_name(step, split)
        self._key, self._log_key = run.step_key(step, split), run.log_key(step, split)
        self._log = scratch / f"{self._name}.log"
        now = utc_now()
        self.record = StepRecord(
            step=step,
            split=split,
            of=of,
            state="running",
            started=now,
            beat=now,
            host=socket.gethostname(),
            pid=os.getpid(),
            attempt=self._earlier_attempts() + 1,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._heartbeat, name="heartbeat", daemon=True)
        self._stored_bytes, self._forwarded_bytes = -1, 0
        self._missed_beat = False
        self._etag: str | None = None

    def _earlier_attempts(self) -> int:
        """Return the number of attempts that the step's earlier record has, or 0."""
        try:
            before = StepRecord.from_record(self._store.get_json(self._key), self._key)
        except (KeyMissing, RecordBroken):
            return 0
        return before.attempt

    def __enter__(self) -> StepRecorder:
        self._write(self._store)
        sys.stdout.flush()
        sys.stderr.flush()
        self._original_fds = os.dup(1), os.dup(2)
        file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if exc is not None:
            traceback.print_exception(exc)
        self._stop.set()
        self._thread.join()
        try:
            for _ in range(2):  # the second pass stores what the first has logged
                sys.stdout.flush()
                sys.stderr.flush()
                self._store_log(self._store)
        except OSError as problem:  # a missing log does not fail the step
            print(f"rvlab: the log of {self._name} is not stored: {problem}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, outer in zip((1, 2), self._original_fds, strict=True):
            os.dup2(outer, fd)
        self._finish(exc)
        self._forward_output(whole_lines=False)
        for outer in self._original_fds:
            os.close(outer)

    def _finish(self, exc: BaseException | None) -> None:
        """Write the step's last record, after its log: the log of an ended step is complete."""
        state, code, error, last_lines = "succeeded", 0, None, None
        if exc is not None and self._is_cancelled(self._store):
            state, code, error = "cancelled", EXIT_TERMINATED, "It was cancelled."
        elif exc is not None:
            state, code, error = "failed", EXIT_FAILED, error_sentence(exc, self._store)
            if isinstance(exc, Terminated):
                code, error = EXIT_TERMINATED, f"{self._name} was ended by signal 15 (SIGTERM)."
            lines = mask_text("".join(traceback.format_exception(exc)), self._store).splitlines()
            last_lines = "\n".join(lines[-TRACEBACK_LINES:])
        self.record = dataclasses.replace(
            self.record,
            state=state,
            exit_code=code,
            error=error,
            traceback=last_lines,
            ended=utc_now(),
        )
        self._write(self._store)

    def _is_cancelled(self, store: Store) -> bool:
        """Return whether the run was cancelled."""
        try:
            return store.get_json(self._run.end_key).get("state") == "cancelled"
        except StoreError:
            return False

    def _heartbeat(self) -> None:
        """Forward output every second, write record and log from time to time, until stopped."""
        second = 0
        next_beat, next_log = self._every_s, self._every_s
        while not self._stop.wait(1.0):
            self._forward_output()
            second += 1
            if second < next_beat:
                continue
            next_beat = second + self._every_s
            try:
                self._write(self._impatient_store)
                if second >= next_log:  # each write stores the full log, so a long log waits
                    self._store_log(self._impatient_store)
                    next_log = second + self._every_s * max(1.0, self._stored_bytes / 2**19)
            except OSError as exc:  # a missed heartbeat must not end the training
                if not self._missed_beat:
                    print(f"rvlab: the heartbeat cannot be written: {exc}", file=sys.stderr)
                self._missed_beat = True
                continue
            if self._missed_beat:
                print("rvlab: heartbeats are written again.", file=sys.stderr)
                self._missed_beat = False
            if self._is_cancelled(self._impatient_store):
                os.kill(os.getpid(), signal.SIGTERM)

    def _write(self, store: Store) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 2**20 if sys.platform == "darwin" else 2**10
        self.record = dataclasses.replace(
            self.record,
            beat=utc_now(),
            peak_mb=round(usage.ru_maxrss / unit, 1),
            cpu_s=round(usage.ru_utime + usage.ru_stime + children.ru_utime + children.ru_stime, 2),
            **_device_usage(),
        )
        self._etag = store.replace_json(self._key, self.record.record(), self._etag)

    def _store_log(self, store: Store) -> None:
        data = self._log.read_bytes()
        if len(data) != self._stored_bytes:
            store.put(self._log_key, mask_bytes(data, self._store))
            self._stored_bytes = len(data)

    def _forward_output(self, *, whole_lines: bool = True) -> None:
        """Forward new output in complete lines, since a part of a secret would not be masked."""
        with contextlib.suppress(OSError):  # the reader of the output may have exited
            with self._log.open("rb") as file:
                file.seek(self._forwarded_bytes)
                data = file.read()
            if whole_lines:
                data = data[: complete_length(data)]
            self._forwarded_bytes += len(data)
            view = memoryview(mask_bytes(data, self._store))
            while view:
                view = view[os.write(self._original_fds[0], view) :]


def _device_usage() -> dict[str, Any]:
    """Return the device and the peak GPU memory, without importing torch."""
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    # During its import torch is only partly initialized.
    if not hasattr(cuda, "get_device_name") or not cuda.is_initialized():
        return {"device": "cpu"}
    peak = max(cuda.max_memory_reserved(i) for i in range(cuda.device_count()))
    return {"device": f"cuda ({cuda.get_device_name()})", "gpu_peak_mb": round(peak / 2**20, 1)}


def error_sentence(exc: BaseException, store: Store) -> str:
    """Describe an exception in one line of a table, without the secrets that it quotes."""
    # Mask before truncating, since a part of a secret would not be masked.
    text = " ".join(mask_text(str(exc), store).split())
    if len(text) > 500:
        text = f"{text[:497]}..."
    if isinstance(exc, RvlabError):
        return text
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__
