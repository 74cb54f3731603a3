"""A notebook for an experiment, ready to run: the report's questions as cells to change."""

from __future__ import annotations

import json
from typing import Any

from rvlab.compare.columns import metric_column
from rvlab.frame.params import differing_columns
from rvlab.report.experiment import ExperimentSummary
from rvlab.report.run_summary import store_argument
from rvlab.store.run_listing import list_runs

CURVE_LINES = 12


def render_notebook(summary: ExperimentSummary) -> str:
    """Return a notebook as JSON, in the format 4.5 of Jupyter, without outputs."""
    cells = []
    for number, (kind, source) in enumerate(_cells(summary)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"rvlab-{number}", "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        cells.append({**cell, "source": source.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    book = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return f"{json.dumps(book, indent=1, ensure_ascii=False)}\n"


def _cells(summary: ExperimentSummary) -> list[tuple[str, str]]:
    selector = _selector(summary)
    best = summary.best
    out = [("markdown", f"# {summary.title}\n\n{_question(summary)}")]
    lines = [
        "import rvlab",
        "from rvlab import compare, plot",
        "",
        f"lab = rvlab.Lab({store_argument(summary.addresses[0])!r})",
        f"runs = lab.runs({selector})",
        "runs",
    ]
    out.append(("code", "\n".join(lines)))
    if len(best):
        metric = metric_column(summary.runs, summary.metric)
        out += _cells_of_scored_runs(summary, metric)
    failed = "runs.query(\"state not in ['succeeded', 'running', 'queued']\")"
    if summary.failures:
        out += [("markdown", "## Runs that did not succeed")]
        out += [("code", f'{failed}[["state", "step", "error"]]')]
    clone_call = f"lab.clone({summary.example.prefix!r})" if summary.example else ""
    more = [
        "## Go on",
        "",
        f"* `lab.explore({selector})`: sort, filter and select runs in a grid",
        "* `lab.viewer(best)`: a map with image, truth, predictions and errors",
        *([f"* `{clone_call}`: repeat a run; add parameters to change them"] if clone_call else []),
        f'* `lab.report({selector}, "report.html")`: the report as one file',
    ]
    return [*out, ("markdown", "\n".join(more))]


def _cells_of_scored_runs(summary: ExperimentSummary, metric: str) -> list[tuple[str, str]]:
    order = "True" if summary.ascending else "False"
    ranked = f"compare.board(runs, {metric!r}, ascending={order})"
    params = differing_columns(summary.best)
    out = [
        ("markdown", "## Leaderboard"),
        ("code", f"board = {ranked}\ncompare.styled(board)"),
        ("markdown", "## Is the difference larger than chance?"),
    ]
    if any(len(rows) > 1 for rows in summary.settings):
        out.append(("code", f"compare.seeds(runs, {metric!r})"))
    if len(summary.settings) > 1:
        first, second = ([str(run) for run in rows.index] for rows in summary.settings[:2])
        name = metric.removeprefix("metrics.")
        test = f"compare.test(runs.loc[first], runs.loc[second], {name!r})"
        out.append(("code", f"first = {first}\nsecond = {second}\n{test}"))
    if params:
        across = f"plot.parallel(board, hue={metric!r})"
        along = f"plot.scatter(board, x={params[0]!r}, y={metric!r})"
        out += [("markdown", "## Parameters"), ("code", along if len(params) == 1 else across)]
    leaders = [str(run) for run in summary.leaders.index]
    return [
        *out,
        ("markdown", "## Training"),
        ("code", f"plot.curves(board.head({CURVE_LINES}))"),
        ("markdown", "## Confusion"),
        ("code", f"best = runs.loc[{leaders}]\nplot.confusion(best)"),
        ("markdown", "## Where do the best runs still fail?"),
        (
            "code",
            'worst = lab.windows(best, by="error", n=4)\n'
            'plot.predictions(best, worst, show="errors")',
        ),
    ]


def _question(summary: ExperimentSummary) -> str:
    """Return a sentence; names of parameters are code, and values are in the tables."""
    names = [name.replace("`", "'") for name, _ in summary.differences]
    differ = ", ".join(f"`{name}`" for name in names)
    differences = f" They differ in {differ}." if differ else ""
    return f"{len(summary.runs)} runs.{differences} Which has the best `{summary.metric}`?"


def _selector(summary: ExperimentSummary) -> str:
    """Return the argument that selects the runs: experiments, if all their runs are selected."""
    names = list(dict.fromkeys(run.experiment for run in summary.addresses))
    number_of_runs = sum(len(list_runs(summary.store, name).ids) for name in names)
    if number_of_runs > len(summary.addresses):
        return repr([run.prefix for run in summary.addresses])
    return repr(names[0] if len(names) == 1 else names)
