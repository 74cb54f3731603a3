"""Where rvlab keeps what belongs to this machine and user: the queue of local runs, the S3 data."""

from __future__ import annotations

import os
from pathlib import Path

from rvlab.errors import EngineError


def home_folder() -> Path:
    """``$RVLAB_HOME``, else the user's data folder as the operating system has it."""
    import platformdirs

    given = os.environ.get("RVLAB_HOME")
    try:
        return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("rvlab"))
    except RuntimeError as exc:
        raise EngineError(
            f"There is no home folder to keep rvlab's files in ({exc}). Name one in RVLAB_HOME."
        ) from exc
