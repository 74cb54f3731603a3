"""A run in Kubeflow's own pages: what the pipeline's last step hands to Kubeflow as outputs."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rvlab.model import Run
from rvlab.report.facts import Facts, facts
from rvlab.report.markdown import markdown
from rvlab.report.page import page_of
from rvlab.report.render import escape_markdown, render_html, render_markdown

COSTS = ("train_s", "peak_mb")
"""Costs that stand beside the metrics, so that Kubeflow's page of comparisons has them too."""


class File(Protocol):
    """An output of kfp's, such as ``kfp.dsl.HTML``."""

    path: str


class Numbers(Protocol):
    """``kfp.dsl.Metrics``."""

    def log_metric(self, metric: str, value: float) -> None:
        """Keep a number."""


class Matrix(Protocol):
    """``kfp.dsl.ClassificationMetrics``."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        """Keep a matrix; rows are the truth."""


def emit(item: str, metrics: Numbers, confusion: Matrix, report: File, predictions: File) -> None:
    """Fill the outputs of the pipeline's last step.

    The run has succeeded by then and does not fail because of its report: whatever goes wrong is
    told in the report and, with its traceback, in the pod's log.

    Args:
        item: What ``configure`` returned for any split, ``{"run": URI, "split": 0}``.
        metrics: Gets the headline metrics under their names in the table of runs, and `COSTS`.
            What is undefined is left out: Kubeflow fails a step over a NaN.
        confusion: Gets the matrix of the headline's group; nothing where there is none.
        report: Gets the run in Markdown.
        predictions: Gets the run as one HTML page, with its pictures.
    """
    run = Run.from_uri(json.loads(item)["run"])
    failed: list[str] = []
    found = _attempted("read", lambda: facts(run), failed)
    if isinstance(found, Facts):
        _attempted("put into Metrics", lambda: _log(found, metrics), failed)
        _attempted("put into ClassificationMetrics", lambda: _log_matrix(found, confusion), failed)
        text = _attempted("written as Markdown", lambda: markdown(found), failed)
        html = _attempted("written as HTML", lambda: page_of(found), failed)
    else:
        text = html = None
    _write(report, _with_failures(text or f"# {escape_markdown(run.id)}\n", failed))
    _write(predictions, html or _apology(run, failed))


def _log(found: Facts, metrics: Numbers) -> None:
    costs = {name: found.costs[name] for name in COSTS if name in found.costs}
    for name, value in {**costs, **found.metrics}.items():
        metrics.log_metric(name, value)


def _log_matrix(found: Facts, confusion: Matrix) -> None:
    # Kubeflow's page draws rows[i][j] in column i and calls that axis the true label.
    if found.matrix:
        confusion.log_confusion_matrix(*found.matrix)


def _attempted(what: str, make: Callable[[], Any], failed: list[str]) -> Any:
    try:
        return make()
    except Exception as exc:  # noqa: BLE001  the run has succeeded; told in the report and the log
        traceback.print_exc()
        failed.append(f"The run could not be {what}: {type(exc).__name__}: {exc}")
        return None


def _with_failures(text: str, failures: Sequence[str]) -> str:
    return text + render_markdown("failures.md.j2", failures=failures)


def _apology(run: Run, failures: Sequence[str]) -> str:
    return render_html("failed.html.j2", title=run.id, failures=failures)


def _write(output: File, text: str) -> None:
    path = Path(output.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
