"""Resolution of relative paths in a config against the folder that a run was submitted from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rvlab.store.addresses import path_exists

CWD_VARIABLE = "RVLAB_CWD"
"""Environment variable with the folder that a run was submitted from, if it is on this machine."""

URI_FIELDS = ("uri", "uris", "init_weights")
"""Fields of Raster Vision's configs with URIs, besides those named ``*_uri`` and ``*_uris``."""


def submit_folder() -> Path | None:
    """Return the folder that the run was submitted from, or None if it is not on this machine."""
    folder = os.environ.get(CWD_VARIABLE)
    return Path(folder) if folder and Path(folder).is_dir() else None


def make_absolute(config: Any, folder: Path) -> None:
    """Make relative URIs of a config absolute, in place, if they exist below a folder.

    Each step runs in its own folder, where a relative path would not resolve.

    Args:
        config: A Raster Vision ``Config``; nested configs are changed as well.
        folder: The folder that the URIs are relative to.
    """
    from rastervision.pipeline.config import Config

    if isinstance(config, list | tuple):
        for item in config:
            make_absolute(item, folder)
    elif isinstance(config, dict):
        make_absolute(list(config.values()), folder)
    elif isinstance(config, Config):
        for name in type(config).model_fields:
            value = getattr(config, name)
            if name in URI_FIELDS or name.endswith(("_uri", "_uris")):
                absolute = _find_below(value, folder)
                if absolute != value:
                    setattr(config, name, absolute)
            else:
                make_absolute(value, folder)


def _find_below(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_find_below(item, folder) for item in value]
    if not isinstance(value, str) or not value or "://" in value or Path(value).is_absolute():
        return value
    path = folder / value
    return os.path.abspath(path) if path_exists(path) else value
