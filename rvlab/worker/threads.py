"""How many processors a step may use; standard library only, to be asked before torch is there."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_processors() -> int:
    """How many processors this process may use, which in a container is less than there are.

    Returns:
        The least of what the machine has, what the process is bound to and the container's limit
        (cgroup v2, else v1), rounded down; 1 at least.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    limit = _container_limit()
    return allowed if limit is None else max(1, min(allowed, int(limit)))


def limit_threads() -> None:
    """Let OpenMP use what the process may use, unless OMP_NUM_THREADS is set.

    Two threads on one busy core made a training three to five times slower. OpenMP reads the
    variable once, when torch is imported, so this comes before.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(available_processors()))


def _container_limit() -> float | None:
    """The container's limit in processors; None where there is none."""
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
