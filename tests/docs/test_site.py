"""The documentation site, built as ``make docs`` does, without network."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

import rvlab
from rvlab import compare, errors, plot
from tests.docs.pages import PAGES, ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NO_NETWORK = """
import socket, sys
def refuse(self, address):
    raise OSError(f"the build opened a connection to {address}")
socket.socket.connect = refuse
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class HtmlPage:
    """What a built page refers to.

    Args:
        loads: Addresses that a browser loads with the page.
        links: Addresses of links.
        ids: Anchors.
        text: The text outside of scripts, styles and code.
    """

    loads: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    text: str = ""


class Reader(HTMLParser):
    """Collects the references and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.page = HtmlPage()
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.page.loads += [values[name] for name in ("src", "srcset", "poster") if name in values]
        self.page.loads += re.findall(r"url\(['\"]?([^'\")]+)", values.get("style", ""))
        if tag == "link" and values.get("rel") not in ("search", "index", "next", "prev"):
            self.page.loads.append(values["href"])
        elif tag == "a" and "href" in values:
            self.page.links.append(values["href"])
        self.page.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag in ("script", "style", "pre", "code"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.page.text += data


def executed_copy(notebook: Path, folder: Path) -> None:
    """Write a notebook with outputs of each kind that ours have."""
    book = nbformat.read(notebook, as_version=4)
    picture = (ROOT / "docs" / "gallery" / "curves.png").read_bytes()
    view = {"model_id": "1", "version_major": 2, "version_minor": 1}
    bundles = [
        {"text/plain": "a table", "text/html": "<table><tr><td>drawn by a cell</td></tr></table>"},
        {"text/plain": "<Figure>", "image/png": b64encode(picture).decode()},
        {"text/plain": "widget", "application/vnd.jupyter.widget-view+json": view},
        {"text/html": "<div>static view</div>", "application/vnd.jupyter.widget-view+json": view},
    ]
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    for cell, data in zip(cells, bundles, strict=False):
        cell.outputs = [nbformat.v4.new_output("display_data", data=data)]
    error = {"ename": "SpecError", "evalue": "no parameter", "traceback": ["SpecError: no"]}
    cells[-1].outputs = [nbformat.v4.new_output("error", **error)]
    nbformat.write(book, folder / notebook.name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; one of its notebooks has outputs."""
    command = re.search(
        r"-m sphinx (.+) build/docs$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
    )
    assert command
    out = tmp_path_factory.mktemp("site")
    executed = tmp_path_factory.mktemp("executed")
    executed_copy(NOTEBOOKS[1], executed)
    env = {**os.environ, "RVLAB_EXECUTED_NOTEBOOKS": str(executed), "PYTHONWARNINGS": ""}
    options = shlex.split(command[1])
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, *options, str(out)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"-W", "--keep-going"} <= set(options)
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, HtmlPage]:
    """What each built page has, by its path in the site."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        if "_static" not in path.parts:
            reader = Reader()
            reader.feed(path.read_text(encoding="utf-8"))
            found[path.relative_to(site).as_posix()] = reader.page
    return found


def test_the_folder_of_the_site_is_ignored_by_git() -> None:
    assert "build/" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


def test_every_page_and_notebook_is_in_the_site(pages: dict[str, HtmlPage]) -> None:
    wanted = [p for p in PAGES if ".github" not in p.parts] + NOTEBOOKS
    names = {p.relative_to(ROOT).with_suffix(".html").as_posix() for p in wanted}
    assert names <= set(pages), names - set(pages)
    raw = {
        name: re.findall(r":::|```|\{(?:toctree|eval-rst|grid)|<!--", page.text)
        for name, page in pages.items()
    }
    assert not {name: found for name, found in raw.items() if found}


def test_front_page_is_the_readme(site: Path, pages: dict[str, HtmlPage]) -> None:
    assert pages["index.html"] == pages["README.html"]
    first = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")[1]
    text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", first)
    assert " ".join(text.split()) in " ".join(pages["index.html"].text.split())
    assert "<title>rvlab" in (site / "index.html").read_text(encoding="utf-8")
    for page in ("tutorial", "how-to", "reference", "explanation"):
        assert f"docs/site/{page}.html" in pages["index.html"].links


def test_no_page_loads_anything_from_another_host(site: Path, pages: dict[str, HtmlPage]) -> None:
    loads = {
        (name, address)
        for name, page in pages.items()
        for address in page.loads
        if urlsplit(address).netloc or urlsplit(address).scheme not in ("", "data")
    }
    assert not loads
    for style in site.rglob("*.css"):
        css = re.sub(r"/\*.*?\*/", "", style.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^'\")]+", css), style


def test_links_between_pages_and_anchors_exist(site: Path, pages: dict[str, HtmlPage]) -> None:
    broken = set()
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or name in ("search.html", "genindex.html"):
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            key = os.path.relpath(target, site)
            if not target.exists():
                broken.add(f"{name}: {link}")
            elif parts.fragment and key in pages and unquote(parts.fragment) not in pages[key].ids:
                broken.add(f"{name}: {link} has no anchor")
    assert not broken, "\n".join(sorted(broken))


def public_names() -> Iterator[str]:
    for name in rvlab.__all__:
        if name not in ("__version__", "compare", "plot", "RvlabError"):
            yield f"rvlab.{name}"
    yield "rvlab.model.Sweep"
    yield "rvlab.actions.model_version.ModelVersion"
    yield from (f"rvlab.plot.{name}" for name in plot.__all__)
    yield from (f"rvlab.compare.{name}" for name in compare.__all__)
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, BaseException):
            yield f"rvlab.errors.{name}"
    for cls, path in ((rvlab.Lab, "rvlab.Lab"), (rvlab.Run, "rvlab.Run")):
        yield from (f"{path}.{name}" for name in vars(cls) if not name.startswith("_"))


def test_reference_has_every_public_name_with_its_completed_docstring(
    pages: dict[str, HtmlPage],
) -> None:
    ids: set[str] = set()
    for name, page in pages.items():
        if name.startswith("docs/site/api/"):
            ids |= page.ids
    fields = set(rvlab.Run.__dataclass_fields__)
    missing = [one for one in public_names() if one not in ids]
    missing = [one for one in missing if one.removeprefix("rvlab.Run.") not in fields]
    assert not missing
    text = " ".join(pages["docs/site/api/lab.html"].text.split())
    assert "Which runs: a table of runs or one of its rows" in text  # added at import
    assert "The time of the submission." in text  # a column, from the schema of the table
    assert "├──" not in text


def test_gallery_has_thumbnails_and_scripts(site: Path, pages: dict[str, HtmlPage]) -> None:
    scripts = sorted((ROOT / "docs" / "gallery").glob("[!_]*.py"))
    html = (site / "docs" / "gallery" / "README.html").read_text(encoding="utf-8")
    assert html.count("sd-card-img-top") == len(scripts)
    for script in scripts:
        assert script.stem in pages["docs/gallery/README.html"].ids
        assert f"{script.stem}.png&quot;" in html or f'{script.stem}.png"</span>' in html


def test_notebook_shows_outputs_only_of_the_same_cells(
    pages: dict[str, HtmlPage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    import pages as site_pages  # type: ignore[import-not-found]

    assert "drawn by a cell" in pages["notebooks/02_compare.html"].text
    assert "static view" in pages["notebooks/02_compare.html"].text
    text = NOTEBOOKS[1].read_text(encoding="utf-8")
    executed_copy(NOTEBOOKS[1], tmp_path)
    monkeypatch.setattr(site_pages, "EXECUTED", tmp_path)
    assert "drawn by a cell" in site_pages.executed_notebook("notebooks/02_compare", text)
    changed = json.loads(text)
    changed["cells"][1]["source"] = ["import rvlab"]
    other = json.dumps(changed)
    assert site_pages.executed_notebook("notebooks/02_compare", other) == other


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The address at which the site is served."""
    handler = partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, *args: object) -> None:
        """Write nothing."""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_readable_in_a_browser_without_network(
    address: str, browser: Any, theme: str
) -> None:
    requested: list[str] = []
    failures: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("response", lambda r: failures.append(r.url) if r.status >= 400 else None)
    names = ["", "docs/running.html", "docs/coming-from.html", "docs/site/api/lab.html"]
    names += ["docs/gallery/README.html", "notebooks/02_compare.html", "docs/records.html"]
    backgrounds = set()
    for name in names:
        page.goto(f"{address}/{name}")
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    red = int(re.findall(r"\d+", backgrounds.pop())[0])
    assert red > 200 if theme == "light" else red < 60
    assert not backgrounds
    page.goto(f"{address}/search.html?q=windows")
    page.wait_for_selector("#search-results li a")
    page.close()
    assert {url for url in requested if not url.startswith((address, "data:", "blob:"))} == set()
    assert [url for url in failures if not url.endswith("favicon.ico")] == []
