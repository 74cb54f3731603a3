"""The processors that a step may use.

This module imports the standard library only, since it runs before torch is imported.
"""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_processors() -> int:
    """Return how many processors this process may use, with the limit of its container.

    Returns:
        The minimum of the machine's processors, the process affinity and the container's limit
        (cgroup v2, else v1), rounded down; at least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    limit = _container_limit()
    return allowed if limit is None else max(1, min(allowed, int(limit)))


def limit_threads() -> None:
    """Set OMP_NUM_THREADS to the available processors, unless it is set.

    Two threads on one busy core made a training three to five times slower. OpenMP reads the
    variable once, when torch is imported, so this must run before.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(available_processors()))


def _container_limit() -> float | None:
    """Return the container's limit in processors, or None if it has no limit."""
    old = CGROUP / "cpu"
    try:
        if (CGROUP / "cpu.max").is_file():
            quota, period = (CGROUP / "cpu.max").read_text().split()
        else:
            quota = (old / "cpu.cfs_quota_us").read_text().strip()
            period = (old / "cpu.cfs_period_us").read_text()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None
