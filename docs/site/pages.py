"""What the site adds to the repository's pages: tables of contents, the gallery's grid, outputs."""

import inspect
import json
import os
import re
import shutil
from pathlib import Path
from pkgutil import resolve_name

ROOT = Path(__file__).resolve().parents[2]
EXECUTED = Path(os.environ.get("RVLAB_EXECUTED_NOTEBOOKS", ROOT / "demo" / "notebooks"))

FOLDERS = {
    "docs/decisions": "docs/site/decisions.md",
    "docs/gallery": "docs/gallery/README.md",
    "notebooks": "docs/site/tutorial.md",
}
"""The page to which a link to a folder leads; GitHub shows the folder."""

CONTENTS = """
```{toctree}
:hidden:
Tutorial <docs/site/tutorial>
How-to <docs/site/how-to>
Reference <docs/site/reference>
Gallery <docs/gallery/README>
Explanation <docs/site/explanation>
```
"""

_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=\))")
_COLUMN = re.compile(r"    ([\w.*{}…]+) (\([^)]*\): .*)")
_HEADING = re.compile(r"^## (\w+)$", re.MULTILINE)
_NAMES = re.compile(r"<!-- names of ([\w.:]+) -->")
_GROUPS = re.compile(r"^    (?:# (.+)|def (\w+))", re.MULTILINE)
_LIST = re.compile(r"^- .*\n(?:(?:- |  ).*\n)*", re.MULTILINE)
_TOOL = re.compile(r"^\*\*([^*\n]+)\*\*\n\n(```python\n.*?^```)\n", re.DOTALL | re.MULTILINE)
_TOOLS = re.compile(rf"(?:{_TOOL.pattern}\n?)+", re.DOTALL | re.MULTILINE)


def connect_pages(app) -> None:
    """Register the hooks that extend pages when Sphinx reads them and that write ``index.html``."""
    app.connect("source-read", lambda _app, name, source: source.append(page(name, source.pop())))
    app.connect("autodoc-process-docstring", lay_out_docstring, priority=400)  # before napoleon
    app.connect("build-finished", write_index)


def page(name: str, text: str) -> str:
    """Return the text of a page of the site.

    Args:
        name: Its path in the repository, without the suffix.
        text: Its text in the repository.
    """
    if name.startswith("notebooks/"):
        return executed_notebook(name, text)
    text = _NAMES.sub(list_names, link_folders(name, text))
    if name == "README":
        return text + CONTENTS
    if name == "docs/gallery/README":
        return show_scripts(text)
    if name == "docs/coming-from":
        return _TOOLS.sub(show_side_by_side, text)
    if number := re.match(r"docs/decisions/(\d+)", name):
        return text.replace("# ", f"# {int(number[1])}. ", 1)
    return text


def link_folders(name: str, text: str) -> str:
    """Replace links to folders by links to their pages."""
    here = (ROOT / name).parent

    def target(match: re.Match[str]) -> str:
        path = (here / match[1]).resolve()
        if not path.is_dir() or not path.is_relative_to(ROOT):
            return match[1]
        folder_page = FOLDERS.get(path.relative_to(ROOT).as_posix())
        return f"/{folder_page}" if folder_page else match[1]

    return _LINK.sub(target, text)


def show_scripts(text: str) -> str:
    """Show a grid of thumbnails in place of the list, and each script below its picture."""
    text = _LIST.sub("", text, count=1)
    first, *_ = _HEADING.finditer(text)
    cards = ["::::{grid} 2 3 3 4", ":gutter: 2", ""]
    for name in _HEADING.findall(text):
        cards += [f":::{{grid-item-card}} {name}", f":img-top: {name}.png", f':link: "#{name}"']
        cards += [":class-card: rvlab-thumbnail", ":::"]
    cards += ["::::", "", ""]
    script = "```{{literalinclude}} {0}.py\n:language: python\n```"
    body = re.sub(
        r"^!\[[^\]]*\]\((\w+)\.png\)$",
        lambda match: f"{match[0]}\n\n{script.format(match[1])}",
        text[first.start() :],
        flags=re.MULTILINE,
    )
    return text[: first.start()] + "\n".join(cards) + body


def show_side_by_side(match: re.Match[str]) -> str:
    """Return a grid with the code of other tools as tabs on the left, and rvlab's on the right."""
    code = dict(_TOOL.findall(match[0]))
    ours = code.pop("rvlab")
    tabs = [
        f"::::{{tab-item}} {tool}\n:sync: {tool}\n{block}\n::::" for tool, block in code.items()
    ]
    left = "\n".join([":::::{tab-set}", ":sync-group: tool", *tabs, ":::::"])
    right = f":::::{{tab-set}}\n::::{{tab-item}} rvlab\n{ours}\n::::\n:::::"
    columns = [f"::::::{{grid-item}}\n{column}\n::::::" for column in (left, right)]
    options = [":gutter: 3", ":class-container: rvlab-tools"]
    return "\n".join([":::::::{grid} 1 1 2 2", *options, *columns, ":::::::", ""])


def executed_notebook(name: str, text: str) -> str:
    """Return the notebook that ``make demo`` executed if it has the same cells, else the text."""
    path = EXECUTED / f"{Path(name).name}.ipynb"
    if path.exists():
        executed = path.read_text(encoding="utf-8")
        if sources(executed) == sources(text):
            return executed
    return text


def sources(notebook: str) -> list[str]:
    """Return the sources of a notebook's cells."""
    return ["".join(cell["source"]) for cell in json.loads(notebook)["cells"]]


def list_names(match: re.Match[str]) -> str:
    """Return tables of the public names of a module or a class, with their first sentences."""
    owner = resolve_name(match[1])
    path = match[1].replace(":", ".")
    if isinstance(owner, type):
        groups: dict[str, list[str]] = {"": []}
        for comment, method in _GROUPS.findall(inspect.getsource(owner)):
            if comment:
                groups[comment] = []
            elif not method.startswith("_"):
                groups[[*groups][-1]].append(method)
    else:
        groups = {"": list(owner.__all__)}
    lines = ["```{eval-rst}"]
    for title, names in groups.items():
        lines += [f".. rubric:: {title}", ""] if title and names else []
        lines += [".. autosummary::", "   :nosignatures:", ""] if names else []
        lines += [*(f"   ~{path}.{name}" for name in names), ""]
    return "\n".join([*lines, "```"])


def lay_out_docstring(_app, what: str, name: str, _obj, _options, lines: list[str]) -> None:
    """Show the tree of errors as it is written, and the columns of returned tables as a list."""
    if what == "module" and name == "rvlab.errors":
        lines[1:] = ["", "::", "", *(f"    {line}" for line in lines[2:]), ""]
    section = ""
    columns: list[str] = []
    for line in lines:
        section = line if line and not line.startswith(" ") else section
        column = _COLUMN.match(line) if section == "Returns:" else None
        if column:
            columns += [
                *([] if _is_listed(columns) else [""]),
                f"    * ``{column[1]}`` {column[2]}",
            ]
        else:
            columns.append(line)
    lines[:] = columns


def _is_listed(lines: list[str]) -> bool:
    """Return whether the last lines are an entry of a list."""
    last = next((line for line in reversed(lines) if not line.startswith("        ")), "")
    return last.startswith("    * ")


def write_index(app, error: Exception | None) -> None:
    """Write the front page under the name that web servers show for a folder."""
    if error is None and app.builder.format == "html":
        shutil.copy(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")
