"""Reports and notebooks of runs, written to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rvlab.errors import NotFound, SpecError
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd


def write_report(
    store: Store,
    runs: pd.DataFrame,
    path: str | Path,
    *,
    metric: str = "metrics.f1",
    ascending: bool | None = None,
) -> Path:
    """Write the HTML report of one run, or of several; see `rvlab.Lab.report`.

    Raises:
        NotFound: If `runs` is empty.
        SpecError: If the file cannot be written.
        TableError: If no run has the metric, but others.
    """
    from rvlab.report.experiment import load_experiment_summary
    from rvlab.report.experiment_page import render_experiment_page
    from rvlab.report.page import render_page

    if runs.empty:
        raise NotFound(f"Nothing to report: the selection in {store.uri} is empty.")
    file = _require_folder(path, "report")
    if len(runs) == 1:
        return _write(file, render_page(runs), "report")
    summary = load_experiment_summary(store, runs, metric=metric, ascending=ascending)
    return _write(file, render_experiment_page(summary), "report")


def write_notebook(
    store: Store,
    runs: pd.DataFrame,
    path: str | Path,
    *,
    metric: str = "metrics.f1",
    ascending: bool | None = None,
) -> Path:
    """Write a notebook for runs; see `rvlab.Lab.notebook`.

    Raises:
        NotFound: If `runs` is empty.
        SpecError: If the file exists or cannot be written.
        TableError: If no run has the metric, but others.
    """
    from rvlab.report.experiment import load_experiment_summary
    from rvlab.report.notebook import render_notebook

    if runs.empty:
        raise NotFound(f"Nothing to write: the selection in {store.uri} is empty.")
    file = _require_folder(path, "notebook")
    if file.exists():
        raise SpecError(f"{file} exists already, perhaps with your changes. Name another file.")
    summary = load_experiment_summary(store, runs, metric=metric, ascending=ascending)
    return _write(file, render_notebook(summary), "notebook")


def _write(file: Path, text: str, what: str) -> Path:
    """Write the text of a report or notebook and return the path; `what` is for the message."""
    try:
        file.write_text(text, encoding="utf-8", errors="replace")
    except OSError as exc:
        raise SpecError(f"The {what} {file} cannot be written: {exc.strerror}.") from exc
    return file


def _require_folder(path: str | Path, what: str) -> Path:
    """Return the path of a file whose folder exists; rendering takes seconds, so check first."""
    file = Path(path).expanduser()
    if not file.parent.is_dir():
        raise SpecError(
            f"The {what} {file} cannot be written: the folder {file.parent} does not exist."
        )
    return file
