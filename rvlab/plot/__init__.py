"""Plots of runs: every function takes runs first, then names of columns.

Runs are given as a table with the column ``uri``, as ``lab.runs()`` returns it, one row of it, a
`Run`, a run's URI, or several of these, such as a sweep. A plot that needs a long table, such as
the history, reads it; it also takes that table itself.

``hue`` is the column that colors, ``label`` the one that names the runs, ``metric`` the metric. All
functions return a figure, which a notebook shows once when the call is the last line of a cell.
Those with an argument ``ax`` draw on these axes and return them. No function calls
``plt.show()``, or changes ``rcParams`` or the table.
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
    from rvlab.plot._precision_recall import precision_recall
    from rvlab.plot._predictions import predictions
    from rvlab.plot._scatter import scatter
    from rvlab.plot._timeline import timeline

__all__ = [
    "confusion",
    "curves",
    "heatmap",
    "importance",
    "parallel",
    "precision_recall",
    "predictions",
    "scatter",
    "timeline",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__, submod_attrs={f"_{name}": [name] for name in __all__}
)
