"""Plots of tables: every function takes a plain DataFrame first, then column names.

All functions except `scatter` return a figure, which a notebook shows once when the call is the
last line of a cell. `scatter` draws on one axes, takes ``ax=`` and returns the axes, as pandas and
seaborn do. No function calls ``plt.show()``, or changes ``rcParams`` or the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

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

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__, submod_attrs={f"_{name}": [name] for name in __all__}
)
