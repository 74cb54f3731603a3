"""Engines by name, with those of another distribution on the path."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rvlab import Lab
from rvlab.engines import engine_names, resolve_engine
from rvlab.engines.registry import GROUP, OWN_ENGINES, load_engine_class
from rvlab.errors import EngineError, SpecError
from tests.contracts.engine import EngineContract
from tests.engines import test_contract as contract_here
from tests.faults.cheap_step import SOURCE
from tests.frame.samples import Made
from tests.kubeflow import test_contract as contract_on_kubeflow

PLUGIN = """
from dataclasses import dataclass, field

from tests.faults.cheap_step import CheapEngine


@dataclass(frozen=True)
class NightEngine(CheapEngine):
    name: str = field(default="night", init=False)


@dataclass(frozen=True)
class ClusterEngine(CheapEngine):
    name: str = field(default="slurm", init=False)
    steady_heartbeat = False
"""

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "rvlab-night"
version = "1.0"

[project.entry-points."rvlab.engines"]
night = "rvlab_night:NightEngine"
slurm = "rvlab_night:ClusterEngine"
unlicensed = "rvlab_unlicensed:Engine"
local = "rvlab_night:NightEngine"
"""


def install(folder: Path, project: str, **modules: str) -> Path:
    """Install a distribution with pip into a folder of its own and return the folder."""
    source = folder / "source"
    source.mkdir(parents=True)
    (source / "pyproject.toml").write_text(project)
    for name, code in modules.items():
        (source / f"{name}.py").write_text(code)
    only = "\n[tool.hatch.build.targets.wheel]\ninclude = ['*.py']\n"
    (source / "pyproject.toml").write_text(project + only)
    target = folder / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    broken = "import licence_of_unlicensed"
    folder = tmp_path_factory.mktemp("plugin")
    return install(folder, PROJECT, rvlab_night=PLUGIN, rvlab_unlicensed=broken)


@pytest.fixture
def plugin(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))


def test_project_declares_the_engines_that_rvlab_finds_without_metadata() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == OWN_ENGINES


def test_contract_of_engines_runs_over_every_entry_point() -> None:
    modules = [contract_here, contract_on_kubeflow]
    found = [value for module in modules for value in vars(module).values()]
    tested = [one for one in found if isinstance(one, type) and issubclass(one, EngineContract)]
    names = {one.engine for one in tested if hasattr(one, "engine")}
    assert names == set(OWN_ENGINES)


@pytest.mark.parametrize("name", OWN_ENGINES)
def test_every_engine_has_its_name_and_says_whether_its_heartbeat_is_steady(name: str) -> None:
    engine = resolve_engine(name)
    assert engine.name == name
    assert engine.steady_heartbeat is (name != "kubeflow")


def test_engines_of_other_packages_are_listed_after_rvlabs_own(plugin: None) -> None:
    assert engine_names() == [*OWN_ENGINES, "night", "slurm", "unlicensed"]


def test_unknown_engine_lists_the_engines(plugin: None) -> None:
    with pytest.raises(SpecError) as caught:
        resolve_engine("sge")
    assert str(caught.value).startswith("Unknown engine 'sge'.")
    for name in engine_names():
        assert name in str(caught.value)
    with pytest.raises(SpecError, match=r"Did you mean 'night'\?"):
        resolve_engine("nigth")
    with pytest.raises(
        SpecError, match=r"4 is not an engine\. Use one of local, kubeflow, rehearse"
    ):
        resolve_engine(4)  # type: ignore[arg-type]


def test_package_cannot_replace_an_engine_of_rvlab(plugin: None) -> None:
    assert load_engine_class("local").__name__ == "LocalEngine"  # type: ignore[attr-defined]


def test_engine_that_cannot_be_imported_names_its_package(plugin: None) -> None:
    why = (
        r"The engine 'unlicensed' of rvlab-night \(rvlab_unlicensed:Engine\) cannot be imported: "
        r"ModuleNotFoundError: No module named 'licence_of_unlicensed'"
    )
    with pytest.raises(SpecError, match=why):
        resolve_engine("unlicensed")


def test_name_of_two_packages_names_both(
    plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = (
        PROJECT.partition("[project.entry")[0].replace("rvlab-night", "rvlab-dusk")
        + '[project.entry-points."rvlab.engines"]\nnight = "rvlab_dusk:Engine"\n'
    )
    monkeypatch.syspath_prepend(str(install(tmp_path, second, rvlab_dusk="Engine = None")))
    with pytest.raises(SpecError, match="2 installed packages declare an engine 'night'") as caught:
        resolve_engine("night")
    assert "rvlab-night (rvlab_night:NightEngine)" in str(caught.value)
    assert "rvlab-dusk (rvlab_dusk:Engine)" in str(caught.value)


def test_engine_of_another_package_runs_and_readers_need_not_have_it(
    plugin: None, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "cheap.py").write_text(SOURCE)
    lab = Lab(tmp_path / "store", "night")
    run = lab.submit(tmp_path / "cheap.py", value=0.5)
    assert lab.wait(run, progress=False).loc[run.id, "state"] == "succeeded"
    spec = lab.store.get_json(run.key("spec.json"))
    assert (spec["engine"], spec["steady_heartbeat"]) == ("night", True)
    monkeypatch.delitem(sys.modules, "rvlab_night")
    sys.path.remove(str(installed))
    assert lab.runs(run).loc[run.id, "engine"] == "night"
    with pytest.raises(SpecError, match="Unknown engine 'night'"):
        Lab(lab.store, "night")


@pytest.mark.parametrize(("steady", "state"), [(True, "lost"), (False, "running")])
def test_spec_says_when_silence_is_a_loss(tmp_path: Path, *, steady: bool, state: str) -> None:
    """The lab's own engine is another one and is not queried."""
    lab = Lab(tmp_path / "store")
    run = Made(lab.store).running(beat_ago_s=600, engine="night", steady_heartbeat=steady)
    assert lab.runs(run).loc[run.id, "state"] == state
    if steady:
        lab.delete(run, confirm=run.id)
        assert lab.runs().empty
        return
    with pytest.raises(SpecError, match="open the lab with engine='night' to delete it"):
        lab.delete(run, confirm=run.id)
    with pytest.raises(EngineError, match="belongs to the engine 'night', which knows its state"):
        lab.cancel(run)


def test_record_without_the_field_is_of_an_engine_with_gaps(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "store")
    run = Made(lab.store).running(beat_ago_s=600, engine="night")
    spec = lab.store.get_json(run.key("spec.json"))
    del spec["steady_heartbeat"]
    lab.store.put_json(run.key("spec.json"), spec)
    assert lab.runs(run).loc[run.id, "state"] == "running"
