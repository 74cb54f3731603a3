"""SIGTERM as an exception, raised only while a step can record it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class Terminated(BaseException):
    """The process received SIGTERM; a BaseException, so that libraries do not catch it."""


class SigtermGuard:
    """Defer SIGTERM, except within `deliver`, where it is raised once as `Terminated`.

    A SIGTERM that arrives while the last records are written terminates the process afterwards, so
    that no further step is started.
    """

    def __init__(self) -> None:
        self._pending = self._delivering = self._raised = False

    def __enter__(self) -> SigtermGuard:
        self._previous_handler = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGTERM, self._previous_handler)
        if self._pending:
            os.kill(os.getpid(), signal.SIGTERM)

    @contextmanager
    def deliver(self) -> Iterator[None]:
        """Raise SIGTERM within this context, including one that arrived before."""
        self._delivering = True
        try:
            if self._pending:
                self._raise_terminated()
            yield
        except BaseException as exc:
            # A library that is loading its C code may replace Terminated by its own error.
            if self._raised and not isinstance(exc, Terminated):
                raise Terminated from exc
            raise
        finally:
            self._delivering = False

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._pending = True
        if self._delivering:
            self._raise_terminated()

    def _raise_terminated(self) -> None:
        # Raise only once, because the last records are written next. Reset SIGCHLD too: torch's
        # handler would interrupt the writes when the same signal ends a data loader.
        self._pending = self._delivering = False
        self._raised = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise Terminated
