"""Links, anchors and paths in the pages and in docstrings lead to existing places."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, codes, links

FOLDERS = "rvlab|rastervision|tests|docs|docker|tools|benchmarks|notebooks"
PATH = re.compile(rf"(?:{FOLDERS})/[\w./-]+\.(?:py|md|ipynb|sh|toml)|[A-Z]+\.md")
PLACEHOLDER = re.compile(r"/(?:_|test_)?(?:name|NAME)\.(?:py|md)$")  # a file that the reader adds


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_relative_links_and_anchors_of_a_page_exist(page: Path) -> None:
    broken = []
    for line, link in links(page):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            assert link.startswith(("https://", "http://", "mailto:")), f"{page}:{line} {link}"
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            broken.append(f"line {line}: {link} does not exist")
        elif anchor and anchor not in anchors(target):
            broken.append(f"line {line}: {link}; its anchors are {sorted(anchors(target))}")
    assert not broken, "\n".join(broken)


def test_paths_that_pages_and_docstrings_name_exist() -> None:
    sources = [path for path in ROOT.glob("rvlab/**/*.py") if path.is_file()]
    texts = [(code.place, code.text) for code in codes() if not code.page.startswith("CHANGELOG")]
    texts += [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in sources]
    missing = [
        f"{place}: {path}"
        for place, text in texts
        for path in PATH.findall(text)
        if not PLACEHOLDER.search(path) and not (ROOT / path).exists()
    ]
    assert not missing, "\n".join(missing)


def test_make_targets_and_extras_in_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wrong = []
    for code in codes():
        for line in re.findall(r"(?m)^\s*make( [^\n`]+)", code.text):
            named = [word for word in shlex.split(line, comments=True) if "=" not in word]
            wrong += [f"{code.place}: make {name}" for name in named if name not in targets]
        for extras in re.findall(r"(?:rvlab|\.)\[([\w,]+)\]", code.text):
            unknown = set(extras.split(",")) - set(project["optional-dependencies"])
            wrong += [f"{code.place}: extra {name}" for name in sorted(unknown)]
    assert not wrong, "\n".join(wrong)
