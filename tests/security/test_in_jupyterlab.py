"""Display of a hostile store as text in JupyterLab, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rvlab.store import Store
from tests.browser import JupyterLab
from tests.frame.samples import Made
from tests.security.conftest import EVERY_EVENT
from tests.security.made import HOSTILE, hostile_run

pytestmark = [pytest.mark.extended, pytest.mark.timeout(900)]

OPEN = """
import pandas as pd
from IPython.display import HTML, Markdown, display
from rvlab import Lab, LocalEngine, compare
from rvlab.model import Run
pd.set_option("display.max_colwidth", None, "display.max_columns", None)
lab = Lab({store!r}, LocalEngine())
runs = lab.runs("town")
run = Run.from_uri({uri!r})
"""

SHOWN = {
    "table": "runs",
    "series": "display(runs.iloc[0].to_frame())",
    "styled": "compare.styled(compare.board(runs, columns=['name', *list(runs)]))",
    "run": "display(*[Run(run.store, run.experiment, run.id, link) "
    f"for link in {list(HOSTILE.values())!r}])",
    "progress": "try:\n    lab.wait('towns', timeout_s=0)\n"
    "except TimeoutError as exc:\n    print(exc)",
    "bar": "from tqdm.auto import tqdm\nbar = tqdm(total=1)\n"
    f"bar.set_postfix_str({' '.join(HOSTILE.values())!r})",
    "markdown": "from rvlab.report.markdown import markdown\n"
    "from rvlab.report.run_summary import load_run_summary\n"
    "Markdown(markdown(load_run_summary(run)))",
    "page": "from rvlab.report.page import render_page\n"
    "HTML(render_page(run).replace('Content-Security-Policy', ''))",
    "error": f"try:\n    lab.runs('town/' + {HOSTILE['handler']!r})\nexcept Exception as exc:\n"
    "    print(exc)\n    display(exc)",
    "logs": "print(lab.logs(run)); lab.logs(run)",
    "lab": "lab",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A store with a finished and a running hostile run, and the URI of the finished run."""
    root: Path = tmp_path_factory.mktemp("hostile")
    run = hostile_run(root)
    made = Made(Store(root))
    made.store.put(run.log_key("train"), " ".join(HOSTILE.values()).encode())
    made.running(step="train", name=HOSTILE["handler"])
    return str(root), run.uri


def run_notebook(page: Any, jupyterlab: JupyterLab, name: str, *cells: str) -> None:
    page.add_init_script("window.alert = () => { window.attacked = 1; }")
    page.goto(jupyterlab.notebook(name, *cells))
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    ran = "document.querySelector('.jp-Notebook')?.textContent.includes('all cells have run')"
    page.wait_for_function(ran)


@pytest.fixture
def page(browser: Any) -> Any:
    """A page that records its requests."""
    page = browser.new_page()
    page.requests = []
    page.on("request", lambda request: page.requests.append(request.url))
    yield page
    page.close()


def assert_nothing_ran(page: Any) -> None:
    page.evaluate(EVERY_EVENT.replace("document.", "document.querySelector('.jp-Notebook')."))
    assert page.evaluate("window.attacked") is None
    hosts = {urlsplit(u).netloc for u in page.requests if not u.startswith(("data:", "blob:"))}
    assert {host.split(":")[0] for host in hosts} == {"127.0.0.1"}
    assert not [u for u in page.requests if "attacked" in u]
    links = "[...document.querySelectorAll('.jp-OutputArea-output a')].map((a) => a.href)"
    assert not [link for link in page.evaluate(links) if not link.startswith("http")]


def test_unescaped_html_in_a_notebook_is_detected(page: Any, jupyterlab: JupyterLab) -> None:
    html = HOSTILE["handler"]
    cells = [
        "from IPython.display import HTML",
        f"HTML({html!r})",
        "print('all cells', 'have run')",
    ]
    run_notebook(page, jupyterlab, "control", *cells)
    page.wait_for_function("window.attacked === 1")


def test_notebook_of_a_hostile_store_runs_no_script(
    page: Any, jupyterlab: JupyterLab, store: tuple[str, str]
) -> None:
    cells = [OPEN.format(store=store[0], uri=store[1]), *SHOWN.values()]
    run_notebook(page, jupyterlab, "hostile", *cells, "print('all cells', 'have run')")
    assert_nothing_ran(page)
    outputs = page.evaluate(
        "[...document.querySelectorAll('.jp-OutputArea-output')].map((o) => o.textContent)"
    )
    shown = " ".join(" ".join(outputs).split())
    assert shown.count(HOSTILE["handler"]) > 8
    assert "Traceback" not in shown
    for text in (HOSTILE["script"], HOSTILE["comment"], HOSTILE["template"]):
        assert text in shown


def test_the_viewer_shows_hostile_names_as_text(
    page: Any, jupyterlab: JupyterLab, store: tuple[str, str]
) -> None:
    cells = [
        OPEN.format(store=store[0], uri=store[1]),
        f"lab.viewer(runs, scene={HOSTILE['handler']!r}, label='name')",
        "print('all cells', 'have run')",
    ]
    run_notebook(page, jupyterlab, "viewer", *cells)
    page.wait_for_selector(".rvlab-viewer canvas")
    page.wait_for_function("document.querySelector('.rvlab-viewer')?.dataset.waiting === '0'")
    assert_nothing_ran(page)
    legend = page.inner_text(".rvlab-legend")
    assert HOSTILE["script"] in legend
    scenes = page.evaluate(
        "[...document.querySelector('.rvlab-scene').options].map((o) => o.textContent)"
    )
    assert HOSTILE["handler"] in scenes
    assert HOSTILE["script"][:24] in " ".join(
        page.evaluate(
            "[...document.querySelector('.rvlab-layer-left').options].map((o) => o.textContent)"
        )
    )
