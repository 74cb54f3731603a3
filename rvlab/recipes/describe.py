"""Summary of a recipe's task, needs and parameters, read from its source without running it."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from rvlab.recipes.literals import UNKNOWN_DEFAULT
from rvlab.recipes.signature import FUNCTIONS, REQUIRED, Parameter
from rvlab.recipes.source import Recipe

_NEEDS = re.compile(r"^Needs: (.+?)(?:\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class RecipeSummary:
    """A recipe in a few words.

    Args:
        task: Such as ``semantic segmentation``; None if it is not declared.
        description: The first line of the module's docstring, else of the docstring of
            ``get_config``.
        needs: The paragraph ``Needs:`` of the docstring: data and downloads.
        parameters: The parameters with their defaults, as in a call.
    """

    task: str | None
    description: str | None
    needs: str | None
    parameters: str


def describe_recipe(recipe: Recipe) -> RecipeSummary:
    """Summarize a recipe from its source.

    The task is read from the return annotation, such as ``SemanticSegmentationConfig``.
    """
    tree = ast.parse(recipe.source)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    function = next((functions[name] for name in FUNCTIONS if name in functions), None)
    texts = [ast.get_docstring(tree), ast.get_docstring(function) if function else None]
    doc = next(filter(None, texts), "")
    needs = _NEEDS.search(doc)
    return RecipeSummary(
        _task(function),
        doc.partition("\n")[0].rstrip(".") or None,
        " ".join(needs[1].split()).rstrip(".") if needs else None,
        ", ".join(map(format_parameter, recipe.signature.parameters.values())),
    )


def format_parameter(one: Parameter) -> str:
    """Return a parameter as in a signature: ``lr=0.01``, or ``raw_uri`` if it is required."""
    if one.default is REQUIRED:
        return one.name
    return f"{one.name}={'…' if one.default is UNKNOWN_DEFAULT else repr(one.default)}"


def _task(function: ast.FunctionDef | None) -> str | None:
    """Return the task in words for an annotation such as ``SemanticSegmentationConfig``."""
    if function is None or function.returns is None:
        return None
    found = re.fullmatch(r"(?:\w+\.)*([A-Z]\w+)Config", ast.unparse(function.returns))
    words = re.findall(r"[A-Z][a-z]+", found[1]) if found else []
    return " ".join(words).lower() if len(words) > 1 else None
