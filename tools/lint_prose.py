"""Find words that the style forbids in docstrings, messages and test names.

Usage: python tools/lint_prose.py [--count] [PATH …]

Looks at the first line of each docstring, at the text of each raised exception and warning, and at
the names of tests. ``--count`` prints how many there are in each folder. Exits with status 1 if
there are any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PATHS = ("rvlab", "rastervision", "benchmarks", "tests", "tools", "notebooks", "docs")

# Forbidden words as regular expressions, with suggested replacements.
WORDS = {
    r"told|tells?|is told": "returns, reports, describes",
    r"nobody|somebody|whoever|anybody|everybody|he|his|him": "the process, the caller, the user",
    r"who (reads|asks|asked|submits|looks|sees|writes)": "the caller, the user, the reader",
    r"(is|are|was|were) no(?! longer| more)": "is not, is invalid, must be",
    r"is none": "is missing, does not exist",
    r"kept|keeps": "cached, stored, preserved",
    r"held to": "must satisfy",
    r"stands? for|stood for": "represents, is",
    r"stands? (in|at|on|beside)": "is in, is at",
    r"made of|makes of|is made of": "consists of, computed from",
    r"taken for|takes? for": "confused with",
    r"takes? in": "imports, reads",
    r"mend(s|ed|ing)?": "patch, fix",
    r"knows? of|knows? no": "has, lists",
    r"is meant|are meant|is to be|are to be|was to": "is requested, must",
    r"comes? to|came to": "amounts to, results in",
    r"come to grief": "fail",
    r"worth a look|worth it": "informative",
    r"for the eye": "styled",
    r"what (it|they|is|are|was|were) (asked|said)": "the request, the message",
    r"put out of sight": "archived",
    r"ends? with \d": "exits with status",
    r"(un)?asked for|is asked of": "requested",
    r"lies?|lay|lain": "is stored, is",
    r"not any more": "no longer",
    r"as far as": "to the extent that",
    r"gone": "deleted, missing",
}
FORBIDDEN = {re.compile(rf"\b({word})\b", re.IGNORECASE): use for word, use in WORDS.items()}

# path::name or text -> reason. Keep this short; rewrite instead.
EXCEPTIONS: dict[str, str] = {}


def texts(node: ast.AST) -> str:
    """Join the literal text in an expression, with a gap where values are filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            texts(part) if isinstance(part, ast.Constant) else " … " for part in node.values
        )
    return " ".join(filter(None, (texts(child) for child in ast.iter_child_nodes(node))))


def prose(tree: ast.Module, is_test: bool) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the kind and the text of each docstring, message and test name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node)
            if doc:
                line = getattr(node, "lineno", 1)
                yield line, "docstring", doc.splitlines()[0]
            name = getattr(node, "name", "")
            if is_test and name.startswith("test_"):
                yield node.lineno, "test name", name.removeprefix("test_").replace("_", " ")
        elif isinstance(node, ast.Raise) and node.exc is not None:
            yield node.lineno, "message", texts(node.exc)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("warn") and node.args:
            yield node.lineno, "message", texts(node.args[0])


def findings(path: Path) -> Iterator[tuple[int, str, str, str, str]]:
    """Yield the line, kind and text of each finding, the forbidden words and their replacement."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    is_test = path.name.startswith("test_") or "contracts" in path.parts
    for line, kind, words in prose(tree, is_test):
        for pattern, use in FORBIDDEN.items():
            match = pattern.search(words)
            if match and words not in EXCEPTIONS and f"{path}::{words}" not in EXCEPTIONS:
                yield line, kind, words, match.group(), use


def main(arguments: list[str]) -> int:
    """Print the findings and return the exit status."""
    counting = "--count" in arguments
    roots = [argument for argument in arguments if not argument.startswith("--")] or list(PATHS)
    files = [
        path
        for root in map(Path, roots)
        for path in (sorted(root.rglob("*.py")) if not root.suffix else [root])
    ]
    counts: Counter[tuple[str, str]] = Counter()
    for path in files:
        for line, kind, words, forbidden, use in findings(path):
            counts["/".join(path.parts[:2]) if len(path.parts) > 2 else path.parts[0], kind] += 1
            if not counting:
                print(f"{path}:{line}: {kind}: {forbidden!r} ({use}): {words}")
    if counting:
        folders = sorted({folder for folder, _ in counts})
        print(f"{'folder':28} docstring  message  test name")
        for folder in folders:
            docs, messages, names = (
                counts[folder, k] for k in ("docstring", "message", "test name")
            )
            print(f"{folder:28} {docs:9} {messages:8} {names:10}")
    print(f"{counts.total()} findings")
    return 1 if counts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
