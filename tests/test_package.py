"""The package as a whole: import time, public names and dependencies."""

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
    """Return the output of code in a new process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("statement", ["import rvlab", "import rvlab; dir(rvlab)"])
def test_importing_rvlab_loads_no_heavy_packages(statement: str) -> None:
    loaded = fresh(f"{statement}\nimport sys\nprint(*sorted(set({HEAVY}) & set(sys.modules)))")
    assert loaded == ""


def test_at_most_twelve_public_names_exist_and_resolve() -> None:
    assert len(rvlab.__all__) <= 12
    assert sorted(rvlab.__all__) == dir(rvlab)
    names = fresh("import rvlab\nfor n in rvlab.__all__: print(n, getattr(rvlab, n) is not None)")
    assert names.splitlines() == [f"{name} True" for name in rvlab.__all__]
    assert fresh("from rvlab import *; print(Lab.__name__, grid.__name__)") == "Lab grid"


def test_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="No rvlab attribute lba"):
        rvlab.lba  # noqa: B018


def bounds(requirements: list[str]) -> dict[str, str]:
    """Return ``{"numpy": "<3,>=1.26"}`` with names as pip compares them and sorted bounds."""
    found = {}
    for text in requirements:
        name, bound = re.fullmatch(r"([A-Za-z0-9._-]+)(.*)", text.replace(" ", "")).groups()  # type: ignore[union-attr]
        found[re.sub(r"[-_.]+", "-", name).lower()] = ",".join(sorted(bound.split(",")))
    return found


def test_conda_environment_has_the_same_version_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = bounds(
        [*project["dependencies"], *(one for extra in extras.values() for one in extra)]
    )
    wanted["python"] = project["requires-python"]

    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    assert pip == [f"-e .[{','.join(extras)}]"]  # installs what conda-forge lacks
    conda = bounds([entry for entry in listed if isinstance(entry, str) and entry != "pip"])
    assert conda == {name: wanted.get(name) for name in conda}
    assert set(bounds(project["dependencies"])) - set(conda) <= {"arro3-core", "obstore"}


def test_locked_versions_satisfy_the_bounds() -> None:
    from packaging.requirements import Requirement
    from packaging.version import Version

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = dict(line.split("==") for line in lines if "==" in line)
    versions = {re.sub(r"[-_.]+", "-", n).lower(): v.split(";")[0] for n, v in locked.items()}
    for text in project["dependencies"]:
        requirement = Requirement(text)
        version = Version(versions[re.sub(r"[-_.]+", "-", requirement.name).lower()].strip())
        assert version in requirement.specifier, text
