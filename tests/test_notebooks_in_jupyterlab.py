"""Execution of every notebook in JupyterLab in Chromium, as a user does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser import JupyterLab
from tests.conftest import SMALL, demo_env
from tests.test_notebooks import FIGURES, NOTEBOOKS

pytestmark = [pytest.mark.extended, pytest.mark.timeout(7200)]

CLUSTER = {"cluster_epochs": 1, "cluster_splits": 2}
WIDGETS = {"01_launch": ".rvlab-watch", "03_predictions": ".rvlab-viewer canvas"}
"""Elements that a notebook shows beside tables and figures."""


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page()
    yield page
    page.close()


def with_environment(notebook: Path, out: Path) -> Any:
    """Return a notebook whose kernel uses the store of the demo, with smaller runs."""
    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        if "parameters" in cell.metadata.get("tags", []):
            values = {**SMALL, **CLUSTER}
            names = [name for name in values if name in cell.source]
            cell.source += "".join(f"\n{name} = {values[name]!r}" for name in names)
    own = demo_env(out)
    env = {name: own[name] for name in ("RVLAB_HOME", "RVLAB_STORE")}
    book.cells.insert(0, nbformat.v4.new_code_cell(f"import os\nos.environ.update({env!r})"))
    return book


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_cell_of_a_notebook_runs_in_jupyterlab(
    notebook: Path,
    page: Any,
    jupyterlab: JupyterLab,
    full_demo: tuple[Path, str],
    tmp_path: Path,
) -> None:
    file = jupyterlab.folder / notebook.name
    nbformat.write(with_environment(notebook, full_demo[0]), file)
    page.goto(f"{jupyterlab.url}doc/tree/{file.name}?token={jupyterlab.token}")
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")  # returns after the last
    if selector := WIDGETS.get(notebook.stem):
        page.wait_for_selector(selector, state="attached")
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    for theme in ("Light", "Dark"):
        page.evaluate(
            f"jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})"
        )
        page.wait_for_function(f"document.body.dataset.jpThemeName === 'JupyterLab {theme}'")
        page.screenshot(path=tmp_path / f"{notebook.stem}-{theme}.png")

    cells = [one for one in nbformat.read(file, as_version=4).cells if one.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output.evalue for output in outputs if output.output_type == "error"]
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) == FIGURES[notebook.stem]
