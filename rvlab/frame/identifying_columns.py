"""Columns of the runs in tables with several rows per run: names and differing parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rvlab.cache.arrow import columns_from_arrow, differing_param_columns, run_rows_to_arrow
from rvlab.cache.block import concat_rows
from rvlab.cache.query import Query, merge_by_experiment
from rvlab.errors import TableError
from rvlab.frame.run_rows import RunRow, spec_rows
from rvlab.frame.runs import read_ended_rows
from rvlab.store.run_listing import RunListing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from pandas.api.extensions import ExtensionArray

RunKey = tuple[str, str]
"""The experiment and the id of a run."""


@dataclass(frozen=True)
class IdentifyingColumns:
    """``name``, the ``params.*`` in which runs differ, and ``seed`` if they differ in it.

    A row of a run whose records cannot be read has no values.

    Args:
        keys: The runs.
        columns: A value per run.
    """

    keys: Sequence[RunKey]
    columns: Mapping[str, ExtensionArray]

    def positions(self, keys: Sequence[RunKey]) -> NDArray[Any]:
        """Return the positions of runs."""
        import numpy as np

        where = {key: i for i, key in enumerate(self.keys)}
        return np.fromiter((where[key] for key in keys), np.intp, len(keys))

    def take(self, positions: NDArray[Any]) -> dict[str, pd.Series[Any]]:
        """Return the columns of a table whose rows are of the runs at `positions`.

        At the position -1 all values are missing; int64 then becomes Int64, and bool boolean.
        """
        import pandas as pd

        has_missing = bool((positions < 0).any())
        found = {}
        for name, values in self.columns.items():
            dtype: Any = {"int64": "Int64", "bool": "boolean"}.get(str(values.dtype))
            nullable = pd.Series(values).astype(dtype).array if dtype and has_missing else values
            taken = nullable.take(positions, allow_fill=has_missing)
            # With a dtype, pandas does not try to convert objects, which fails for huge integers.
            found[name] = pd.Series(taken, dtype=taken.dtype)
        return found


def read_identifying_columns(query: Query, listings: Sequence[RunListing]) -> IdentifyingColumns:
    """Read the columns of runs from the cached rows of the table of runs.

    Runs that are not cached are read from their end record, or from their spec while they are
    active.

    Raises:
        TableError: If two runs have the same id, by which the rows of tables are joined.
    """
    import pandas as pd

    _require_distinct_ids(listings)

    keys: list[RunKey] = []
    tables: list[pa.Table] = []
    others: dict[RunKey, RunRow] = {}
    for name, listing in merge_by_experiment(listings).items():
        block, broken, going = read_ended_rows(query, listing)
        tables.append(block.table)
        keys += [(name, id_) for id_ in block.keys]
        others |= {(name, run.id): {} for run in broken}
        specs = spec_rows(query.store, going) if going else {}
        others |= {(name, run.id): row for run, row in specs.items()}
    if others or not any(map(len, tables)):
        tables.append(run_rows_to_arrow(list(others.values())))
        keys += others
    rows = concat_rows(tables)
    ordered = [(one.experiment, id_) for one in listings for id_ in one.ids]
    if ordered != keys:
        where = {key: i for i, key in enumerate(keys)}
        rows = rows.take([where[key] for key in ordered])
    names = ["name", *differing_param_columns(rows)]
    found = columns_from_arrow(rows, names)
    return IdentifyingColumns(ordered, {name: pd.Series(found[name]).array for name in names})


def _require_distinct_ids(listings: Sequence[RunListing]) -> None:
    """Require that no two experiments have a run of the same id, as after two imports of it."""
    if len({one.experiment for one in listings}) < 2:
        return
    seen: dict[str, str] = {}
    for one in listings:
        for id_ in one.ids:
            if seen.setdefault(id_, one.experiment) != one.experiment:
                raise TableError(
                    f"The runs '{seen[id_]}/{id_}' and '{one.experiment}/{id_}' have the same id, "
                    "so the rows of one table would mix them. Select the runs of one experiment."
                )
