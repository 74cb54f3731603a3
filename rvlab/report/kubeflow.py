"""Outputs of the pipeline's last step, which Kubeflow shows on its own pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rvlab.model import Run
from rvlab.report.markdown import markdown
from rvlab.report.page import render_summary_page
from rvlab.report.parts import report_error
from rvlab.report.render import escape_markdown, render_html, render_markdown
from rvlab.report.run_summary import RunSummary, load_run_summary

COST_METRICS = ("train_s", "peak_mb")
"""Costs that are logged with the metrics, for Kubeflow's page of comparisons."""


class FileOutput(Protocol):
    """An output of kfp, such as ``kfp.dsl.HTML``."""

    path: str


class MetricsOutput(Protocol):
    """``kfp.dsl.Metrics``."""

    def log_metric(self, metric: str, value: float) -> None:
        """Log a number."""


class MatrixOutput(Protocol):
    """``kfp.dsl.ClassificationMetrics``."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        """Log a matrix; rows are the truth."""


def emit(
    item: str,
    metrics: MetricsOutput,
    confusion: MatrixOutput,
    report: FileOutput,
    predictions: FileOutput,
) -> None:
    """Write the outputs of the pipeline's last step.

    The run has already succeeded and must not fail because of its report. The report lists errors,
    and the pod's log has the tracebacks of unexpected ones.

    Args:
        item: The result of ``configure`` for any split, ``{"run": URI, "split": 0}``.
        metrics: Output for the headline metrics under their names in the table of runs, and
            `COST_METRICS`. Undefined values are left out, since a NaN fails the step in Kubeflow.
        confusion: Output for the matrix of the headline group; not written without one.
        report: Output for the run in Markdown.
        predictions: Output for the run as an HTML page with pictures.
    """
    run = Run.from_uri(json.loads(item)["run"])
    failed: list[str] = []
    found = _try_make("read", lambda: load_run_summary(run), failed)
    if isinstance(found, RunSummary):
        _try_make("put into Metrics", lambda: _log_metrics(found, metrics), failed)
        _try_make("put into ClassificationMetrics", lambda: _log_matrix(found, confusion), failed)
        text = _try_make("written as Markdown", lambda: markdown(found), failed)
        html = _try_make("written as HTML", lambda: render_summary_page(found), failed)
    else:
        text = html = None
    _write(report, _with_failures(text or f"# {escape_markdown(run.id)}\n", failed))
    _write(predictions, html or _failure_page(run, failed))


def _log_metrics(found: RunSummary, metrics: MetricsOutput) -> None:
    costs = {name: found.costs[name] for name in COST_METRICS if name in found.costs}
    for name, value in {**costs, **found.metrics}.items():
        metrics.log_metric(name, value)


def _log_matrix(found: RunSummary, confusion: MatrixOutput) -> None:
    # Kubeflow's page draws rows[i][j] in column i and labels that axis as the true label.
    if found.matrix:
        confusion.log_confusion_matrix(*found.matrix)


def _try_make(what: str, make: Callable[[], Any], failed: list[str]) -> Any:
    try:
        return make()
    except Exception as exc:  # noqa: BLE001  the run has succeeded; the report and the log have the error
        failed.append(f"The run could not be {what}: {report_error(exc)}")
        return None


def _with_failures(text: str, failures: Sequence[str]) -> str:
    return text + render_markdown("failures.md.j2", failures=failures)


def _failure_page(run: Run, failures: Sequence[str]) -> str:
    return render_html("failed.html.j2", title=run.id, failures=failures)


def _write(output: FileOutput, text: str) -> None:
    path = Path(output.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
