"""Tables of the runs that plots and comparisons are given: a table, a row, a run, a URI or a list.

`rvlab.frame.run_selector` finds runs by name in one store. Here no store is given: it is found by
the URI of each run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from rvlab.errors import SpecError, TableError
from rvlab.frame.params import PARAMS_PREFIX, differing_columns
from rvlab.frame.run_selector import runs_in_table
from rvlab.frame.runs import runs_table
from rvlab.frame.validate import (
    full_metric_name,
    is_uri_column,
    require_columns,
    row_to_table,
    suggest_column,
)
from rvlab.model import Run
from rvlab.model.schema import TEXT
from rvlab.model.tables import RUNS_TABLE
from rvlab.store import Store
from rvlab.store.addresses import store_for_uri
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import pandas as pd

    Read = Callable[[Store, Sequence[Run]], pd.DataFrame]

RunsLike: TypeAlias = Union[
    "pd.DataFrame",
    "pd.Series[Any]",
    Run,
    str,
    Iterable["pd.DataFrame | pd.Series[Any] | Run | str"],
]
"""A table of runs, one row of it, a run, a run's URI, or several of these, such as a sweep."""

MAX_NAMED = 8
"""Runs without rows that a warning names."""

_EMPTY = "There are no runs: the table or list is empty."


def run_addresses(runs: RunsLike) -> list[Run]:
    """Return the distinct runs in the given order.

    Raises:
        TableError: If a table has no column ``uri``.
        SpecError: If a value is not a run or its URI, or `runs` is empty.
        NotFound: If a row has no URI.
    """
    found = list(dict.fromkeys(_iter_addresses(runs)))
    if not found:
        raise SpecError(_EMPTY)
    return found


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
    """Return the given table of runs, or read the table from the runs' records.

    The index is ``run``, from the index or column of that name, else from the URIs; other index
    levels become columns.

    Raises:
        TableError: If a table is not one of runs.
        SpecError: If a value is not a run or its URI, or `runs` is empty.
    """
    import pandas as pd

    if is_uri_column(runs):
        return read_per_store(run_addresses(runs), runs_table)
    if isinstance(runs, pd.DataFrame | pd.Series):
        table = _table_of_row(runs) if isinstance(runs, pd.Series) else runs
        _require_runs(table)
        return _index_by_run(table)
    listed = [runs] if isinstance(runs, Run | str) or not isinstance(runs, Iterable) else [*runs]
    if listed and all(isinstance(one, pd.DataFrame | pd.Series) for one in listed):
        return pd.concat([load_rows(one) for one in listed])
    return read_per_store(run_addresses(listed), runs_table)


def load_long_table(
    given: RunsLike,
    read: Read,
    required: Sequence[str],
    table_name: str,
    columns: Iterable[str] = (),
) -> pd.DataFrame:
    """Return the given long table, or read that of the given runs.

    Args:
        given: The long table, recognised by the columns `required`, or runs.
        read: Reads the long table of runs of a store.
        required: The columns that the plot or comparison needs.
        table_name: The name of the table in messages.
        columns: Further columns that must be there, of the long table or of the table of runs;
            ``f1`` is short for ``metrics.f1``.

    Returns:
        The long table; if it was read, also the columns ``name`` and ``seed`` of the runs, the
        ``params.*`` in which they differ, and `columns`.

    Warns:
        UserWarning: If some of the runs have no rows; it names them.

    Raises:
        TableError: If the table is neither the long table nor one of runs, or lacks a column.
        SpecError: If a value is not a run or its URI, or `given` is empty.
    """
    import pandas as pd

    wanted = list(columns)
    if isinstance(given, pd.DataFrame | pd.Series) and not is_uri_column(given):
        names = (
            {*given.index.names, *given.columns}
            if isinstance(given, pd.DataFrame)
            else {*given.index}
        )
        if "uri" not in names and not names & ({*required} - {"run"}):
            raise TableError(
                f"This is neither the {table_name} nor a table of runs, which has the column "
                "'uri': pass lab.runs(…)."
            )
        if "uri" not in names or names.issuperset(required):
            return require_columns(given, [*required, *wanted], table_name)
    rows = load_rows(given)
    runs = run_addresses(rows)
    table = require_columns(read_per_store(runs, read), required, table_name)
    _warn_without_rows(runs, table, table_name)
    rows = rows[rows["uri"].notna()]
    ids = pd.Index([Run.from_uri(uri).id for uri in rows["uri"]])
    rows = rows.reset_index().set_axis(ids)
    rows = rows[~rows.index.duplicated()]
    wanted = [name if name in table else full_metric_name(rows, name) for name in wanted]
    for name in wanted:
        if name not in table and name not in rows:
            known = list(map(str, dict.fromkeys([*table.columns, *rows.columns])))
            raise TableError(
                f"Neither the {table_name} nor the table of runs has a column {name!r}. "
                f"{suggest_column(name, known)}"
            )
    more = dict.fromkeys(["name", "seed", *differing_columns(rows), *wanted])
    others = [name for name in more if name not in table and name in rows]
    return table.join(rows[others], on="run")


def _warn_without_rows(runs: Sequence[Run], table: pd.DataFrame, table_name: str) -> None:
    """Warn of runs without rows, unless all of them have none, which the caller reports."""
    found = set(table["run"])
    missing = [run.id for run in runs if run.id not in found]
    if found and missing:
        more = len(missing) - MAX_NAMED
        warn_user(
            f"{len(missing)} of {len(runs)} runs {'has' if len(missing) == 1 else 'have'} no rows "
            f"in the {table_name} and {'is' if len(missing) == 1 else 'are'} left out: "
            f"{', '.join(missing[:MAX_NAMED])}{f' and {more} more' if more > 0 else ''}."
        )


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


def _iter_addresses(runs: Any) -> Iterable[Run]:
    import pandas as pd

    if isinstance(runs, Run):
        yield runs
    elif isinstance(runs, str):
        if "://" not in runs and not Path(runs).is_absolute():
            raise SpecError(
                f"{runs!r} is a name that only a lab can find: pass lab.runs({runs!r})."
            )
        yield Run.from_uri(runs)
    elif isinstance(runs, pd.DataFrame | pd.Series):
        yield from runs_in_table(runs)
    elif isinstance(runs, Iterable):
        for one in runs:
            yield from _iter_addresses(one)
    else:
        raise SpecError(
            f"{runs!r} is not a run: pass a table of runs, a row of it, a run or its URI."
        )


def _table_of_row(row: pd.Series[Any]) -> pd.DataFrame:
    """Return a table of one run, whose texts have the dtype that a row has lost."""
    table = row_to_table(row)
    if "run" not in table and isinstance(row.get("uri"), str):
        # The name of a row is a number if the table had no index.
        table.index = table.index.map({row.name: Run.from_uri(row["uri"]).id}).rename("run")
    texts = [name for name, dtype in RUNS_TABLE.dtypes.items() if dtype == TEXT and name in table]
    return table.astype(dict.fromkeys(texts, TEXT))


def _index_by_run(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of runs whose index is ``run``; a table without runs as it is."""
    if table.index.names == ["run"] and "run" not in table:
        return table
    import pandas as pd

    twins = [name for name in table.index.names if name in table.columns]
    others = [name for name in table.index.names if name is not None and name not in table.columns]
    # A level without a name is a row number.
    table = table.reset_index(others) if others else table
    if twins or None in table.index.names:
        table = table.reset_index(drop=True)
    if "run" in table:
        return table.set_index("run")
    if "uri" not in table:
        return table
    ids = [Run.from_uri(uri).id if isinstance(uri, str) else None for uri in table["uri"]]
    return table.set_axis(pd.Index(ids, name="run"))


def _require_runs(table: pd.DataFrame) -> None:
    """Require that a table is one of runs and has rows."""
    names = [str(name) for name in (*table.index.names, *table.columns)]
    if not {"uri", "run"} & {*names} and not any(
        name.startswith((PARAMS_PREFIX, "metrics.")) for name in names
    ):
        raise TableError(
            "The table is not one of runs, which have the column 'uri': pass lab.runs(…)."
        )
    if not len(table):
        raise SpecError(_EMPTY)
