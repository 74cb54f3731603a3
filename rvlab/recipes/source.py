"""Lookup of recipes: by shipped name, file, module, or function in a notebook cell."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from rvlab.errors import SpecError, did_you_mean
from rvlab.recipes.cell import cell_source
from rvlab.recipes.signature import FUNCTIONS, Signature, signature
from rvlab.store.addresses import path_exists

RecipeRef = str | Path | Callable[..., Any]


@dataclass(frozen=True)
class Recipe:
    """A recipe's name and source.

    Args:
        name: The file's stem, or the shipped name.
        source: Python with Raster Vision's ``get_config(runner, **params)``.
        folder: The folder of its file, from which it can import; None for a module, a shipped
            recipe or a cell.
        file: The path of its file; None for a shipped recipe or a cell.
    """

    name: str
    source: str
    folder: str | None = None
    file: str | None = None

    @cached_property
    def signature(self) -> Signature:
        """The parameters, read without running the recipe."""
        return signature(self.source, self.name)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the source, in hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()


def shipped_recipes() -> list[str]:
    """List the names of the recipes that are shipped with rvlab."""
    folder = Path(__file__).parent
    public = (p for p in folder.glob("*.py") if not p.stem.startswith("_"))
    return sorted(p.stem for p in public if "\ndef get_config(" in p.read_text())


def own_recipe(name: str) -> Recipe:
    """Return a recipe that a method of `rvlab.Lab` submits; it is not listed for users."""
    return Recipe(name, _read_source(Path(__file__).parent / f"_{name}.py"))


def find_recipe(recipe: RecipeRef) -> Recipe:
    """Find a recipe and read its signature.

    Args:
        recipe: A shipped name such as ``"synthetic_town"``; the path of a ``.py`` file as
            ``rastervision run`` takes it; a module's dotted name; or a ``get_config`` function,
            also one that is defined in a notebook cell.

    Raises:
        SpecError: If the recipe does not exist, or has no ``get_config``.
    """
    found = _recipe_of_function(recipe) if callable(recipe) else _recipe_of_text(str(recipe))
    found.signature  # noqa: B018  raise for an invalid recipe here, not at its first use
    return found


def _recipe_of_function(function: Callable[..., Any]) -> Recipe:
    module = inspect.getmodule(function)
    name = getattr(function, "__name__", type(function).__name__)
    path = getattr(module, "__file__", None)
    # A script that submits its own get_config is not the recipe: running it would submit again.
    script = getattr(function, "__module__", None) == "__main__"
    if path and name in FUNCTIONS and path.endswith(".py") and not script:
        return _recipe_of_file(Path(path))
    return Recipe(getattr(function, "recipe_name", "cell"), cell_source(function))


def _recipe_of_text(text: str) -> Recipe:
    if text in shipped_recipes():
        return Recipe(text, _read_source(Path(__file__).parent / f"{text}.py"))
    if text.endswith(".py") or "/" in text:
        return _recipe_of_file(Path(text).expanduser())
    if "." in text:
        return _recipe_of_module(text)
    raise SpecError(
        f"Recipe {text!r} not found. {did_you_mean(text, shipped_recipes())} "
        "Give your own recipe by the path of its .py file."
    )


def _recipe_of_file(path: Path) -> Recipe:
    if not path_exists(path):
        beside = path.parent.glob("*.py") if path.parent.is_dir() else ()
        near = did_you_mean(path.name, [p.name for p in beside])
        raise SpecError(f"Recipe file {str(path)!r} not found. {near}")
    resolved = path.resolve()
    return Recipe(path.stem, _read_source(path), str(resolved.parent), str(resolved))


def _recipe_of_module(name: str) -> Recipe:
    spec = _module_spec(name)
    if spec is None or spec.origin is None or not spec.has_location:
        raise SpecError(
            f"Module {name!r} not found by {sys.executable}. "
            "Give the path of the recipe's .py file, or install the package it is in."
        )
    file = str(Path(spec.origin).absolute())
    return Recipe(name.rsplit(".", 1)[-1], _read_source(Path(spec.origin)), file=file)


def _module_spec(name: str) -> ModuleSpec | None:
    """Find a module without importing its parent packages, which may load torch (20 s)."""
    first, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    for n, _ in enumerate(rest, start=2):
        if spec is None or spec.submodule_search_locations is None:
            return None
        dotted = ".".join(name.split(".")[:n])
        spec = PathFinder.find_spec(dotted, list(spec.submodule_search_locations))
    return spec


def _read_source(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError(f"The recipe file {str(path)!r} cannot be read: {exc}.") from exc
