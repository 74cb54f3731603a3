"""Recipes that were recorded before 0.1.0, with the names of that time."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rvlab.recipes.old_names import OLD_NAMES, PACKAGE, add_old_names

OLD = Path(__file__).parents[1] / "data" / "recipes_layout_0.zip"
SHIPPED = Path(importlib.import_module(PACKAGE).__path__[0])
SMALL = {"scene_px": 128, "chip_px": 64, "train_scenes": 1, "validation_scenes": 1, "epochs": 1}
TOWNS = ("synthetic_town", "synthetic_town_classification", "synthetic_town_detection")


def sources() -> dict[str, str]:
    with zipfile.ZipFile(OLD) as archive:
        return {Path(n).stem: archive.read(n).decode() for n in archive.namelist()}


def used_names(source: str) -> set[tuple[str, str]]:
    """Return each module of ``rvlab.recipes`` in a recipe, and the name that it uses of it."""
    tree = ast.parse(source)
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE
        for alias in node.names
    }
    return {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
    }


@pytest.mark.parametrize("name", sources())
def test_each_name_of_an_old_recipe_exists_today_or_is_added(name: str) -> None:
    found = used_names(sources()[name])
    assert len(found) > 5
    for module, attribute in found:
        present, names = OLD_NAMES.get(module, (module, {}))
        current = importlib.import_module(f"{PACKAGE}.{present}")
        assert hasattr(current, names.get(attribute, attribute)), (module, attribute)


@pytest.mark.parametrize("old", OLD_NAMES)
def test_present_names_of_old_ones_exist(old: str) -> None:
    present, names = OLD_NAMES[old]
    module = importlib.import_module(f"{PACKAGE}.{present}")
    assert [name for name in names.values() if not hasattr(module, name)] == []


@pytest.mark.parametrize("source", ["", "import numpy", f"from {PACKAGE} import models, data_dir"])
def test_nothing_is_added_for_a_recipe_with_present_names(source: str) -> None:
    assert add_old_names(source) == []
    assert f"{PACKAGE}.hub" not in sys.modules


STATEMENTS = f"""
from {PACKAGE}.old_names import add_old_names
source = '''
from {PACKAGE} import hub, values as v
from {PACKAGE}.place import folder, fill
import {PACKAGE}.town as town
'''
assert add_old_names(source) == ["hub", "place", "values", "town"], add_old_names(source)
exec(source)
from {PACKAGE} import data_dir, models, parse_values
assert hub.packed is models.external_model_config and hub.small_unet is models.small_unet
assert folder is data_dir.data_folder and fill is data_dir.make_missing
assert v.whole("n", "3", least=1) == 3
assert town.CLASSES == town.TOWN_CLASSES
assert add_old_names(source) == ["hub", "place", "values"]
"""


def test_each_form_of_import_finds_the_old_names() -> None:
    subprocess.run([sys.executable, "-c", STATEMENTS], check=True)


CONFIGURE = """
import json, sys
from dataclasses import replace
from pathlib import Path
from rvlab.model import Spec
from rvlab.worker.commands import save_config
from tests.worker.samples import made

out, folder, small = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
for path in sorted(folder.glob("*.py")):
    store, run = made(out / path.parent.name / path.stem, path.read_text())
    key = run.key("spec.json")
    spec = replace(Spec.from_record(store.get_json(key), key), params=small)
    save_config(store, run, spec, out)
    text = store.get(run.key("rv", "pipeline-config.json")).decode().replace(run.uri, "R")
    print("CONFIG", json.dumps(json.loads(text)))
"""


def test_old_recipes_build_the_configs_that_they_built_then(tmp_path: Path) -> None:
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    for name in TOWNS:
        (tmp_path / "old" / f"{name}.py").write_text(sources()[name])
        (tmp_path / "new" / f"{name}.py").write_text((SHIPPED / f"{name}.py").read_text())
    configs: dict[str, list[Any]] = {}
    for folder in ("new", "old"):
        arguments = [str(tmp_path), str(tmp_path / folder), json.dumps(SMALL)]
        done = subprocess.run(
            [sys.executable, "-c", CONFIGURE, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith("CONFIG ")]
        configs[folder] = [json.loads(line.partition(" ")[2]) for line in lines]
    assert len(configs["old"]) == len(TOWNS)
    assert configs["old"] == configs["new"]
