"""Folders of rvlab on this machine: user data, and caches that can be rebuilt."""

from __future__ import annotations

import os
from pathlib import Path

from rvlab.errors import EngineError


def user_data_dir() -> Path:
    """Return ``$RVLAB_HOME``, else the user's data folder: the job queue and the S3 data."""
    import platformdirs

    given = os.environ.get("RVLAB_HOME")
    try:
        return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("rvlab"))
    except RuntimeError as exc:
        raise EngineError(
            f"rvlab found no home folder for its files ({exc}). Set RVLAB_HOME to a folder."
        ) from exc


def user_cache_dir() -> Path:
    """Return ``$RVLAB_CACHE``, else the user's cache folder: downloads and cached rows."""
    import platformdirs

    given = os.environ.get("RVLAB_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("rvlab"))
