"""Addresses and rows of the runs of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from rvlab import frame
from rvlab.errors import SpecError, TableError
from rvlab.frame.validate import row_to_table
from rvlab.model import Run
from rvlab.store import Store
from rvlab.store.registry import store_for_uri

if TYPE_CHECKING:
    import pandas as pd

    Read = Callable[[Store, Sequence[Run]], pd.DataFrame]

RunsLike: TypeAlias = Union["pd.DataFrame", "pd.Series[Any]", Run, str, Iterable[Run | str]]
"""A table of runs, one row of it, a run, a run's URI, or several of the last two."""


def run_addresses(runs: RunsLike) -> list[Run]:
    """Return the distinct runs in the given order.

    Raises:
        TableError: If a table has no column ``uri``.
        SpecError: If a value is not a run's URI, or `runs` is empty.
    """
    import pandas as pd

    uris: list[Any]
    if isinstance(runs, pd.DataFrame | pd.Series):
        if "uri" not in runs:
            raise TableError(
                "The table of runs has no column 'uri'. Keep it when you choose columns."
            )
        uris = [runs["uri"]] if isinstance(runs, pd.Series) else list(runs["uri"].dropna())
    elif isinstance(runs, Run | str):
        uris = [runs]
    elif isinstance(runs, Iterable):
        uris = list(runs)
    else:
        raise SpecError(f"runs must be a table with 'uri', a run or its URI, got {runs!r}.")
    found = [one if isinstance(one, Run) else _parse_uri(one) for one in uris]
    if not found:
        raise SpecError("Nothing can be compared: the table or list of runs is empty.")
    return list(dict.fromkeys(found))


def single_run(run: RunsLike, what: str) -> Run:
    """Return the only run of a selection.

    Raises:
        SpecError: If there are several runs, or none.
    """
    found = run_addresses(run)
    if len(found) != 1:
        raise SpecError(f"{what} must be one run, got {len(found)}.")
    return found[0]


def load_rows(runs: RunsLike) -> pd.DataFrame:
    """Return the given table of runs, or read the table from the runs' records."""
    import pandas as pd

    if isinstance(runs, pd.DataFrame):
        return runs
    if isinstance(runs, pd.Series):
        return row_to_table(runs)
    wanted = run_addresses(runs)
    return read_per_store(wanted, frame.runs_table)


def read_per_store(wanted: Sequence[Run], read: Read) -> pd.DataFrame:
    """Read a table of runs from one or more stores."""
    import pandas as pd

    by_store: dict[str, list[Run]] = {}
    for run in wanted:
        by_store.setdefault(run.store, []).append(run)
    tables = [read(store_of(those[0]), those) for those in by_store.values()]
    filled = [table for table in tables if len(table)]
    return pd.concat(filled) if len(filled) > 1 else (filled or tables)[0]


def store_of(run: Run) -> Store:
    """Return the store of a run, with the access with which this process opened it."""
    found = store_for_uri(run.uri)
    return found if found.uri == run.store else Store(run.store, found.access)


def _parse_uri(uri: Any) -> Run:
    if not isinstance(uri, str):
        raise SpecError(f"{uri!r} is not a run. Give a row of the table of runs, a run or its URI.")
    return Run.from_uri(uri)
