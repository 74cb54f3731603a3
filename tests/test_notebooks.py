"""The notebooks run top to bottom, as ``make demo`` runs them, with smaller runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from rvlab.store import server

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = {
    **{"lrs": [1e-4, 1e-3, 1e-2], "widths": [4], "epochs": 1},
    **{"tree_lrs": [1e-2], "tree_epochs": 1},
    **{"test_lrs": [1e-3, 1e-2], "test_widths": [2, 4], "seeds": [0, 1], "test_epochs": 1},
    **{"cluster_epochs": 1},
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    out = tmp_path_factory.mktemp("demo")
    env = {**os.environ, "RVLAB_HOME": str(out / "home"), "RVLAB_STORE": f"embedded:{out / 's3'}"}
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "notebooks" / "run.py"), "--out", str(out)),
            *("--parameters", json.dumps(SMALL)),
        ],
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    yield out, done.stdout
    server.stop(out / "s3")


@pytest.mark.slow
def test_the_demo_ends_with_the_table_and_the_notebooks(demo: tuple[Path, str]) -> None:
    out, said = demo
    table = said[said.index("All runs, the best first:") :]
    assert table.count("succeeded") == 14
    for notebook in NOTEBOOKS:
        assert str(out / "notebooks" / notebook.name) in table


@pytest.mark.slow
def test_each_figure_appears_once(demo: tuple[Path, str]) -> None:
    out, _ = demo
    counts = {p.stem: len(list((out / "figures").glob(f"{p.stem}-*.png"))) for p in NOTEBOOKS}
    assert counts == {
        "01_launch": 0,
        "02_compare": 2,
        "03_predictions": 3,
        "04_is_it_better": 4,
        "05_kubeflow": 2,
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
