"""Where rvlab keeps files on this machine: what belongs to the user, and what can be had again."""

from __future__ import annotations

import os
from pathlib import Path

from rvlab.errors import EngineError


def user_data_dir() -> Path:
    """``$RVLAB_HOME``, else the user's data folder: the queue of local runs, the S3 data."""
    import platformdirs

    given = os.environ.get("RVLAB_HOME")
    try:
        return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("rvlab"))
    except RuntimeError as exc:
        raise EngineError(
            f"There is no home folder to keep rvlab's files in ({exc}). Name one in RVLAB_HOME."
        ) from exc


def user_cache_dir() -> Path:
    """``$RVLAB_CACHE``, else the user's cache folder: what was fetched, rows that were read."""
    import platformdirs

    given = os.environ.get("RVLAB_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("rvlab"))
