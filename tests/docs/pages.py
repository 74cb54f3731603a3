"""The Markdown pages of the repository: their links, anchors and pieces of code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docker/*.md", "docs/**/*.md", "notebooks/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
)


@dataclass(frozen=True)
class Code:
    """A piece of code of a page.

    Args:
        page: The path of the page in the repository.
        line: Its line in the page, from 1.
        language: That of a fenced block, ``shell`` of an indented one, ``inline`` in a sentence.
        text: The code.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """The page and the line, as a test prints them."""
        return f"{self.page}:{self.line}"


@cache
def tokens(page: Path) -> list[Token]:
    """Return the tokens of a page, those inside of paragraphs and cells included."""
    text = page.read_text(encoding="utf-8")
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        found.append(token)
        for child in token.children or ():
            child.map = token.map
            found.append(child)
    return found


@cache
def codes() -> list[Code]:
    """Return every piece of code of all pages."""
    found = []
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        line = 1
        for token in tokens(page):
            line = token.map[0] + 1 if token.map else line
            if token.type == "fence":
                found.append(Code(name, line, token.info.split(" ")[0], token.content))
            elif token.type == "code_block":
                found.append(Code(name, line, "shell", token.content))
            elif token.type == "code_inline":
                found.append(Code(name, line, "inline", token.content))
    return found


def blocks(*languages: str) -> list[Code]:
    """Return the pieces of code in some languages."""
    return [code for code in codes() if code.language in languages]


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Return the line and the target of each link and picture of a page."""
    line = 1
    for token in tokens(page):
        line = token.map[0] + 1 if token.map else line
        target = token.attrGet("href") or token.attrGet("src")
        if target:
            yield line, str(target)


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for token, following in pairwise(tokens(page)):
        if token.type == "heading_open":
            text = "".join(
                child.content
                for child in following.children or ()
                if child.type in ("text", "code_inline")
            )
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found
