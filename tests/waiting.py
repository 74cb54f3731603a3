"""Wait for what other processes and threads do."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object], *, every_s: float = 0.1) -> None:
    """Return once `holds()` is true. The only limit is that of pytest-timeout."""
    while not holds():
        time.sleep(every_s)
