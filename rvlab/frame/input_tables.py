"""Tables of the runs that plots and comparisons are given: a table, a row, a run, a URI or a list.

`rvlab.frame.run_selector` finds runs by name in one store. Here no store is given: it is found by
the URI of each run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from rvlab.errors import SpecError, TableError, did_you_mean
from rvlab.frame.params import PARAMS_PREFIX, differing_columns
from rvlab.frame.run_selector import is_uri_column, runs_in_table
from rvlab.frame.runs import runs_table
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

METRICS_PREFIX = "metrics."

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

    if isinstance(runs, pd.Series) and not is_uri_column(runs):
        runs = _table_of_row(runs)
    if isinstance(runs, pd.DataFrame):
        _require_runs(runs)
        return _index_by_run(runs)
    if is_uri_column(runs):
        return read_per_store(run_addresses(runs), runs_table)
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
    """Return the given long table, or read the long table of the given runs.

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


def require_columns(
    table: pd.DataFrame | pd.Series[Any], names: Iterable[str], table_name: str
) -> pd.DataFrame:
    """Return the table after checking its columns; required index levels become columns.

    Args:
        table: The table, which is not changed; a Series is a table of one row.
        names: Required columns.
        table_name: The name of the table in messages.

    Raises:
        TableError: If a column is missing, with a suggestion, or `table` is not a table.
    """
    import pandas as pd

    if isinstance(table, pd.Series):
        table = row_to_table(table)
    if not isinstance(table, pd.DataFrame):
        raise TableError(
            f"The {table_name} must be a DataFrame, got {type(table).__name__}. Pass the table, "
            "such as lab.runs(run)."
        )
    wanted = list(names)
    levels = [n for n in table.index.names if n in wanted and n not in table.columns]
    out = table.reset_index(levels) if levels else table
    # pandas refuses to group by a name that is a column and an index level.
    twins = [n for n in out.index.names if n in out.columns]
    out = out.reset_index(twins, drop=True) if twins else out
    for name in wanted:
        if name not in out.columns:
            known = [str(c) for c in out.columns]
            raise TableError(
                f"The {table_name} has no column {name!r}. {suggest_column(name, known)}"
            )
    return out


def full_metric_name(table: pd.DataFrame, name: str) -> str:
    """Return ``metrics.f1`` for ``f1`` if the table has only the former; else the name itself."""
    known = {*table.columns, *table.index.names}
    full = f"{METRICS_PREFIX}{name}"
    return full if name not in known and full in known else name


def eval_set_fingerprint_column(runs: pd.DataFrame, metric: str) -> str:
    """Return the column with the fingerprint of the evaluation set of a metric.

    Args:
        runs: The table of runs.
        metric: A metric's column: ``metrics.f1`` is of ``eval_set``, ``metrics.test.f1`` of
            ``eval_set.test``.
    """
    group = metric.removeprefix("metrics.").partition(".")[0]
    return f"eval_set.{group}" if f"eval_set.{group}" in runs else "eval_set"


def suggest_column(word: str, known: Sequence[str], *, metric: bool = False) -> str:
    """Suggest a column for a misspelt one, and list all metrics for a misspelt metric.

    Args:
        word: The requested column; for ``f1`` the suggestion is ``metrics.f1``.
        known: The existing columns.
        metric: Whether a metric is requested, even if `word` does not begin with ``metrics.``.
    """
    metrics = [name for name in known if name.startswith(METRICS_PREFIX)]
    is_metric = (metric or word.startswith(METRICS_PREFIX)) and bool(metrics)
    same_name = [name for name in known if name.partition(".")[2] == word]
    hint = did_you_mean(word, metrics if is_metric else known)
    if same_name:
        hint = f"Did you mean {' or '.join(map(repr, same_name[:3]))}?"
    if not is_metric:
        return hint
    suggestion = f"{hint} " if hint.startswith("Did") else ""
    return f"{suggestion}Metrics that exist: {', '.join(metrics)}."


def row_to_table(row: pd.Series[Any]) -> pd.DataFrame:
    """Convert a row to a table; its index is named ``run`` unless a column has that name."""
    table = row.to_frame().T.infer_objects()
    return table if "run" in table else table.rename_axis("run")


def require_known(word: str, known: Sequence[Any], message: str) -> None:
    """Require that a value is one of the known ones.

    Args:
        word: The requested value.
        known: The existing values.
        message: The beginning of the message, such as ``No run was evaluated on the group``.

    Raises:
        TableError: If it is not, with a suggestion.
    """
    words = [str(one) for one in known]
    if word not in words:
        raise TableError(f"{message} {word!r}. {did_you_mean(word, words)}")


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
