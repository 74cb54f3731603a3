"""Tables as pictures. Every function takes a plain DataFrame first, then column names.

All but `scatter` return a figure: make the call the last line of a cell and it is shown once.
`scatter` draws on one axes, takes ``ax=`` and returns it, as pandas and seaborn do. Nothing calls
``plt.show()``, changes ``rcParams`` or the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvlab.plot._confusion import confusion
    from rvlab.plot._curves import curves
    from rvlab.plot._heatmap import heatmap
    from rvlab.plot._importance import importance
    from rvlab.plot._parallel import parallel
    from rvlab.plot._predictions import predictions
    from rvlab.plot._scatter import scatter
    from rvlab.plot._timeline import timeline

__all__ = [
    "confusion",
    "curves",
    "heatmap",
    "importance",
    "parallel",
    "predictions",
    "scatter",
    "timeline",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}._{name}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
