"""A run in Markdown, for viewers that show text and tables and no raw HTML."""

from __future__ import annotations

from rvlab.report.facts import PER_CLASS, Facts, count, number
from rvlab.report.render import render_markdown

HEADS = ("class", "precision", "recall", "F1", "IoU", "support")


def markdown(facts: Facts) -> str:
    """Write a run as Markdown: parameters, metrics, costs, and the address of its records.

    Text of the run is escaped, so that it stays one line of plain text.
    """
    overall = [(name, number(value)) for name, value in facts.metrics.items() if "." not in name]
    return render_markdown(
        "report.md.j2",
        run=facts,
        overall=overall,
        heads=HEADS,
        classes=class_rows(facts),
        missed=count(facts.missed_as_null),
    )


def class_rows(facts: Facts) -> list[list[str]]:
    """The rows of the table of classes, in the order of `HEADS`; empty without an evaluation."""
    rows = []
    for name in facts.classes if facts.group is not None else ():
        of = facts.of_class(name)
        rows.append([name, *(number(of[m]) for m in PER_CLASS[:-1]), count(of["truth_count"])])
    return rows
