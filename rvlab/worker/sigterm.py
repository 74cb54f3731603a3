"""SIGTERM as an exception, while there is somebody to write it down."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class Terminated(BaseException):
    """SIGTERM arrived; a BaseException, so that no library takes it for a failure of its own."""


class SigtermGuard:
    """Holds SIGTERM back, but for `deliver`, where it is raised as `Terminated`, once.

    One that comes while the last records are written has this process end by it afterwards, so
    that whoever sent it is obeyed and nobody starts the next step.
    """

    def __init__(self) -> None:
        self._pending = self._open = self._told = False

    def __enter__(self) -> SigtermGuard:
        self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGTERM, self._before)
        if self._pending:
            os.kill(os.getpid(), signal.SIGTERM)

    @contextmanager
    def deliver(self) -> Iterator[None]:
        """While this lasts SIGTERM is raised; so is one that arrived before."""
        self._open = True
        try:
            if self._pending:
                self._raise_terminated()
            yield
        except BaseException as exc:
            # A library that is loading its C code makes an error of its own of it.
            if self._told and not isinstance(exc, Terminated):
                raise Terminated from exc
            raise
        finally:
            self._open = False

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._pending = True
        if self._open:
            self._raise_terminated()

    def _raise_terminated(self) -> None:
        # Once is enough: what follows writes the last records. Nor may a data loader that was
        # ended by the same signal interrupt that, as torch has it do.
        self._pending = self._open = False
        self._told = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise Terminated
