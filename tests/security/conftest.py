"""Fixtures for Chromium and JupyterLab, and a page that records requests and dialogs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

EVERY_EVENT = """() => {
  for (const node of document.querySelectorAll("*")) {
    for (const kind of ["mouseover", "mouseenter", "focus", "click", "error", "load"]) {
      if (!(kind === "click" && node.href?.startsWith("http"))) node.dispatchEvent(new Event(kind));
    }
  }
}"""


class Opened:
    """An HTML document loaded in a browser, with the requests and dialogs that it caused."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.path = page, path
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._close_dialog)
        page.goto(path.as_uri(), wait_until="load")
        page.evaluate(EVERY_EVENT)

    def _close_dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    @property
    def attacked(self) -> bool:
        """Whether a script or handler ran, a dialog opened, or another URL was requested."""
        others = [u for u in self.requests if u != self.path.as_uri() and not u.startswith("data:")]
        ran = bool(self.page.evaluate("window.attacked !== undefined"))
        return ran or bool(self.dialogs) or bool(others)

    @property
    def text(self) -> str:
        """The text of the document, with single spaces."""
        return " ".join(str(self.page.evaluate("document.body.textContent")).split())

    @property
    def links(self) -> list[str]:
        """The targets of all links."""
        found = self.page.evaluate("[...document.querySelectorAll('[href]')].map((a) => a.href)")
        return [str(link) for link in found]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[[str], Opened]]:
    """A function that opens HTML in a new page."""
    pages: list[Any] = []

    def open_html(html: str) -> Opened:
        path = tmp_path / f"page{len(pages)}.html"
        path.write_text(html, encoding="utf-8", errors="surrogatepass")
        pages.append(browser.new_page())
        return Opened(pages[-1], path)

    yield open_html
    for page in pages:
        page.close()
