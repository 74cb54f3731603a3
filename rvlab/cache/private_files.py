"""Folders and files that only the user can open, with mode 0700 and 0600."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from rvlab.user_warning import warn_user

OTHER_USERS_MODE = 0o077
"""Permission bits of the group and of others."""


@cache
def try_make_private_folder(folder: Path) -> bool:
    """Create a folder that only the user can open, and return whether it is private.

    The result is cached for the process.

    Warns:
        UserWarning: If another user owns it, or it is not a folder.
    """
    try:
        make_folder(folder)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            if found.st_mode & OTHER_USERS_MODE:
                folder.chmod(0o700)
            return True
    except OSError:
        return False  # the cache folder cannot be created, so nothing is cached
    warn_user(
        f"The cache folder {folder} is not used: it belongs to user {found.st_uid}, or is not a "
        f"folder; this process is user {os.geteuid()}. Set RVLAB_CACHE to a folder of your own.",
    )
    return False


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, each with mode 0700.

    Raises:
        OSError: If one cannot be created.
    """
    missing = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
    for one in reversed(missing):
        one.mkdir(exist_ok=True, mode=0o700)


def read_private(path: Path) -> bytes:
    """Return the content of a regular file of this user.

    Raises:
        OSError: If it is missing, another user's, or not a regular file.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as source:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(f"{path} is not a file of user {os.geteuid()}.")
        with suppress(OSError):
            os.utime(file)  # the time of its last use
        return source.read()


def write_atomically(folder: Path, fill: Callable[[BinaryIO], str]) -> Path:
    """Write a file atomically, so that a crash leaves no partial file.

    Args:
        folder: The folder of the file, created if it is missing.
        fill: Writes the content, and returns the name of the file.

    Raises:
        OSError: If it cannot be written.
    """
    make_folder(folder)
    new = folder / f"{secrets.token_hex(8)}.new"
    try:
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            path = folder / fill(out)
            out.flush()
            os.fsync(file)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return path
