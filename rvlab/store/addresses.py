"""Which addresses of rasters and labels in records are opened.

A record names files, and whoever may write to a store may write any name. So an address from a
record is opened only if it lies below the store, on S3, or below a folder or URL that the settings
list (``[read] allow`` in rvlab.toml, or ``$RVLAB_READ__ALLOW``); a file on this machine also if the
store itself is a local folder or the embedded server, whose records are the user's own.
"""

from __future__ import annotations

import json
import os
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from rvlab.errors import NotFound, RasterError, SpecError

if TYPE_CHECKING:
    from rvlab.store.store import Store

FILE, CONFIG = "rvlab.toml", "RVLAB_CONFIG"
ALLOW = "RVLAB_READ__ALLOW"

REFUSED = "refused:"
"""What an address begins with that is not to be opened; no library opens it by mistake."""

_embedded: set[str] = set()


def trust_embedded(endpoint: str) -> None:
    """Take the S3 server at an endpoint for one that this user has started on this machine."""
    _embedded.add(endpoint)


def checked_address(uri: str, home: Store) -> str:
    """An address that a record of a store names, marked as refused if it must not be opened."""
    return uri if is_allowed(uri, home) else f"{REFUSED}{uri}"


def is_allowed(uri: str, home: Store) -> bool:
    """Whether an address that a record of a store names may be opened."""
    scheme = urlsplit(uri).scheme
    path = unquote(uri.partition("://")[2] if scheme else uri)
    if "\0" in uri or (scheme not in ("", "file") and ".." in path.split("/")):
        return False
    if scheme in ("", "file"):
        if local_path(uri).startswith("/vsi"):
            return False  # GDAL's own names for other places
        if "://" not in home.uri or home.access.endpoint in _embedded:
            return True
    elif uri.startswith(f"{home.uri}/") or (scheme == "s3" and urlsplit(uri).netloc):
        return True
    return any(_lies_below(uri, prefix) for prefix in allowed_prefixes())


def require_allowed(uri: str) -> None:
    """Raise for an address that `checked_address` has marked.

    Raises:
        RasterError: It names the setting that would allow the address.
    """
    if uri.startswith(REFUSED):
        raise RasterError(
            f"{uri.removeprefix(REFUSED):.300} is not opened: a record names it, and it lies "
            f"neither in the store nor on S3. Add its folder to `allow` below [read] in {FILE}, or "
            f"to ${ALLOW}, if you trust it."
        )


def local_path(uri: str) -> str:
    """The absolute path of a local address, so that GDAL takes no part of it for a driver."""
    path = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
    return "/" + os.path.abspath(path).lstrip("/")


def allowed_prefixes() -> tuple[str, ...]:
    """The folders and URLs that the settings list.

    Raises:
        SpecError: If the settings cannot be read.
    """
    text = os.environ.get(ALLOW)
    if text:
        try:
            found = json.loads(text)
        except ValueError as exc:
            raise SpecError(f"${ALLOW} is {text!r}, but it is to hold a JSON list.") from exc
        return _texts(found, f"${ALLOW}")
    file = settings_file()
    return _of_file(file, file.stat().st_mtime_ns) if file else ()


def settings_file() -> Path | None:
    """``$RVLAB_CONFIG``, else ``rvlab.toml`` in this folder or one above.

    Raises:
        NotFound: If the variable names no file.
    """
    named = os.environ.get(CONFIG)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise NotFound(f"${CONFIG} names {named!r}, which is no file.")
        return path
    here = Path.cwd()
    return next((f for d in (here, *here.parents) if (f := d / FILE).is_file()), None)


@lru_cache(maxsize=8)
def _of_file(file: Path, _changed: int) -> tuple[str, ...]:
    try:
        read = tomllib.loads(file.read_text(encoding="utf-8")).get("read", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SpecError(f"{file} cannot be read: {exc}.") from exc
    unknown = sorted(set(read) - {"allow"}) if isinstance(read, dict) else ["read"]
    if unknown:
        raise SpecError(f"[read] in {file} has the key {unknown[0]!r}; it takes `allow` only.")
    return _texts(read.get("allow", []), f"`allow` below [read] in {file}")


def _texts(found: Any, what: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise SpecError(f"{what} is to be a list of folders and URLs, not {found!r:.100}.")
    return tuple(found)


def _lies_below(uri: str, prefix: str) -> bool:
    if urlsplit(prefix).scheme in ("", "file"):
        if urlsplit(uri).scheme not in ("", "file"):
            return False
        # Through symbolic links: one in an allowed folder leads to where it leads.
        root = os.path.realpath(local_path(str(Path(prefix).expanduser())))
        return Path(os.path.realpath(local_path(uri))).is_relative_to(root)
    root = prefix.rstrip("/")
    return uri == root or uri.startswith(f"{root}/")
