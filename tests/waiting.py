"""Waiting for other processes and threads in tests."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object], *, every_s: float = 0.1) -> None:
    """Wait until `holds()` is true, limited by pytest-timeout only."""
    while not holds():
        time.sleep(every_s)
