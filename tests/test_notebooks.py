"""The notebooks run top to bottom, as ``make demo`` runs them, with smaller runs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
def test_the_demo_ends_with_the_table_and_the_notebooks(demo: tuple[Path, str]) -> None:
    out, said = demo
    table = said[said.index("All runs, the best first:") :]
    assert table.count("succeeded") == 17
    for notebook in NOTEBOOKS:
        assert str(out / "notebooks" / notebook.name) in table


@pytest.mark.slow
def test_each_figure_appears_once(demo: tuple[Path, str]) -> None:
    out, _ = demo
    counts = {p.stem: len(list((out / "figures").glob(f"{p.stem}-*.png"))) for p in NOTEBOOKS}
    assert counts == {
        "01_launch": 0,
        "02_compare": 2,
        "03_predictions": 11,
        "04_is_it_better": 4,
        "05_kubeflow": 2,
        "06_other_tasks": 9,
    }


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_committed_without_outputs(notebook: Path) -> None:
    book = nbformat.read(notebook, as_version=4)
    nbformat.validate(book)
    assert book.cells[0].cell_type == "markdown"
    assert book.cells[0].source.startswith("# ")
    for cell in book.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_define_no_functions(notebook: Path) -> None:
    book = nbformat.read(notebook, as_version=4)
    assert not [c for c in book.cells if c.cell_type == "code" and "def " in c.source]
