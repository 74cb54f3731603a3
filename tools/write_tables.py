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
    **{one.name: one for one in OVERVIEW_TABLES.values()},
    "ranked windows": LAB_TABLES["windows"],
}

_MARKS = re.compile(r"(<!-- columns of ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(name: str) -> str:
    """Return a table of columns as Markdown."""
    table = SECTIONS[name]
    lines = [f"One row per {table.rows}.", "", *_lines([*table.columns, *table.others])]
    if name in FILE_TABLES and name in LAB_TABLES and name != "windows":
        begins = ", ".join(f"`{one.name}`" for one in (*RUN_COLUMNS, *RUN_VALUES))
        lines += ["", f"`lab.{name}()` begins with {begins}."]
        if gone := [one.name for one in table.columns if one not in LAB_TABLES[name].columns]:
            known = (*RUN_COLUMNS, *table.columns)
            added = [one for one in LAB_TABLES[name].columns if one not in known]
            lines[-1] += f" In the place of `{gone[0]}` it has {'; '.join(map(_describe, added))}."
    return "\n".join([*lines, ""])


def _lines(columns: Iterable[Column]) -> list[str]:
    head = ["| column | dtype | unit | meaning |", "|---|---|---|---|"]
    return head + [
        f"| `{one.name}` | {one.dtype} | {one.unit} | {one.meaning} |" for one in columns
    ]


def _describe(one: Column) -> str:
    return f"`{one.name}` ({one.dtype}), {one.meaning[0].lower()}{one.meaning[1:].rstrip('.')}"


def with_tables(text: str) -> str:
    """Return the text of the page with its tables written anew."""
    return _MARKS.sub(lambda found: f"{found[1]}{render(found[2])}{found[3]}", text)


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
