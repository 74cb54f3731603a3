"""Relative paths in a config: those of the folder in which the recipe was written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

CWD_VARIABLE = "RVLAB_CWD"
"""The variable that names the folder from which a run was submitted, if it runs on that machine."""

URI_FIELDS = ("uri", "uris", "init_weights")
"""Fields of Raster Vision's configs that hold URIs, beside those that end in ``_uri`` or so."""


def submit_folder() -> Path | None:
    """The folder from which the run was submitted; None if it is not on this machine."""
    named = os.environ.get(CWD_VARIABLE)
    return Path(named) if named and Path(named).is_dir() else None


def make_absolute(config: Any, folder: Path) -> None:
    """Make relative URIs of a config absolute, in place, where they exist below a folder.

    The steps run in folders of their own, where a relative path leads nowhere.

    Args:
        config: A Config of Raster Vision's; those within it are changed as well.
        folder: What the URIs are relative to.
    """
    from rastervision.pipeline.config import Config

    if isinstance(config, list | tuple):
        for one in config:
            make_absolute(one, folder)
    elif isinstance(config, dict):
        make_absolute(list(config.values()), folder)
    elif isinstance(config, Config):
        for name in type(config).model_fields:
            value = getattr(config, name)
            if name in URI_FIELDS or name.endswith(("_uri", "_uris")):
                found = _find_below(value, folder)
                if found != value:
                    setattr(config, name, found)
            else:
                make_absolute(value, folder)


def _find_below(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_find_below(one, folder) for one in value]
    if not isinstance(value, str) or not value or "://" in value or Path(value).is_absolute():
        return value
    path = folder / value
    return os.path.abspath(path) if path.exists() else value
