"""Tables of the shell command: text that fits the terminal, JSON, or CSV."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rvlab.cli._printable import printable
from rvlab.display.printable import format_duration
from rvlab.errors import SpecError, TableError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

MIN_CELL = 12
"""Width, in characters, to which a long text is cut before columns are hidden."""

ID_COLUMNS = ("run", "best_run", "parent")
"""Columns of text that are not cut."""

PREFIXES = ("", "metrics.", "params.")
"""Prefixes of column names that may be left out: ``--sort f1``."""

GAP = 2  # characters between columns


def add_table_options(parser: argparse.ArgumentParser, *, sorts: bool = True) -> None:
    """Add the options that every command with a table has."""
    shape = parser.add_argument_group("table")
    shape.add_argument("--columns", metavar="A,B", help="the columns to print, or 'all'")
    shape.add_argument("--limit", type=_positive, metavar="N", help="print the first N rows")
    if sorts:
        shape.add_argument("--sort", metavar="COLUMN", help="largest first, such as metrics.f1")
        shape.add_argument("--reverse", action="store_true", help="smallest first")
    form = shape.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON list of objects")
    form.add_argument("--csv", action="store_true", help="print CSV")


def print_table(
    table: pd.DataFrame,
    args: argparse.Namespace,
    *,
    shown: Sequence[str] | None = None,
    pinned: Sequence[str] = (),
    default_sort: str | None = None,
    empty: str = "No rows.",
) -> None:
    """Print a table in the form that the options of `add_table_options` select.

    Args:
        table: The table; a named index is its first column.
        args: The parsed arguments.
        shown: The columns of the text without ``--columns``, the most important first. JSON and CSV
            have all columns.
        pinned: Columns that are never hidden.
        default_sort: The column to sort by, the largest first, without ``--sort``; None retains the
            order.
        empty: The text of a table without rows.

    Raises:
        TableError: For an unknown column, or one that cannot be sorted.
    """
    if table.index.name:
        table = table.reset_index()
    reverse = getattr(args, "reverse", False)
    sort = getattr(args, "sort", None) or default_sort
    if sort:
        sort = find_column(table, sort)
        try:
            table = table.sort_values(sort, ascending=reverse, kind="stable")
        except TypeError as exc:
            raise TableError(f"The column {sort!r} has values without an order.") from exc
    elif reverse:
        table = table[::-1]
    chosen = None if sort == default_sort else sort
    rows = len(table)
    table = table.head(args.limit) if args.limit else table
    machine = args.json or args.csv
    if args.columns and args.columns != "all":
        names = [find_column(table, name) for name in split_names(args.columns)]
        table = table[list(dict.fromkeys(names))]
    elif not machine and not args.columns and shown is not None:
        wanted = [table.columns[0], *shown, *([chosen] if chosen else [])]
        table = table[list(dict.fromkeys(wanted))]
    if args.json:
        print(_to_json(table))
        return
    if args.csv:
        print(_to_csv(table), end="")
        return
    if not rows:
        print(empty)
        return
    first = str(table.columns[0])
    never_hidden = [str(name) for name in table] if args.columns else [first, *pinned, chosen]
    text, hidden = fit_text(table, terminal_width(), never_hidden)
    print(printable(text))
    if rows > len(table):
        print(f"{len(table)} of {rows} rows; --limit sets their number.", file=sys.stderr)
    if hidden:
        listed = printable(", ".join(hidden))
        print(f"Hidden for lack of space: {listed} (--columns).", file=sys.stderr)


def split_names(text: str) -> list[str]:
    """Return the names of a list such as ``a,b``.

    Raises:
        SpecError: If it names nothing.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise SpecError(f"--columns needs names such as run,state,f1 or 'all', got {text!r}.")
    return names


def wants_table(args: argparse.Namespace) -> bool:
    """Return whether the options select a table, of a command that prints sentences by default."""
    return bool(args.json or args.csv or args.columns or args.limit)


def find_column(table: pd.DataFrame, name: str) -> str:
    """Return the column with a name, which may lack ``metrics.`` or ``params.``.

    Raises:
        TableError: If the column does not exist.
    """
    for prefix in PREFIXES:
        if f"{prefix}{name}" in table:
            return f"{prefix}{name}"
    raise TableError(f"Unknown column {name!r}. {did_you_mean(name, map(str, table))}")


def terminal_width() -> int | None:
    """Return the width of the terminal, or ``$COLUMNS``; None if the output is not a terminal."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def fit_text(
    table: pd.DataFrame, width: int | None, pinned: Sequence[str | None] = ()
) -> tuple[str, list[str]]:
    """Format a table in at most `width` characters per line.

    Columns are hidden from the right until the others fit with long texts cut to `MIN_CELL`; these
    texts then share the space that is left.

    Args:
        table: A table with one row or more.
        width: Characters per line; None sets no limit.
        pinned: Columns that are never hidden.

    Returns:
        The text, and the names of the hidden columns.
    """
    heads = short_names(map(str, table))
    cells = {str(name): [_cell(value) for value in table[name]] for name in table}
    numeric = {str(name) for name in table if table[name].dtype.kind in "iuf"}
    full = {name: max(map(_cells_wide, [heads[name], *cells[name]])) for name in cells}
    widths = dict(full)
    hidden: list[str] = []
    if width is not None:
        for name in full.keys() & {str(name) for name in table if _can_be_cut(table[name])}:
            widths[name] = min(full[name], max(_cells_wide(heads[name]), MIN_CELL))
        free = [name for name in full if name not in pinned]
        while free and _total(widths) > width:
            hidden.insert(0, free.pop())
            del widths[hidden[0]]
        _widen(widths, full, width)
    lines = [[heads[name] for name in widths]]
    lines += [list(row) for row in zip(*(cells[name] for name in widths), strict=True)]
    padded = []
    for line in lines:
        parts = [
            _pad(shorten(text, wide), wide, right=name in numeric)
            for text, (name, wide) in zip(line, widths.items(), strict=True)
        ]
        padded.append((" " * GAP).join(parts).rstrip())
    return "\n".join(padded), hidden


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return the heading of each column: without ``metrics.`` or ``params.`` if that is unique."""
    each = list(names)
    short = {name: name for name in each}
    for prefix in filter(None, PREFIXES):
        short |= {name: name.removeprefix(prefix) for name in each if name.startswith(prefix)}
    times = Counter(short.values())
    return {name: word if times[word] == 1 and word else name for name, word in short.items()}


def _can_be_cut(column: pd.Series[Any]) -> bool:
    """Return whether a column is text; ids are words that must be whole."""
    return column.dtype.kind in "OTU" and column.name not in ID_COLUMNS


def _widen(widths: dict[str, int], full: dict[str, int], width: int) -> None:
    """Share the space that is left among columns that are cut, one character at a time."""
    left = width - _total(widths)
    while left > 0:
        cut = [name for name, wide in widths.items() if wide < full[name]][:left]
        if not cut:
            return
        for name in cut:
            widths[name] += 1
        left -= len(cut)


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + GAP * max(0, len(widths) - 1)


def _cell(value: Any) -> str:
    """Return a value as text on one line: four digits, whole seconds, nothing for missing ones."""
    import pandas as pd

    if isinstance(value, list | tuple | dict):
        text = json.dumps(value, ensure_ascii=False, default=str)
    elif pd.isna(value):
        return ""
    elif isinstance(value, pd.Timestamp):
        text = value.strftime("%Y-%m-%d %H:%M:%S")
    elif isinstance(value, pd.Timedelta):
        text = format_duration(round(value.total_seconds()))
    elif isinstance(value, float):
        text = f"{value:.4g}"
    else:
        text = str(value)
    return " ".join(printable(text).split())


def _cells_wide(text: str) -> int:
    """Return how many cells of a terminal a text takes; East Asian letters take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shorten(text: str, width: int) -> str:
    """Cut a text to a width in cells of a terminal, with ``…`` at the end."""
    if _cells_wide(text) <= width:
        return text
    short = text[:width]
    while _cells_wide(short) > width - 1:
        short = short[:-1]
    return f"{short.rstrip()}…"


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _cells_wide(text))
    return f"{space}{text}" if right else f"{text}{space}"


def plain_value(value: Any) -> Any:
    """Return a cell as JSON has it: ISO times, seconds for durations, None for missing values."""
    import pandas as pd

    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    if isinstance(value, dict):
        return {str(name): plain_value(one) for name, one in value.items()}
    if pd.isna(value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    value = value.total_seconds() if isinstance(value, pd.Timedelta) else value
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, bool | int | float | str) else str(value)


def _to_json(table: pd.DataFrame) -> str:
    names = list(map(str, table))
    rows = [dict(zip(names, map(plain_value, row), strict=True)) for row in _rows(table)]
    return json.dumps(rows, indent=2, allow_nan=False)


def _to_csv(table: pd.DataFrame) -> str:
    import pandas as pd

    def cell(value: Any) -> Any:
        plain = plain_value(value)
        return json.dumps(plain) if isinstance(plain, list | dict) else plain

    names = list(map(str, table))
    rows = [list(map(cell, row)) for row in _rows(table)]
    frame = pd.DataFrame(rows, columns=names, dtype="object")
    return printable(frame.to_csv(index=False, lineterminator="\n"))


def _rows(table: pd.DataFrame) -> Any:
    """Yield the rows, each cell with the type of its own column."""
    return zip(*(list(table[name]) for name in table), strict=True)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


def parse_pairs(pairs: Sequence[str], already: Iterable[str] = ()) -> dict[str, str]:
    """Parse ``NAME=VALUE`` texts.

    Args:
        pairs: The texts.
        already: Names that are given in another way.

    Raises:
        SpecError: For a text without ``=``, or a name that occurs twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise SpecError(f"{pair!r} is not NAME=VALUE, such as lr=0.001.")
        if name in found or name in already:
            raise SpecError(f"{name!r} is given twice. Remove one.")
        found[name] = text
    return found


def parse_points(pairs: Sequence[str]) -> dict[str, list[str]]:
    """Parse ``lr=1e-3,1e-2`` into a list of texts for each name.

    A value that starts with ``[`` is a JSON list of values.

    Raises:
        SpecError: For a text without ``=``, a name that occurs twice, or an invalid JSON list.
    """
    return {name: _values(text) for name, text in parse_pairs(pairs).items()}


def _values(text: str) -> list[str]:
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except ValueError as exc:
            raise SpecError(f"{text!r} is not a JSON list: {exc}.") from exc
        return [one if isinstance(one, str) else json.dumps(one) for one in listed]
    return text.split(",")
