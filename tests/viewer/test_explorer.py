"""The grid of runs: what it contains, and its use in JupyterLab."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rvlab import Lab, LocalEngine
from rvlab.actions.annotate import annotate_runs
from rvlab.errors import MissingExtra, TableError
from rvlab.model.tables import COLUMNS_SHOWN
from rvlab.store import Store
from rvlab.viewer.explorer import Explorer, default_columns, grid_table
from tests.browser import JupyterLab
from tests.frame.samples import Made
from tests.report.samples import Towns, make_towns
from tests.security.conftest import EVERY_EVENT
from tests.security.made import HOSTILE


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Towns:
    return make_towns(tmp_path_factory.mktemp("towns"))


@pytest.fixture(scope="module")
def lab(towns: Towns) -> Lab:
    return Lab(towns.store, LocalEngine())


def test_selected_rows_are_rows_of_the_table_of_runs(lab: Lab, towns: Towns) -> None:
    grid = lab.explore("town")
    assert grid.selected().empty
    grid.select([towns.scored[2].id, towns.scored[0].id, "unknown"])
    rows = lab.runs("town").loc[[towns.scored[0].id, towns.scored[2].id]]
    pd.testing.assert_frame_equal(grid.selected().drop(columns="age"), rows.drop(columns="age"))
    assert repr(grid) == "Explorer of 6 runs, 2 selected"


def test_predictions_are_drawn_only_on_demand(lab: Lab, towns: Towns) -> None:
    grid = lab.explore("town")
    assert grid._button.disabled
    grid.select([towns.scored[0].id])
    assert not grid._button.disabled
    assert grid._picture.children == ()
    grid.draw()
    assert bytes(grid._picture.children[0].value).startswith(b"\x89PNG")
    grid.select([towns.failed.id])
    with pytest.warns(UserWarning, match="is left out"):
        grid.draw()
    assert grid._picture.children == ()
    assert grid._words.value == "None of the runs has predictions."


def test_grid_has_numbers_as_numbers_and_all_else_as_text() -> None:
    runs = pd.DataFrame(
        {
            "name": pd.array(["a\nb", pd.NA], dtype="string"),
            "metrics.f1": [0.5, float("nan")],
            "params.n": pd.array([3, pd.NA], dtype="Int64"),
            "seed": pd.array([3, 4], dtype="Int64"),
            "params.list": [[1, "<b>"], None],
            "duration": pd.to_timedelta([90.04, None], unit="s"),
            "created": pd.to_datetime(["2026-11-23 15:42:01", "NaT"], utc=True),
            "image": pd.array([pd.NA, pd.NA], dtype="string"),
            "uri": ["/s/e/1", "/s/e/2"],
        },
        index=pd.Index(["1", "2"], name="run"),
    )
    found = grid_table(runs)
    assert "image" not in found
    assert "uri" not in found
    first = found.iloc[0].to_dict()
    assert first == {
        **{"run": "1", "name": "a b", "metrics.f1": 0.5, "params.n": 3.0, "seed": 3},
        **{"params.list": "[1, '<b>']", "duration": 90.0, "created": "2026-11-23 15:42:01"},
    }
    assert found.iloc[1][["name", "params.list", "created"]].tolist() == [""] * 3
    assert found.dtypes[["params.n", "seed"]].astype(str).tolist() == ["float64", "int64"]
    assert list(grid_table(runs, ["uri", "image"]))[:4] == ["run", "uri", "image", "name"]


def test_grid_begins_with_the_columns_of_the_table_or_with_one_given_by_name(lab: Lab) -> None:
    shown = [name for name in lab.runs("town") if lab.runs("town")[name].notna().any()]
    assert default_columns(lab.runs("town")) == shown[:COLUMNS_SHOWN]
    assert visible(lab.explore("town")) == ["run", *shown[:COLUMNS_SHOWN]]
    assert visible(lab.explore("town", columns="image")) == ["run", "image"]


def visible(grid: Explorer) -> list[str]:
    definitions = grid._grid._dt_args["columnDefs"]
    hidden = {i for one in definitions if one.get("visible") is False for i in one["targets"]}
    return [str(name) for i, name in enumerate(grid._grid._df) if i not in hidden]


def test_unexpected_error_of_a_drawing_is_shown(
    lab: Lab, towns: Towns, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = lab.explore("town")
    grid.select([towns.scored[0].id])
    monkeypatch.setattr(grid, "_store", None)
    grid.draw()
    assert grid._words.value.startswith("AttributeError: ")


def test_missing_extra_and_unknown_column_are_one_sentence(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="has no column 'metrics\\.f2'"):
        lab.explore("town", columns=["metrics.f2"])
    code = f"""
import sys
sys.modules["itables"] = None
from rvlab import Lab
try:
    Lab({str(lab.store.uri)!r}).explore("town")
except ImportError as exc:
    print(type(exc).__name__, exc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == (
        f"{MissingExtra.__name__} The explorer needs itables: pip install 'rvlab[local]'."
    )


CELLS = (
    "from rvlab import Lab\nlab = Lab({store!r})",
    "grid = lab.explore({experiment!r})\ngrid",
    "print('chosen:', *grid.selected()['name'])",
)


def open_grid(page: Any, jupyterlab: JupyterLab, name: str, store: Store, experiment: str) -> None:
    cells = [cell.format(store=store.uri, experiment=experiment) for cell in CELLS]
    page.goto(jupyterlab.notebook(name, *cells))
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector(".rvlab-explorer tbody tr td")


def cells(page: Any, at: int) -> list[str]:
    """Return the texts of a visible column of the grid."""
    rows = "[...document.querySelector('.rvlab-explorer table').tBodies[0].rows]"
    return page.evaluate(f"{rows}.map((row) => row.cells[{at}].textContent)")


def wait_for_cells(page: Any, at: int, wanted: list[str]) -> None:
    rows = "[...document.querySelector('.rvlab-explorer table').tBodies[0].rows]"
    texts = f"{rows}.map((row) => row.cells[{at}].textContent)"
    page.wait_for_function(
        f"JSON.stringify({texts}) === {json.dumps(json.dumps(wanted, separators=(',', ':')))}"
    )


@pytest.mark.slow
def test_sort_filter_select_and_draw_in_jupyterlab(
    page: Any, jupyterlab: JupyterLab, towns: Towns
) -> None:
    open_grid(page, jupyterlab, "explore", towns.store, "town")
    names = [f"run {i}" for i in range(6)]
    assert cells(page, 1) == names
    head = page.locator(".rvlab-explorer thead th")
    assert head.nth(3).locator(".dt-column-title").text_content() == "metrics.f1"
    head.nth(3).locator(".dtcc-button_order").click()  # the smallest first, NaN before it
    wait_for_cells(page, 1, ["run 4", "run 5", "run 3", "run 2", "run 1", "run 0"])
    head.nth(2).locator(".dtcc-button_dropdown").click()
    page.locator(".rvlab-explorer .dtcc-search input").first.fill("succ")
    wait_for_cells(page, 1, ["run 3", "run 2", "run 1", "run 0"])
    page.keyboard.press("Escape")
    rows = page.locator(".rvlab-explorer tbody tr")
    rows.nth(3).locator("td").nth(1).click()
    rows.nth(1).locator("td").nth(1).click()
    page.wait_for_selector("text=2 runs selected.")
    page.evaluate("jupyterapp.commands.execute('notebook:move-cursor-down')")
    page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
    page.wait_for_selector("text=chosen: run 0 run 2")
    assert page.locator(".rvlab-explorer img").count() == 0
    page.click("text=Show predictions")
    page.wait_for_selector(".rvlab-explorer img")
    page.click(".rvlab-explorer .buttons-colvis")
    page.locator(".rvlab-explorer .dt-button-collection >> text=engine").click()
    page.wait_for_selector(".rvlab-explorer thead .dt-column-title >> text=engine")


@pytest.mark.slow
def test_hostile_text_is_text_in_the_grid(
    page: Any, jupyterlab: JupyterLab, tmp_path: Path
) -> None:
    made = Made(Store(tmp_path / "store"))
    for number, text in enumerate(HOSTILE.values()):
        run = made.ended({f"p {text}": text, "n": number}, name=text, user=text)
        annotate_runs(made.store, run, "note", note=text)
    open_grid(page, jupyterlab, "hostile-grid", made.store, "towns")
    assert HOSTILE["script"] in page.text_content(".rvlab-explorer")
    page.click(".rvlab-explorer .buttons-colvis")
    page.wait_for_selector(".rvlab-explorer .dt-button-collection")
    for button in page.locator(".rvlab-explorer .dt-button-collection button").all():
        button.hover()
    page.keyboard.press("Escape")
    page.locator(".rvlab-explorer .dtcc-button_dropdown").nth(1).click()
    page.wait_for_selector(".rvlab-explorer .dtcc-search input")
    page.evaluate(EVERY_EVENT.replace("document.", "document.querySelector('.rvlab-explorer')."))
    assert page.evaluate("window.attacked") is None
    for tag in ("script", "iframe", "img"):
        assert page.locator(f".rvlab-explorer {tag}").count() == 0
