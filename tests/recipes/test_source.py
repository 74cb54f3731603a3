"""Tests of finding recipes by shipped name, path, module or function."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rvlab.errors import SpecError
from rvlab.recipes import find_recipe, shipped_recipes

SOURCE = "LR = 1e-3\n\n\ndef get_config(runner, root_uri: str, lr: float = LR):\n    return None\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_towns.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "made_pkg"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "my_towns.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return "made_pkg.my_towns"


def test_every_shipped_recipe_is_found_by_its_name() -> None:
    names = shipped_recipes()
    assert {"neon_trees", "spacenet_vegas", "synthetic_town"} <= set(names)
    assert names == sorted(names)
    for name in names:
        recipe = find_recipe(name)
        assert recipe.name == name
        assert recipe.folder is None
        assert "root_uri" in recipe.signature.places


def test_file_is_found_by_its_path_and_read_unchanged(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    for way in (file, str(file), "my_towns.py", "./my_towns.py"):
        recipe = find_recipe(way)
        assert (recipe.name, recipe.source) == ("my_towns", SOURCE)
        assert Path(str(recipe.folder)) == file.parent.resolve()
        assert Path(str(recipe.file)) == file.resolve()
    assert recipe.sha256 == hashlib.sha256(SOURCE.encode()).hexdigest()
    assert recipe.signature.bind({})[0] == {"lr": 1e-3}


def test_path_from_home_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    assert find_recipe("~/my_towns.py").source == SOURCE


def test_file_may_start_with_a_byte_order_mark(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + SOURCE.encode())
    assert find_recipe(file).source == SOURCE


def test_module_is_found_by_its_dotted_name(module: str) -> None:
    found = find_recipe(module)
    assert (found.name, found.source, found.folder) == ("my_towns", SOURCE, None)
    assert Path(str(found.file)).parts[-2:] == ("made_pkg", "my_towns.py")


def test_raster_visions_own_example_is_found_without_importing_it() -> None:
    if importlib.util.find_spec("rastervision.pipeline") is None:
        pytest.skip("Raster Vision is not installed")
    code = """
import sys
from rvlab.recipes import find_recipe
recipe = find_recipe("rastervision.pytorch_backend.examples.semantic_segmentation.isprs_potsdam")
print(recipe.name, recipe.signature.parameters["batch_sz"].default)
print([name for name in sys.modules if name.startswith(("rastervision", "torch"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "isprs_potsdam 8\n[]\n", done.stderr


def test_function_of_a_module_resolves_to_its_file(module: str) -> None:
    function: Any = importlib.import_module(module).get_config
    found = find_recipe(function)
    assert (found.name, found.source) == ("my_towns", SOURCE)


def test_script_that_submits_its_own_function_is_not_the_recipe(tmp_path: Path) -> None:
    script = tmp_path / "submits.py"
    script.write_text(
        "import math\nfrom rvlab.recipes import find_recipe\nLR = 1e-3\n\n"
        "def get_config(runner, lr: float = LR):\n    return math.floor(lr)\n\n"
        "print(find_recipe(get_config).source)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line] == [
        "import math",
        "LR = 0.001",
        "def get_config(runner, lr: float = LR):",
        "    return math.floor(lr)",
    ]


def test_unknown_name_suggests_the_nearest_one_and_a_path() -> None:
    with pytest.raises(SpecError) as told:
        find_recipe("synthetic_twon")
    assert str(told.value) == (
        "Recipe 'synthetic_twon' not found. Did you mean 'synthetic_town' or "
        "'synthetic_town_detection' or 'synthetic_town_classification'? "
        "Give your own recipe by the path of its .py file."
    )
    with pytest.raises(SpecError, match=r"^Recipe 'zzz' not found\. There are '\w+', "):
        find_recipe("zzz")


def test_unknown_path_suggests_files_of_its_folder(file: Path) -> None:
    with pytest.raises(
        SpecError, match=r"^Recipe file '.*/my_twons\.py' not found\. Did you mean 'my_towns\.py'"
    ):
        find_recipe(file.parent / "my_twons.py")
    with pytest.raises(SpecError, match=r"^Recipe file '/nowhere/a\.py' not found\. There are n"):
        find_recipe("/nowhere/a.py")


def test_unreadable_file_is_reported(file: Path) -> None:
    with pytest.raises(SpecError, match=r"^The recipe file '.*' cannot be read: .*directory"):
        find_recipe(f"{file.parent}/")
    file.write_bytes(b"# caf\xe9\n" + SOURCE.encode())
    with pytest.raises(SpecError, match=r"^The recipe file '.*my_towns\.py' cannot be read: .*utf"):
        find_recipe(file)


@pytest.mark.parametrize(
    "name", ["rvlab.nothing", "no_such_pkg.x", "a..b", ".x", "os.path", "sys.x", "__main__.x"]
)
def test_missing_module_is_reported(name: str) -> None:
    with pytest.raises(
        SpecError, match=rf"^Module '{name}' not found by .*\. Give the path of the recipe's \.p"
    ):
        find_recipe(name)


def test_module_that_is_not_python_is_reported() -> None:
    with pytest.raises(SpecError, match=r"^The recipe file '.*' cannot be read: .*utf"):
        find_recipe("numpy.random.mtrand")


def test_module_without_get_config_is_reported() -> None:
    with pytest.raises(SpecError, match=r"^decoder has no get_config function\."):
        find_recipe("json.decoder")


def test_callable_without_source_is_rejected() -> None:
    with pytest.raises(
        SpecError, match=r"^functools\.partial\(.*\) is not a recipe\. Give a get_conf"
    ):
        find_recipe(functools.partial(print, 1))
    with pytest.raises(
        SpecError, match=r"is not a recipe\. Give a get_config function, a path or a sh"
    ):
        find_recipe(print)
