"""Warnings that point to the line of the user's code that called rvlab."""

from __future__ import annotations

import sys
import warnings


def warn_user(text: str) -> None:
    """Warn with the place of the first caller outside of rvlab.

    ``warnings.warn(skip_file_prefixes=…)`` does this only from Python 3.12 on.
    """
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and _is_own(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


def _is_own(module: str) -> bool:
    return module == "rvlab" or module.startswith("rvlab.")
