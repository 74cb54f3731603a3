"""Statistics that compare runs: functions from tables to tables.

============================  =====================================================================
question                      answer
============================  =====================================================================
Which runs lead?              `board`; `styled` formats it for a notebook
In what do runs differ?       `varying` (parameters), `configs` (Raster Vision's), `diff` (two runs)
Do the metrics agree?         `rank_changes`
In which classes, scenes?     `pivot` for all runs, `by_scene` for two
Which objects are found?      `object_scores`: F1, average precision and counts of objects
How exact are the contours?   `boundary_scores`: boundary IoU
How did they train?           `epochs`: the best one, seconds, overfitting
How much does the seed do?    `seeds`
Is it better?                 `test` for two, `table_of_tests` for many
May it replace the old one?   `gate`
How is a table exported?      `plain_table`, for Excel and Parquet
============================  =====================================================================

Runs are given as a table with the column ``uri``, as ``lab.runs()`` returns it, one row of it, a
`Run`, a run's URI, or several of these, such as a sweep. Every name is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from rvlab.compare._board import board, styled
    from rvlab.compare._boundary_scores import boundary_scores
    from rvlab.compare._by_scene import by_scene
    from rvlab.compare._configs import configs
    from rvlab.compare._diff import diff, source_diff
    from rvlab.compare._epochs import epochs
    from rvlab.compare._gate import Gate, gate
    from rvlab.compare._object_scores import object_scores
    from rvlab.compare._pivot import pivot
    from rvlab.compare._plain_table import plain_table
    from rvlab.compare._rank_changes import rank_changes
    from rvlab.compare._seeds import seeds
    from rvlab.compare._significance import Test, test
    from rvlab.compare._table_of_tests import holm, table_of_tests
    from rvlab.compare._varying import varying

__all__ = [
    "Gate",
    "Test",
    "board",
    "boundary_scores",
    "by_scene",
    "configs",
    "diff",
    "epochs",
    "gate",
    "holm",
    "object_scores",
    "pivot",
    "plain_table",
    "rank_changes",
    "seeds",
    "source_diff",
    "styled",
    "table_of_tests",
    "test",
    "varying",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_significance": ["Test", "test"],
        "_board": ["board", "styled"],
        "_boundary_scores": ["boundary_scores"],
        "_by_scene": ["by_scene"],
        "_configs": ["configs"],
        "_diff": ["diff", "source_diff"],
        "_epochs": ["epochs"],
        "_rank_changes": ["rank_changes"],
        "_gate": ["Gate", "gate"],
        "_object_scores": ["object_scores"],
        "_pivot": ["pivot"],
        "_plain_table": ["plain_table"],
        "_seeds": ["seeds"],
        "_table_of_tests": ["holm", "table_of_tests"],
        "_varying": ["varying"],
    },
)
