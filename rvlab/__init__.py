"""Launch Raster Vision runs from a notebook, compare them in pandas, look at the predictions.

Every name is imported on first use, so ``import rvlab`` is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from rvlab import compare, plot
    from rvlab.engines.local import LocalEngine
    from rvlab.errors import RvlabError
    from rvlab.lab import Lab
    from rvlab.model import Run
    from rvlab.search_space import loguniform, random, uniform
    from rvlab.store import S3Access
    from rvlab.submission import grid
    from rvlab.version import __version__

__all__ = [
    "Lab",
    "LocalEngine",
    "Run",
    "RvlabError",
    "S3Access",
    "__version__",
    "compare",
    "grid",
    "loguniform",
    "plot",
    "random",
    "uniform",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submodules=["compare", "plot"],
    submod_attrs={
        "engines.local": ["LocalEngine"],
        "errors": ["RvlabError"],
        "lab": ["Lab"],
        "model": ["Run"],
        "search_space": ["loguniform", "random", "uniform"],
        "store": ["S3Access"],
        "submission": ["grid"],
        "version": ["__version__"],
    },
)
