"""A report in Markdown, for viewers without raw HTML."""

from __future__ import annotations

from rvlab.report.parts import try_part
from rvlab.report.render import render_markdown
from rvlab.report.run_summary import (
    CLASS_TABLE_METRICS,
    Pairs,
    RunSummary,
    format_count,
    format_metric,
)

CLASS_TABLE_HEADINGS = ("class", "precision", "recall", "F1", "IoU", "support")


def markdown(summary: RunSummary) -> str:
    """Render a run as Markdown: parameters, metrics, costs and the address of its records.

    Values are escaped to one line of plain text. A part that cannot be shown is replaced by the
    reason.
    """
    return render_markdown(
        "report.md.j2",
        run=summary,
        overall=try_part("The metrics", lambda: _overall_pairs(summary)),
        heads=CLASS_TABLE_HEADINGS,
        **summary_parts(summary),
    )


def summary_parts(summary: RunSummary) -> dict[str, object]:
    """Return the parts that the page and the Markdown of a run share, by their template names."""
    # A matrix that cannot be counted is reported in the place of its picture.
    as_null = try_part("The pixels predicted as null", lambda: summary.predicted_as_null)
    return {
        "group": try_part("The evaluation", lambda: summary.group),
        "classes": try_part("The metrics of the classes", lambda: class_rows(summary)),
        "as_null": format_count(as_null) if isinstance(as_null, int) and as_null else "",
        "params": try_part("The parameters", lambda: summary.params),
        "eval_pairs": try_part("What was scored", lambda: summary.eval_pairs),
        "cost_pairs": try_part("The costs", lambda: summary.cost_pairs),
        "about_pairs": try_part("The run", lambda: summary.about_pairs),
    }


def class_rows(summary: RunSummary) -> list[list[str]]:
    """Return the rows of the table of classes, in the order of `CLASS_TABLE_HEADINGS`."""
    rows = []
    for name in summary.classes if summary.group is not None else ():
        values = summary.class_metrics(name)
        rows.append(
            [
                name,
                *(format_metric(values[m]) for m in CLASS_TABLE_METRICS[:-1]),
                format_count(values["truth_count"]),
            ]
        )
    return rows


def _overall_pairs(summary: RunSummary) -> Pairs:
    overall = [name for name in summary.metrics if "." not in name]
    return [(name, format_metric(summary.metrics[name])) for name in overall]
