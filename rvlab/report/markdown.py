"""A report in Markdown, for viewers without raw HTML."""

from __future__ import annotations

from rvlab.report.render import render_markdown
from rvlab.report.run_summary import CLASS_TABLE_METRICS, RunSummary, format_count, format_metric

CLASS_TABLE_HEADINGS = ("class", "precision", "recall", "F1", "IoU", "support")


def markdown(facts: RunSummary) -> str:
    """Render a run as Markdown: parameters, metrics, costs and the address of its records.

    Values are escaped to one line of plain text.
    """
    overall = [
        (name, format_metric(value)) for name, value in facts.metrics.items() if "." not in name
    ]
    return render_markdown(
        "report.md.j2",
        run=facts,
        overall=overall,
        heads=CLASS_TABLE_HEADINGS,
        classes=class_rows(facts),
        as_null=format_count(facts.predicted_as_null),
    )


def class_rows(facts: RunSummary) -> list[list[str]]:
    """Return the rows of the table of classes, in the order of `CLASS_TABLE_HEADINGS`."""
    rows = []
    for name in facts.classes if facts.group is not None else ():
        of = facts.class_metrics(name)
        rows.append(
            [
                name,
                *(format_metric(of[m]) for m in CLASS_TABLE_METRICS[:-1]),
                format_count(of["truth_count"]),
            ]
        )
    return rows
