"""Launch Raster Vision runs from a notebook, compare them in pandas, look at the predictions.

Every name is loaded on first use, so ``import rvlab`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rvlab.version import __version__

if TYPE_CHECKING:
    from rvlab import compare, plot
    from rvlab.engines.local import LocalEngine
    from rvlab.errors import RvlabError
    from rvlab.lab import Lab
    from rvlab.model import Run
    from rvlab.store import S3Access
    from rvlab.submission import grid


_HOMES = {
    "Lab": "rvlab.lab",
    "LocalEngine": "rvlab.engines.local",
    "Run": "rvlab.model",
    "RvlabError": "rvlab.errors",
    "S3Access": "rvlab.store",
    "grid": "rvlab.submission",
}

_MODULES = ("compare", "plot")

__all__ = [
    "Lab",
    "LocalEngine",
    "Run",
    "RvlabError",
    "S3Access",
    "__version__",
    "compare",
    "grid",
    "plot",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"rvlab.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'rvlab' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
