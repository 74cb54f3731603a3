"""Notebooks for experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from rvlab import Lab, LocalEngine
from rvlab.cli import main
from rvlab.errors import NotFound, SpecError
from rvlab.store import Store
from tests.frame.samples import Made
from tests.report.samples import make_towns
from tests.report.test_kubeflow import HOSTILE


def test_notebook_of_an_experiment_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPLBACKEND")  # the kernel's own, which shows figures
    towns = make_towns(tmp_path / "store")
    path = tmp_path / "town.ipynb"
    assert main(["--store", towns.store.uri, "notebook", "town", "-o", str(path)]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert all(cell.outputs == [] for cell in book.cells if cell.cell_type == "code")
    NotebookClient(book, extra_arguments=["--log-level=40"], timeout=600).execute()
    shown = [
        data
        for cell in book.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        for data in [output.get("data", {})]
    ]
    assert sum("image/png" in data for data in shown) == 4
    text = str(shown)
    assert "The data do not show whether lr=0.01 (2 runs) or lr=0.001 (2 runs) is better" in text
    assert "CUDA out of memory" in text
    lab = Lab(towns.store, LocalEngine())
    with pytest.raises(SpecError, match="exists already"):
        lab.notebook("town", path)
    two = [one.id for one in towns.scored[:2]]
    some = nbformat.read(lab.notebook(two, tmp_path / "some.ipynb"), as_version=4)
    assert f"lab.runs({[f'town/{one}' for one in two]})" in some.cells[1].source
    with pytest.raises(NotFound, match="Nothing to write"):
        Lab(tmp_path / "empty").notebook(None, tmp_path / "b.ipynb")


def test_notebook_of_runs_without_metrics_and_with_hostile_names_is_valid(tmp_path: Path) -> None:
    made = Made(Store(tmp_path / "store"))
    for value in (1, 2):
        made.ended({HOSTILE: value}, state="failed", error=HOSTILE, name=HOSTILE)
    path = Lab(made.store).notebook("towns", tmp_path / "a.ipynb")
    book: Any = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        if cell.cell_type == "code":
            compile(cell.source, "cell", "exec")
    assert not any("metrics.f1" in cell.source for cell in book.cells if cell.cell_type == "code")
