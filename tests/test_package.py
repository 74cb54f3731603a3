"""The package as a whole: what importing it costs, what it offers, what it asks to be installed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import rvlab

ROOT = Path(__file__).parents[1]
HEAVY = ["pandas", "matplotlib", "kfp", "rasterio", "torch", "s3fs", "obstore", "pyarrow"]
HEAVY += ["scipy", "pydantic", "rastervision", "numpy", "boto3", "fsspec", "mlflow"]


def fresh(code: str) -> str:
    """What code prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("statement", ["import rvlab", "import rvlab; dir(rvlab)"])
def test_importing_it_loads_nothing_heavy(statement: str) -> None:
    loaded = fresh(f"{statement}\nimport sys\nprint(*sorted(set({HEAVY}) & set(sys.modules)))")
    assert loaded == ""


def test_every_public_name_resolves_and_there_are_at_most_twelve() -> None:
    assert len(rvlab.__all__) <= 12
    assert sorted(rvlab.__all__) == dir(rvlab)
    names = fresh("import rvlab\nfor n in rvlab.__all__: print(n, getattr(rvlab, n) is not None)")
    assert names.splitlines() == [f"{name} True" for name in rvlab.__all__]
    assert fresh("from rvlab import *; print(Lab.__name__, grid.__name__)") == "Lab grid"


def test_a_name_that_it_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="No rvlab attribute lba"):
        rvlab.lba  # noqa: B018


def bounds(requirements: list[str]) -> dict[str, str]:
    """``{"numpy": "<3,>=1.26"}``: names as pip compares them, bounds in one order."""
    found = {}
    for text in requirements:
        name, bound = re.fullmatch(r"([A-Za-z0-9._-]+)(.*)", text.replace(" ", "")).groups()  # type: ignore[union-attr]
        found[re.sub(r"[-_.]+", "-", name).lower()] = ",".join(sorted(bound.split(",")))
    return found


def test_the_conda_environment_is_the_same_package_with_the_same_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = bounds(
        [*project["dependencies"], *(one for extra in extras.values() for one in extra)]
    )
    wanted["python"] = project["requires-python"]

    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    assert pip == [f"-e .[{','.join(extras)}]"]  # brings what conda-forge lacks
    conda = bounds([entry for entry in listed if isinstance(entry, str) and entry != "pip"])
    assert conda == {name: wanted.get(name) for name in conda}
    assert set(bounds(project["dependencies"])) - set(conda) <= {"arro3-core", "obstore"}


def test_no_bound_is_looser_than_what_was_locked() -> None:
    from packaging.requirements import Requirement
    from packaging.version import Version

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = dict(line.split("==") for line in lines if "==" in line)
    versions = {re.sub(r"[-_.]+", "-", n).lower(): v.split(";")[0] for n, v in locked.items()}
    for text in project["dependencies"]:
        one = Requirement(text)
        version = Version(versions[re.sub(r"[-_.]+", "-", one.name).lower()].strip())
        assert version in one.specifier, text
