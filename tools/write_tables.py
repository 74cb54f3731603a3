"""Write the tables of columns in docs/records.md from the schemas of `rvlab.model.tables`.

Usage: python tools/write_tables.py [--check]

The text between ``<!-- columns of NAME -->`` and ``<!-- end -->`` is replaced. ``--check`` writes
nothing and exits with status 1 if the file differs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from rvlab.model.overview_tables import OVERVIEW_TABLES
from rvlab.model.schema import RUN_COLUMNS, RUN_VALUES, Column, TableSchema
from rvlab.model.tables import FILE_TABLES, LAB_TABLES

PAGE = Path(__file__).parents[1] / "docs" / "records.md"

SECTIONS: dict[str, TableSchema] = {
    **{name: table for name, table in LAB_TABLES.items() if name not in FILE_TABLES},
    **FILE_TABLES,
    **{table.name: table for table in OVERVIEW_TABLES.values()},
    "ranked windows": LAB_TABLES["windows"],
}

_MARKS = re.compile(r"(<!-- columns of ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(name: str) -> str:
    """Return a table of columns as Markdown."""
    table = SECTIONS[name]
    lines = [f"One row per {table.rows}.", "", *_lines([*table.columns, *table.others])]
    if name in FILE_TABLES and name in LAB_TABLES and name != "windows":
        file_columns, lab_columns = table.columns, LAB_TABLES[name].columns
        first_names = ", ".join(f"`{column.name}`" for column in (*RUN_COLUMNS, *RUN_VALUES))
        lines += ["", f"`lab.{name}()` begins with {first_names}."]
        if replaced := [column.name for column in file_columns if column not in lab_columns]:
            in_both = (*RUN_COLUMNS, *file_columns)
            added = [column for column in lab_columns if column not in in_both]
            substitutes = "; ".join(map(_describe, added))
            lines[-1] += f" In the place of `{replaced[0]}` it has {substitutes}."
    return "\n".join([*lines, ""])


def _lines(columns: Iterable[Column]) -> list[str]:
    head = ["| column | dtype | unit | meaning |", "|---|---|---|---|"]
    return head + [
        f"| `{column.name}` | {column.dtype} | {column.unit} | {column.meaning} |"
        for column in columns
    ]


def _describe(column: Column) -> str:
    meaning = f"{column.meaning[0].lower()}{column.meaning[1:].rstrip('.')}"
    return f"`{column.name}` ({column.dtype}), {meaning}"


def with_tables(text: str) -> str:
    """Return the text of the page with its tables replaced by generated ones."""
    return _MARKS.sub(lambda match: f"{match[1]}{render(match[2])}{match[3]}", text)


def main(arguments: list[str]) -> int:
    """Write or check the page, and return the exit status."""
    text = PAGE.read_text(encoding="utf-8")
    missing = set(SECTIONS) - {name for _, name, _ in _MARKS.findall(text)}
    if missing:
        print(f"{PAGE} has no section for: {', '.join(sorted(missing))}")
        return 1
    new = with_tables(text)
    if "--check" in arguments:
        if new != text:
            print(f"{PAGE} differs from the schemas. Run: python tools/write_tables.py")
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
