"""A grid of runs in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvlab.errors import MissingExtra
from rvlab.frame.input_tables import require_columns
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.viewer.explorer import Explorer


def explore_runs(
    store: Store, runs: pd.DataFrame, columns: Sequence[str] | str | None = None
) -> Explorer:
    """Return a grid of runs; see `rvlab.Lab.explore`.

    Raises:
        MissingExtra: If itables or ipywidgets is not installed.
        TableError: If a column does not exist.
    """
    try:
        from rvlab.viewer.explorer import Explorer
    except ImportError as exc:
        raise MissingExtra("The explorer needs itables: pip install 'rvlab[local]'.") from exc
    columns = [columns] if isinstance(columns, str) else columns
    require_columns(runs, columns or (), "table of runs")
    return Explorer(runs, store, columns)
