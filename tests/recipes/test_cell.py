"""Tests of the conversion of a notebook's ``get_config`` to a self-contained file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

CELLS = {
    "imports": """
import json
import math as m
import xml.etree.ElementTree
import concurrent.futures
import numpy as np
from collections import OrderedDict as Ordered
from fractions import Fraction
from functools import reduce as fold
from numpy import sqrt
from os.path import join
from random import choice
from typing import Any, List, Literal, Optional

def get_config(runner, lr: float = 0.25, *, kind: Literal["a"] = "a", n: Optional[int] = None,
               more: List[Any] = []):
    tree = xml.etree.ElementTree.fromstring("<a b='c'/>")
    return [json.dumps(Ordered(x=lr)), m.floor(2.5), tree.get("b"), str(Fraction(1, 3)),
            fold(lambda a, b: a + b, [1, 2, 3]), join("a", "b"), float(sqrt(4)), choice([7]),
            len(concurrent.futures.__name__), int(np.int64(3)), kind, n, more]
""",
    "constants": """
LR, NAMES, NOTHING, OFFSETS = 1e-3, ["a", 'b"c'], None, {"x": [1, 2]}
SIZE, RAW, KEYS, TEXT = (256, 256), b"raw", {1: "one"}, "two\\nlines"
import numpy as np
STEP = np.float64(0.5)

def get_config(runner, lr: float = LR, text=TEXT):
    return [lr, NAMES, NOTHING, OFFSETS, list(SIZE), RAW.decode(), KEYS[1], text, float(STEP)]
""",
    "helpers": """
BASE = 2
def double(x):
    return BASE * x
def twice(f=double):
    def inner(x):
        return f(f(x))
    return inner
""",
    "helpers used": """
def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)
def even(n): return True if n == 0 else odd(n - 1)
def odd(n): return False if n == 0 else even(n - 1)
def get_config(runner, n=3):
    return [twice()(n), factorial(5), even(7), [double(x) for x in range(n)]]
""",
    "same names": """
import pandas as pd
model, data, lr = object(), pd.DataFrame({"a": [1]}), open(__import__("os").devnull)
from types import SimpleNamespace
def get_config(runner, data=1):
    lr = 3
    config = SimpleNamespace(model=data)
    return [config.model, lr]
""",
    "another name": """
def my_towns(runner, lr: float = 0.5):
    return lr
""",
    "postponed": """
from __future__ import annotations
def get_config(runner, lr: float = 0.5, where: NotThere | None = None):
    return lr
""",
    "decorated": """
from functools import cache
@cache
def slow(x):
    return x
""",
    "class": """
class Towns:
    n = 3
def get_config(runner):
    return Towns.n
""",
    "closure": """
def made(factor):
    def get_config(runner, n=1):
        return n * factor
    return get_config
closed = made(3)
""",
    "lambdas": """
get_lambda = lambda runner: 1
half = lambda x: x / 2
def uses_lambda(runner):
    return half(1)
""",
    "other": """
double_again = double
frame = pd.DataFrame({"a": [1]})
def uses_renamed(runner): return double_again(1)
def uses_frame(runner): return frame
def uses_decorated(runner): return slow(1)
""",
}

ASK = "from rvlab.recipes import find_recipe\nimport json as _json\n"


class Notebook:
    """A kernel that runs cells."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client

    def run(self, source: str) -> str:
        """Run a cell and return its output, or the last line of its exception."""
        cell = nbformat.v4.new_code_cell(source)
        self._client.nb.cells.append(cell)
        try:
            self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        except CellExecutionError as exc:
            return f"{exc.ename}: {exc.evalue}"
        return "".join(out.get("text", "") for out in cell.outputs)

    def recipe(self, function: str) -> str:
        """Return the source written for a function of the notebook, or the error."""
        return self.run(f"{ASK}print(find_recipe({function}).source)")


@pytest.fixture(scope="module")
def notebook() -> Iterator[Notebook]:
    client = NotebookClient(
        nbformat.v4.new_notebook(), kernel_name="python3", timeout=None, startup_timeout=1200
    )
    with client.setup_kernel():
        yield Notebook(client)


def alone(source: str, tmp_path: Path) -> Any:
    """Return the result of a source's ``get_config`` in a separate process."""
    path = tmp_path / "recipe.py"
    path.write_text(source)
    code = (
        "import json, runpy, sys; "
        "print(json.dumps(runpy.run_path(sys.argv[1])['get_config'](None)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{source}\n{done.stderr}"
    return json.loads(done.stdout)


def same(notebook: Notebook, function: str, tmp_path: Path) -> str:
    """Check that the written source returns what the cell does, and return the source."""
    here = json.loads(notebook.run(f"{ASK}print(_json.dumps({function}(None)))"))
    source = notebook.recipe(function)
    assert alone(source, tmp_path) == here
    return source


def test_imports_are_written_under_the_cells_names(notebook: Notebook, tmp_path: Path) -> None:
    assert notebook.run(CELLS["imports"]) == ""
    source = same(notebook, "get_config", tmp_path)
    for line in ("import json", "import math as m", "import xml.etree.ElementTree"):
        assert line in source.splitlines()
    assert "from collections import OrderedDict as Ordered" in source.splitlines()


def test_constants_are_written_with_their_current_values(
    notebook: Notebook, tmp_path: Path
) -> None:
    assert notebook.run(CELLS["constants"]) == ""
    source = same(notebook, "get_config", tmp_path)
    assert "LR = 0.001" in source.splitlines()
    notebook.run("LR = 2.5")
    assert "LR = 2.5" in notebook.recipe("get_config").splitlines()


def test_called_and_recursive_functions_are_included(notebook: Notebook, tmp_path: Path) -> None:
    assert notebook.run(CELLS["helpers"]) == ""
    assert notebook.run(CELLS["helpers used"]) == ""
    source = same(notebook, "get_config", tmp_path)
    assert source.count("def factorial") == source.count("def even") == 1
    assert source.index("def double") < source.index("def twice")


def test_attributes_and_locals_are_not_confused_with_globals(
    notebook: Notebook, tmp_path: Path
) -> None:
    assert notebook.run(CELLS["same names"]) == ""
    source = same(notebook, "get_config", tmp_path)
    assert source.splitlines()[0] == "from types import SimpleNamespace"
    assert "DataFrame" not in source


def test_function_of_another_name_gets_the_alias_get_config(
    notebook: Notebook, tmp_path: Path
) -> None:
    assert notebook.run(CELLS["another name"]) == ""
    source = notebook.recipe("my_towns")
    assert source.rstrip().endswith("get_config = my_towns")
    assert alone(source, tmp_path) == 0.5


def test_postponed_annotations_stay_postponed(notebook: Notebook, tmp_path: Path) -> None:
    assert notebook.run(CELLS["postponed"]) == ""
    same(notebook, "get_config", tmp_path)


def test_signature_of_a_cell_is_read_like_that_of_a_file(notebook: Notebook) -> None:
    notebook.run("LR = 0.125\ndef get_config(runner, root_uri, lr: float = LR): return lr")
    assert notebook.run(f"{ASK}print(find_recipe(get_config).signature.bind({{}})[0])") == (
        "{'lr': 0.125}\n"
    )
    told = notebook.run(f"{ASK}find_recipe(get_config).signature.bind({{'lrr': 1}})")
    assert told == "SpecError: cell has no parameter 'lrr'. Did you mean 'lr'?"


@pytest.mark.parametrize(
    ("cell", "function", "told"),
    [
        (
            "class",
            "get_config",
            "get_config uses Towns, which is defined in this notebook and cannot be written as "
            "code. Put the recipe in a .py file and give its path.",
        ),
        (
            "closure",
            "closed",
            "get_config uses factor from the function around it. Define it at the top of a cell.",
        ),
        (
            "lambdas",
            "get_lambda",
            "A lambda cannot be a recipe. Write it as: def get_config(runner, ...)",
        ),
        (
            "lambdas",
            "uses_lambda",
            "uses_lambda uses half, a lambda. Write it as: def half(...)",
        ),
    ],
)
def test_objects_without_source_are_rejected_with_a_solution(
    notebook: Notebook, cell: str, function: str, told: str
) -> None:
    assert notebook.run(CELLS[cell]) == ""
    assert notebook.recipe(function) == f"SpecError: {told}"


def test_objects_of_the_notebook_are_rejected_by_name(notebook: Notebook) -> None:
    for cell in ("helpers", "same names", "decorated", "other"):
        assert notebook.run(CELLS[cell]) == ""
    assert notebook.recipe("uses_renamed") == (
        "SpecError: uses_renamed uses double_again, another name of double. Use one name."
    )
    assert "the constant 'frame' is" in notebook.recipe("uses_frame")
    assert "a DataFrame, which JSON cannot hold" in notebook.recipe("uses_frame")
    assert "uses slow, which is defined in this notebook" in notebook.recipe("uses_decorated")
    assert "is not a recipe. Give a get_config function" in notebook.recipe("slow")
