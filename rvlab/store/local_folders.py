"""Folders on this machine: rvlab's own for data and caches, and the listing of a store's folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rvlab.errors import EngineError

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
"""Pattern of file names that are the same in keys."""


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
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("rvlab"))


class Unscannable(Exception):
    """The folder has entries that only obstore can list."""


def scan_etags(root: Path, prefix: str) -> dict[str, str | None]:
    """Return the ETag of each key below a prefix of a local folder.

    Keys and ETags equal those of obstore. This is a third faster than its listing.

    Raises:
        Unscannable: If obstore must list the folder.
    """
    found: dict[str, str | None] = {}
    below = [prefix.strip("/")]
    while below:
        key = below.pop()
        try:
            with os.scandir(root / key) as entries:
                for one in entries:
                    if not _PLAIN.fullmatch(one.name) or one.is_symlink():
                        raise Unscannable
                    if one.is_dir():
                        below.append(f"{key}/{one.name}")
                        continue
                    try:
                        stat = one.stat()
                    except FileNotFoundError:
                        continue  # deleted since; the other entries still count
                    moment = stat.st_mtime_ns // 1000
                    tag = f'"{stat.st_ino:x}-{moment:x}-{stat.st_size:x}"'
                    found[f"{key}/{one.name}"] = tag
        except FileNotFoundError:
            continue  # deleted meanwhile, or never existed
        except OSError as exc:
            raise Unscannable from exc  # obstore raises a better error
    return found
