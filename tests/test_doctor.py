"""Checks of this machine: Python, packages, Docker, GPU, disk and JupyterLab."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from rvlab.actions.check_machine import (
    check_disk,
    check_docker,
    check_jupyter,
    check_machine,
    check_packages,
    describe_gpu,
)
from rvlab.cli import main
from rvlab.model.check_result import CHECK_STATES, CheckResult


def write_distribution(folder: Path, *lines: str, python: str = ">=3.11") -> None:
    """Write the metadata of an installed package."""
    info = folder / "sample-1.0.dist-info"
    info.mkdir(parents=True)
    extras = {line.split("extra == ")[1].strip("'") for line in lines if "extra" in line}
    text = ["Metadata-Version: 2.1", "Name: sample", "Version: 1.0", f"Requires-Python: {python}"]
    text += [f"Provides-Extra: {one}" for one in sorted(extras)]
    text += [f"Requires-Dist: {line}" for line in lines]
    (info / "METADATA").write_text("\n".join(text) + "\n")


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def by_check(results: list[CheckResult]) -> dict[str, CheckResult]:
    return {one.check: one for one in results}


def test_packages_out_of_range_or_missing_fail_only_where_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(
        tmp_path,
        "numpy>=1",
        "pandas>=2",
        "no-such-package>=1; extra == 'train'",
        "numpy>=999; extra == 'plots'",
        "numpy>=1; extra == 'tables'",
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = by_check(check_packages([], "sample"))
    assert found["version"].state == found["client"].state == found["extra tables"].state == "ok"
    assert found["client"].detail == "2 packages in range"
    assert found["extra train"].state == "not needed"
    assert found["extra train"].detail == "without no-such-package"
    plots = found["extra plots"]
    assert plots.state == "failed"
    assert plots.detail == f"numpy {version('numpy')} is not >=999"
    assert plots.remedy == "pip install --upgrade 'sample[plots]'"
    found = by_check(check_packages(["train"], "sample"))
    assert found["extra train"].state == "failed"
    assert found["extra train"].detail == "no-such-package is not installed"


def test_unsupported_python_and_missing_metadata_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path, python="<3.11")
    monkeypatch.syspath_prepend(tmp_path)
    failure = by_check(check_packages([], "sample"))["version"]
    assert (failure.state, failure.remedy) == ("failed", "Use Python <3.11.")
    assert by_check(check_packages([], "never-installed"))["versions"].state == "not checked"


def test_docker_is_not_needed_unless_runs_need_an_image(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    assert check_docker(None, absent).state == "not needed"
    assert check_docker("rvlab:1", absent).state == "failed"
    dead = tmp_path / "dead"
    script(dead, "echo Cannot connect to the Docker daemon >&2; exit 1")
    assert check_docker(None, str(dead)).state == "not needed"
    failure = check_docker("rvlab:1", str(dead))
    assert (failure.state, failure.detail) == ("failed", "Cannot connect to the Docker daemon")
    alive = tmp_path / "alive"
    script(alive, 'if [ "$1" = version ]; then echo 27.1; exit; fi; [ "$3" = rvlab:1 ]')
    assert check_docker(None, str(alive)).detail == "server 27.1"
    assert check_docker("rvlab:1", str(alive)).state == "ok"
    missing = check_docker("rvlab:2", str(alive))
    assert (missing.state, missing.detail) == ("failed", "rvlab:2 is not on this machine")
    assert "docker pull rvlab:2" in missing.remedy


@pytest.mark.parametrize(
    ("cards", "cuda", "mps", "state"),
    [
        ("", [], False, "not needed"),
        ("NVIDIA A10", ["NVIDIA A10"], False, "ok"),
        ("NVIDIA A10", [], False, "failed"),
        ("", [], True, "ok"),
    ],
)
def test_a_gpu_that_torch_cannot_use_fails(
    cards: str, cuda: list[str], mps: bool, state: str
) -> None:
    result = describe_gpu(cards, {"torch": "2.6", "cuda": cuda, "mps": mps})
    assert result.state == state
    assert bool(result.remedy) == (state == "failed")


def test_a_full_disk_fails_with_the_variable_that_moves_the_folder() -> None:
    assert {one.state for one in check_disk(least=1)} == {"ok"}
    home, cache = check_disk(least=2**80)
    assert (home.state, cache.state) == ("failed", "failed")
    assert "$RVLAB_HOME" in home.remedy
    assert "$RVLAB_CACHE" in cache.remedy


def test_every_result_has_a_known_state_and_failures_have_a_remedy() -> None:
    results = [*check_machine("local", embedded=True), check_jupyter()]
    assert {one.state for one in results} <= set(CHECK_STATES)
    assert all(one.remedy for one in results if one.state == "failed")
    assert {"Python", "packages", "Docker", "GPU", "disk", "JupyterLab"} == {
        one.subject for one in results
    }


def test_doctor_reports_settings_that_cannot_be_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}/bin")
    assert main(["--store", "embeded", "doctor", "--json"]) == 1
    first, *others = json.loads(capsys.readouterr().out)
    assert (first["subject"], first["check"], first["state"]) == ("store", "open", "failed")
    assert "Did you mean 'embedded'?" in first["detail"]
    assert {"Python", "disk"} <= {one["subject"] for one in others}
    assert main(["--engine", "slurm", "doctor"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("failed       engine: settings")
    assert "-> Correct --engine" in out
