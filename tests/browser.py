"""Fixtures of a browser and of JupyterLab, one of each per test process."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium; in CI on Debian it is installed from apt if missing."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if not (os.environ.get("CI") and os.getuid() == 0 and Path("/etc/debian_version").exists()):
            pytest.skip("no chromium is installed (with CI set, root on Debian gets one from apt)")
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*apt, "update"], env=quiet, check=True, capture_output=True)
        install = [
            *apt,
            "install",
            "-y",
            "--no-install-recommends",
            "chromium",
            "fonts-dejavu-core",
        ]
        subprocess.run(install, env=quiet, check=True, capture_output=True)
        found = shutil.which("chromium")
        assert found is not None
    return found


@dataclass(frozen=True)
class JupyterLab:
    """A server on 127.0.0.1."""

    url: str
    token: str
    folder: Path

    def notebook(self, name: str, *cells: str) -> str:
        """Write a notebook and return its URL."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(book, self.folder / f"{name}.ipynb")
        return f"{self.url}doc/tree/{name}.ipynb?token={self.token}"


@pytest.fixture(scope="session")
def jupyterlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterLab]:
    """JupyterLab with its own settings and folders."""
    with serve_jupyterlab(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@contextlib.contextmanager
def serve_jupyterlab(own: Path) -> Iterator[JupyterLab]:
    """Start JupyterLab with settings and notebooks in a folder, without requests for news."""
    token = secrets.token_hex(16)
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    env = {**os.environ, **{f"JUPYTER_{name}": str(own / name) for name in folders}}
    env |= {f"JUPYTERLAB_{name}_DIR": str(own / name) for name in ("SETTINGS", "WORKSPACES")}
    env |= {"IPYTHONDIR": str(own / "ipython"), "JUPYTER_TOKEN": token, "HOME": str(own)}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path[1:]])
    env.pop("MPLBACKEND", None)
    (own / "notebooks").mkdir()
    settings = own / "SETTINGS" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    args = [
        *("--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"),
        f"--ServerApp.root_dir={own / 'notebooks'}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with (own / "log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *args]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=own)
    try:
        while (info := _info(own / "RUNTIME_DIR", process, own / "log")) is None:
            time.sleep(0.2)
        yield JupyterLab(info["url"], token, own / "notebooks")
    finally:
        process.terminate()  # JupyterLab stops its kernels
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _info(folder: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any] | None:
    if process.poll() is not None:
        pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
    for file in folder.glob(f"jpserver-{process.pid}.json"):
        with contextlib.suppress(ValueError):  # the file is incomplete
            return dict(json.loads(file.read_text()))
    return None


@pytest.fixture(scope="session")
def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with its own profile."""
    pytest.importorskip("playwright.sync_api")
    with open_chromium(chromium, tmp_path_factory.mktemp("profile")) as context:
        yield context


@contextlib.contextmanager
def open_chromium(command: str, profile: Path, *, density: int = 1) -> Iterator[Any]:
    """Start Chromium and return its Playwright context.

    Args:
        command: Path of Chromium.
        profile: Folder of its profile.
        density: Pixels of the screen per pixel of the page.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        context = play.chromium.launch_persistent_context(
            profile,
            executable_path=command,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
            device_scale_factor=density,
        )
        context.set_default_timeout(0)  # pytest-timeout limits the whole test
        yield context
        context.close()
