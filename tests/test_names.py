"""The names of the package: one meaning per word, and verbs for functions that act."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rvlab"

DEFINED_TWICE = {
    "get_config": "the function that Raster Vision calls in every recipe",
    "dependencies": "the list that Torch Hub reads in every hubconf",
    "main": "an entry point",
}

# Participles that say neither what a function does nor what it returns.
PARTICIPLES = """
accepted adopted allowed annotated asked attempted bound broken built called changed checked
chosen claimed cleaned colored compared compiled copied counted cut dimmed drawn edited ended
escaped evaluated expanded expected fetched filled flattened floored folded forgotten formed found
framed gathered given grown guessed heard heated held inferred joined judged kept known led left
listed loaded made mapped marked matched measured merged moved named noted opened ordered outlined
packed paged paired parsed picked pivoted placed planned predicted present printed projected
quieted raised ranked read_out recorded rehearsed removed repeated ruled said scanned scored
seeded seen sent shared shortened shown signed sized sorted_out spaced split_up spoken started
stored submitted succeeded summed surveyed taken tagged thinned told transformed trimmed typed
unpacked varying whole wrapped written compacted got prepared queued slowed
"""

ALLOWED_PARTICIPLES = {
    "rvlab.compare._varying.varying": "public: compare.varying",
    "rvlab.compare._board.styled": "public: compare.styled",
}


def modules(folder: Path = PACKAGE) -> list[tuple[str, ast.Module]]:
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append((name, ast.parse(path.read_text(encoding="utf-8"))))
    return found


def top_level(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_each_public_name_is_defined_in_one_module() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for module, tree in modules():
        for name in top_level(tree):
            homes[name].append(module)
    twice = {n: m for n, m in homes.items() if len(m) > 1 and n not in DEFINED_TWICE}
    assert not twice, "\n".join(f"{name}: {', '.join(m)}" for name, m in sorted(twice.items()))


def functions(node: ast.AST, name: str) -> list[tuple[str, ast.FunctionDef]]:
    found = []
    for one in ast.iter_child_nodes(node):
        if isinstance(one, ast.ClassDef):
            found += functions(one, f"{name}.{one.name}")
        elif isinstance(one, ast.FunctionDef):
            found.append((f"{name}.{one.name}", one))
    return found


def test_no_function_is_named_by_a_bare_participle() -> None:
    words = re.compile(rf"_*({'|'.join(PARTICIPLES.split())})")
    bad = []
    for module, tree in [*modules(), *modules(PACKAGE.parent / "benchmarks")]:
        for name, node in functions(tree, module):
            is_property = any("property" in ast.unparse(d) for d in node.decorator_list)
            if words.fullmatch(node.name) and not is_property and name not in ALLOWED_PARTICIPLES:
                bad.append(name)
    assert not bad, "Name these after what they do, such as list_runs:\n" + "\n".join(bad)


@pytest.mark.parametrize("name", sorted(ALLOWED_PARTICIPLES))
def test_each_exception_still_exists(name: str) -> None:
    assert name in {found for module, tree in modules() for found, _ in functions(tree, module)}
