"""Checks of this machine before the first run: Python, packages, Docker, GPU, disk, JupyterLab."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rvlab.engines import Engine
from rvlab.model.check_result import CheckResult
from rvlab.store.local_folders import user_cache_dir, user_data_dir

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MIN_FREE_BYTES = 2**30
COMMAND_TIMEOUT_S = 60.0
ENGINE_EXTRAS = {"local": ("train",), "kubeflow": ("kubeflow",), "rehearse": ("train", "kubeflow")}
"""The extras that the runs of an engine need on this machine."""

_DEVELOPMENT = ("dev", "docs")
_GPU_SCRIPT = """
import json, torch
mps = getattr(torch.backends, "mps", None)
cuda = torch.cuda.is_available()
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
has_mps = bool(mps and mps.is_available())
print(json.dumps({"torch": torch.__version__, "cuda": names, "mps": has_mps}))
"""


def check_machine(engine: str, image: str | None = None, *, embedded: bool) -> list[CheckResult]:
    """Return the results of all checks of this machine.

    Args:
        engine: The engine's name, which decides what is needed.
        image: The image of the engine's steps, if they run in Docker on this machine.
        embedded: Whether the store is the embedded S3 server.
    """
    needed = {*ENGINE_EXTRAS.get(engine, ()), *(["local"] if embedded else [])}
    return [
        *check_packages(needed),
        check_docker(image),
        check_gpu(),
        *check_disk(),
        check_jupyter(),
    ]


def check_engine_machine(engine: Engine, *, embedded: bool) -> list[CheckResult]:
    """Return `check_machine` for an engine."""
    on_machine = getattr(engine, "docker", False)
    return check_machine(engine.name, engine.image if on_machine else None, embedded=embedded)


def check_packages(needed: Iterable[str], distribution: str = "rvlab") -> list[CheckResult]:
    """Check Python and the packages of the client and of each extra.

    Args:
        needed: The extras that must be complete; another one may be missing, but not outdated.
        distribution: The package whose requirements are checked.
    """
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    found = platform.python_version()
    try:
        about = metadata(distribution)
        lines = [Requirement(line) for line in requires(distribution) or []]
    except PackageNotFoundError:
        remedy = "Install rvlab with pip; now it is only on PYTHONPATH."
        state = "ok" if sys.version_info >= (3, 11) else "failed"
        return [
            CheckResult("Python", "version", state, found, remedy),
            CheckResult("packages", "versions", "not checked", "rvlab is not installed.", remedy),
        ]
    wanted = (about.get_all("Requires-Python") or [""])[0]
    fits = SpecifierSet(wanted).contains(found, prereleases=True)
    results = [
        CheckResult(
            "Python", "version", "ok" if fits else "failed", found, f"Use Python {wanted}."
        ),
        _check_requirements("client", _of_extra(lines, ""), distribution, is_needed=True),
    ]
    for extra in about.get_all("Provides-Extra") or []:
        if extra not in _DEVELOPMENT:
            packages = _of_extra(lines, extra)
            results.append(
                _check_requirements(extra, packages, distribution, is_needed=extra in needed)
            )
    return results


def _of_extra(lines: Iterable[Requirement], extra: str) -> list[Requirement]:
    """Return the requirements that an extra adds; those of the client for an empty name."""
    return [
        one
        for one in lines
        if (one.marker is None and not extra)
        or (
            (one.marker is not None and one.marker.evaluate({"extra": extra}))
            and (not extra or not one.marker.evaluate({"extra": ""}))
        )
    ]


def _check_requirements(
    name: str, packages: Iterable[Requirement], distribution: str, *, is_needed: bool
) -> CheckResult:
    present: list[str] = []
    missing: list[str] = []
    outdated: list[str] = []
    for one in packages:
        try:
            found = version(one.name)
        except PackageNotFoundError:
            missing.append(one.name)
            continue
        if one.specifier.contains(found, prereleases=True):
            present.append(one.name)
        else:
            outdated.append(f"{one.name} {found} is not {one.specifier}")
    extra = "" if name == "client" else f"[{name}]"
    remedy = f"pip install --upgrade '{distribution}{extra}'"
    check = "client" if name == "client" else f"extra {name}"
    if outdated or (missing and is_needed):
        problems = [*outdated, *(f"{one} is not installed" for one in missing if is_needed)]
        return CheckResult("packages", check, "failed", "; ".join(problems), remedy)
    if missing:
        return CheckResult("packages", check, "not needed", f"without {', '.join(missing)}", remedy)
    return CheckResult("packages", check, "ok", f"{len(present)} packages in range")


def check_docker(image: str | None = None, command: str = "docker") -> CheckResult:
    """Check Docker's command, its daemon, and an image.

    Args:
        image: The image that runs on this machine need; None if they need no Docker.
        command: Docker's command.
    """
    absent = "failed" if image else "not needed"
    if not shutil.which(command):
        remedy = "Install Docker; only Lab(engine=RehearseEngine(docker=True)) needs it here."
        return CheckResult("Docker", "command", absent, f"{command} was not found", remedy)
    done = _run([command, "version", "--format", "{{.Server.Version}}"])
    if done is None or done.returncode:
        remedy = "Start the Docker daemon, and add yourself to the group that may use it."
        detail = _last_line(done.stderr if done else "no answer in time")
        return CheckResult("Docker", "daemon", absent, detail, remedy)
    server = done.stdout.strip()
    if image is None:
        return CheckResult("Docker", "daemon", "ok", f"server {server}")
    shown = _run([command, "image", "inspect", image])
    if shown is None or shown.returncode:
        remedy = f"docker pull {image}, or build it: docs/install.md."
        return CheckResult("Docker", "image", "failed", f"{image} is not on this machine", remedy)
    return CheckResult("Docker", "image", "ok", f"{image}, server {server}")


def check_gpu() -> CheckResult:
    """Check whether torch can use a GPU of this machine; without a GPU, none is needed."""
    cards = _nvidia_cards()
    if find_spec("torch") is None:
        state = "not checked" if cards else "not needed"
        return CheckResult("GPU", "torch", state, "torch is not installed")
    done = _run([sys.executable, "-c", _GPU_SCRIPT])
    if done is None or done.returncode:
        detail = _last_line(done.stderr if done else "importing torch took too long")
        remedy = "Install torch again: docs/install.md."
        return CheckResult("GPU", "torch", "failed", detail, remedy)
    return describe_gpu(cards, json.loads(done.stdout.splitlines()[-1]))


def describe_gpu(cards: str, found: Mapping[str, object]) -> CheckResult:
    """Return the result of `check_gpu` from the cards that NVIDIA's driver and torch report."""
    names = found["cuda"]
    if isinstance(names, list) and names:
        return CheckResult("GPU", "torch", "ok", f"torch {found['torch']}: {', '.join(names)}")
    if found["mps"]:
        detail = f"torch {found['torch']}: Apple MPS, which Raster Vision does not use"
        return CheckResult("GPU", "torch", "ok", detail)
    if cards:
        detail = f"{cards}, but torch {found['torch']} cannot use it"
        remedy = "Install a torch with CUDA for your driver: docs/install.md."
        return CheckResult("GPU", "torch", "failed", detail, remedy)
    return CheckResult("GPU", "torch", "not needed", "no GPU: training uses the processor")


def _nvidia_cards() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    done = _run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return ", ".join(done.stdout.splitlines()) if done and not done.returncode else ""


def check_disk(least: int = MIN_FREE_BYTES) -> list[CheckResult]:
    """Check the free space of the folders of the queue, the embedded server and the cache.

    Args:
        least: Bytes that must be free.
    """
    results = []
    for name, folder, variable in (
        ("home", user_data_dir(), "RVLAB_HOME"),
        ("cache", user_cache_dir(), "RVLAB_CACHE"),
    ):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        detail = f"{free / 2**30:.1f} GiB free for {folder}"
        remedy = f"Free some space, or set ${variable} to another folder."
        state = "ok" if free >= least else "failed"
        results.append(CheckResult("disk", name, state, detail, remedy if state != "ok" else ""))
    return results


def check_jupyter() -> CheckResult:
    """Check the versions of JupyterLab and of the packages of the widgets."""
    found: dict[str, str] = {}
    for name in ("jupyterlab", "anywidget", "ipywidgets"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    detail = ", ".join(f"{name} {number}" for name, number in found.items())
    remedy = "pip install 'rvlab[local]'"
    if "anywidget" in found:
        return CheckResult("JupyterLab", "widgets", "ok", detail)
    if "jupyterlab" in found:
        detail += "; without anywidget, lab.watch and lab.viewer show nothing"
        return CheckResult("JupyterLab", "widgets", "failed", detail, remedy)
    return CheckResult("JupyterLab", "widgets", "not needed", "JupyterLab is not installed", remedy)


def _run(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a command; None if it cannot be started or does not answer in time."""
    try:
        return subprocess.run(  # noqa: S603  fixed commands, without a shell
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            cwd=Path.home() if Path.home().is_dir() else None,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
