"""Names of modules and functions before 0.1.0, for recipes that were recorded then.

A recorded recipe is never changed, because its SHA-256 identifies it in the tables. So a worker
that runs such a recipe again adds the names that it imports.
"""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType

PACKAGE = "rvlab.recipes"

OLD_NAMES: dict[str, tuple[str, dict[str, str]]] = {
    "hub": ("models", {"pack": "zip_module", "packed": "external_model_config"}),
    "place": (
        "data_dir",
        {"folder": "data_folder", "names": "list_names", "put": "upload", "fill": "make_missing"},
    ),
    "values": (
        "parse_values",
        {
            "whole": "parse_int",
            "positive": "parse_positive",
            "share": "parse_fraction",
            "flag": "parse_flag",
            "one_of": "parse_choice",
            "chip_fits": "require_chip_fits",
        },
    ),
    "town": (
        "town",
        {
            "CLASSES": "TOWN_CLASSES",
            "COLORS": "TOWN_COLORS",
            "Flight": "Camera",
            "Drawn": "RenderedScene",
            "drawn": "render_scene",
            "scene": "render_image_and_labels",
        },
    ),
    "town_scenes": (
        "town_scenes",
        {
            "GROUPS": "TOWN_GROUPS",
            "LEAST_PX2": "MIN_BUILDING_PX2",
            "Files": "SceneFiles",
            "fill": "write_scenes",
            "draw": "write_scene_file",
            "drawn": "cached_scene",
        },
    ),
    "neon": (
        "neon",
        {
            "PACKAGE": "WHEEL",
            "Tile": "NeonTile",
            "files": "fetch_tile_files",
            "tile": "load_tile",
        },
    ),
}
"""Old module -> its present name, and a dict from old to present names of its content."""


def add_old_names(source: str) -> list[str]:
    """Add the old modules and functions that a recipe may import to `rvlab.recipes`.

    Args:
        source: The recipe. A module that it does not mention is not imported.

    Returns:
        The names of the modules to which something was added.
    """
    if PACKAGE not in source:
        return []
    package = importlib.import_module(PACKAGE)
    added = []
    for old, (present, names) in OLD_NAMES.items():
        if not re.search(rf"\b{old}\b", source):
            continue
        module = importlib.import_module(f"{PACKAGE}.{present}")
        if old != present:
            alias = ModuleType(f"{PACKAGE}.{old}")
            vars(alias).update({k: v for k, v in vars(module).items() if not k.startswith("__")})
            sys.modules[alias.__name__] = alias
            setattr(package, old, alias)
            module = alias
        before = set(vars(module))
        for name, current in names.items():
            vars(module).setdefault(name, getattr(module, current))
        added += [old] if old != present or set(vars(module)) != before else []
    return added
