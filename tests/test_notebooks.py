"""Execution of the notebooks as by ``make demo``, with smaller runs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


FIGURES = {
    "01_launch": 0,
    "02_compare": 2,
    "03_predictions": 11,
    "04_is_it_better": 4,
    "05_kubeflow": 2,
    "06_other_tasks": 9,
    "07_objects": 5,
    "08_use_the_model": 3,
    "09_other_frameworks": 3,
}
SMALL = {name: count for name, count in FIGURES.items() if name != "05_kubeflow"}
FULL = pytest.mark.extended


@pytest.mark.slow
@pytest.mark.timeout(7200)  # a busy machine needs an hour for the demo at full size
@pytest.mark.parametrize(
    ("name", "runs", "figures"),
    [("demo", 12, SMALL), pytest.param("full_demo", 28, FIGURES, marks=FULL)],
)
def test_demo_writes_runs_notebooks_and_figures(
    name: str, runs: int, figures: dict[str, int], request: pytest.FixtureRequest
) -> None:
    out, printed = request.getfixturevalue(name)
    table = printed[printed.index("All runs, the best first:") :]
    assert table.count("succeeded") == runs
    for notebook in figures:
        assert str(out / "notebooks" / f"{notebook}.ipynb") in table
    counts = {p: len(list((out / "figures").glob(f"{p}-*.png"))) for p in figures}
    assert counts == figures  # each figure appears once


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
