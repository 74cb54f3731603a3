"""Which run is better, by how much, and is it real: tables in, plain tables out.

============================  =====================================================================
question                      answer
============================  =====================================================================
Which runs lead?              `board`, and `styled` for the eye
In what do runs differ?       `varying` (parameters), `configs` (Raster Vision's), `diff` (two runs)
Do the metrics agree?         `flips`
In which classes, scenes?     `pivot` for all runs, `by_scene` for two
How did they train?           `epochs`: the best one, seconds, overfitting
How much is the seed?         `seeds`
Is it better?                 `test` for two, `table_of_tests` for many
May it replace the old one?   `gate`
============================  =====================================================================

Runs are a table with the column ``uri``, as ``lab.runs()`` returns it, one row of it, a `Run`, a
run's URI, or several of the last two. Every name is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvlab.compare._better import Test, test
    from rvlab.compare._board import board, styled
    from rvlab.compare._by_scene import by_scene
    from rvlab.compare._configs import configs
    from rvlab.compare._diff import diff, source_diff
    from rvlab.compare._epochs import epochs
    from rvlab.compare._flips import flips
    from rvlab.compare._gate import Gate, gate
    from rvlab.compare._pivot import pivot
    from rvlab.compare._seeds import seeds
    from rvlab.compare._table_of_tests import holm, table_of_tests
    from rvlab.compare._varying import varying

_HOMES = {
    "Gate": "_gate",
    "Test": "_better",
    "board": "_board",
    "by_scene": "_by_scene",
    "configs": "_configs",
    "diff": "_diff",
    "epochs": "_epochs",
    "flips": "_flips",
    "gate": "_gate",
    "holm": "_table_of_tests",
    "pivot": "_pivot",
    "seeds": "_seeds",
    "source_diff": "_diff",
    "styled": "_board",
    "table_of_tests": "_table_of_tests",
    "test": "_better",
    "varying": "_varying",
}

__all__ = [
    "Gate",
    "Test",
    "board",
    "by_scene",
    "configs",
    "diff",
    "epochs",
    "flips",
    "gate",
    "holm",
    "pivot",
    "seeds",
    "source_diff",
    "styled",
    "table_of_tests",
    "test",
    "varying",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
