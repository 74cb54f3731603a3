"""Tables as pictures. Every function takes a plain DataFrame first, then column names.

All but `scatter` return a figure: make the call the last line of a cell and it is shown once.
`scatter` draws on one axes, takes ``ax=`` and returns it, as pandas and seaborn do. Nothing calls
``plt.show()``, changes ``rcParams`` or the table.
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
