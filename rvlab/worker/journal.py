"""What a step writes of itself while it runs: its record with a heartbeat, and its log."""

from __future__ import annotations

import dataclasses
import os
import resource
import socket
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from rvlab.errors import KeyMissing, RecordBroken, RvlabError, StepError
from rvlab.model import BEAT_S, Run, StepRecord, step_name, utc_now
from rvlab.store import Store

LAST_LINES = 30
"""So many lines of a traceback are kept in the record."""


class Cancelled(BaseException):
    """SIGTERM arrived; a BaseException, so that no library takes it for a failure of its own."""


class Journal:
    """Writes ``steps/{step}.json`` and ``logs/{step}.log`` of one step while its body runs.

    Standard output and error are taken at the level of the file descriptors, so what libraries and
    data loaders print is there too. They are still passed on, for whoever watches the process.

    Args:
        store: The run's store.
        run: The run.
        step: The step's name.
        split: Which piece of it; None for the whole.
        of: How many pieces there are.
        scratch: A folder for the log until it is stored.
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
        every_s: float = BEAT_S,
    ) -> None:
        self._store, self._run, self._every_s = store, run, every_s
        self._key, self._log_key = run.step_key(step, split), run.log_key(step, split)
        self._log = scratch / f"{step_name(step, split)}.log"
        self._secrets = [s.encode() for s in _secrets(store) if s]
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
            attempt=self._attempts() + 1,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._stored, self._passed = -1, 0

    def _attempts(self) -> int:
        try:
            before = StepRecord.from_record(self._store.get_json(self._key), self._key)
        except (KeyMissing, RecordBroken):
            return 0
        return before.attempt

    def __enter__(self) -> Journal:
        self._write()
        sys.stdout.flush()
        sys.stderr.flush()
        self._outer = os.dup(1), os.dup(2)
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
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, outer in zip((1, 2), self._outer, strict=True):
            os.dup2(outer, fd)
        self._finish(exc)
        self._pass_on()
        for outer in self._outer:
            os.close(outer)

    def _finish(self, exc: BaseException | None) -> None:
        """The last word: the log first, so that whoever reads the state finds all of it."""
        state, code, error, last = "succeeded", 0, None, None
        if isinstance(exc, Cancelled):
            state, code, error = "cancelled", 143, "It was cancelled."
        elif exc is not None:
            state, code, error = "failed", 1, self._clean(one_sentence(exc))
            lines = "".join(traceback.format_exception(exc)).splitlines()
            last = self._clean("\n".join(lines[-LAST_LINES:]))
        self.record = dataclasses.replace(
            self.record, state=state, exit_code=code, error=error, traceback=last, ended=utc_now()
        )
        self._store_log()
        self._write()

    def _beat(self) -> None:
        second = 0
        beat, log = self._every_s, self._every_s
        while not self._stop.wait(1.0):
            self._pass_on()
            second += 1
            if second < beat:
                continue
            beat = second + self._every_s
            try:
                self._write()
                if second >= log:  # a log is stored whole, so a long one less often
                    self._store_log()
                    log = second + self._every_s * max(1.0, self._stored / 2**19)
            except RvlabError as exc:  # a beat that is missed is no reason to end a training
                print(f"rvlab: the heartbeat could not be written: {exc}", file=sys.stderr)

    def _write(self) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        below = resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 2**20 if sys.platform == "darwin" else 2**10
        self.record = dataclasses.replace(
            self.record,
            beat=utc_now(),
            peak_mb=round(usage.ru_maxrss / unit, 1),
            cpu_s=round(usage.ru_utime + usage.ru_stime + below.ru_utime + below.ru_stime, 2),
        )
        self._store.put_json(self._key, self.record.record())

    def _store_log(self) -> None:
        data = self._log.read_bytes()
        if len(data) != self._stored:
            self._store.put(self._log_key, self._clean_bytes(data))
            self._stored = len(data)

    def _pass_on(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self._passed)
            data = file.read()
        self._passed += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._outer[0], view) :]

    def _clean(self, text: str) -> str:
        return self._clean_bytes(text.encode()).decode(errors="replace")

    def _clean_bytes(self, data: bytes) -> bytes:
        for secret in self._secrets:
            data = data.replace(secret, b"[secret]")
        return data


def one_sentence(exc: BaseException) -> str:
    """An exception as a row of a table shows it."""
    text = " ".join(str(exc).split())
    if len(text) > 500:
        text = f"{text[:497]}..."
    if isinstance(exc, RvlabError) and not isinstance(exc, StepError):
        return text
    return text if isinstance(exc, StepError) else f"{type(exc).__name__}: {text}"


def _secrets(store: Store) -> list[str]:
    access: Any = store.access
    named = [v for k, v in os.environ.items() if k.endswith(("SECRET_ACCESS_KEY", "SESSION_TOKEN"))]
    return [access.secret_key or "", access.session_token or "", *named]
