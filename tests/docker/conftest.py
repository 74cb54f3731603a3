"""Fixtures: a Docker engine and the built images."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECRET = "not-for-any-layer-4f2a9c"
"""A secret in the environment during the build of the images."""

ENGINE = ("docker.io", "mmdebstrap")


@dataclass(frozen=True)
class Docker:
    """A docker command with the address of its engine."""

    command: str
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(
        self, *args: str, timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command, *args],
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def output(self, *args: str, timeout_s: float | None = None) -> str:
        done = self(*args, timeout_s=timeout_s)
        assert done.returncode == 0, f"docker {' '.join(args)}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def run(self, image: str, *args: str, timeout_s: float | None = None) -> str:
        """Return the output of a command in a container of an image."""
        return self.output("run", "--rm", "--network", "none", image, *args, timeout_s=timeout_s)

    def answers(self) -> bool:
        try:
            return self("info", timeout_s=60).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False


@dataclass(frozen=True)
class Images:
    """The names of the built images."""

    worker: str
    notebook: str


def cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "rvlab" / "docker"


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """The Docker engine of this machine; without one, CI starts Debian's for the session."""
    found = Docker(shutil.which("docker") or "docker")
    if found.answers():
        yield found
        return
    if not (os.environ.get("CI") and os.getuid() == 0 and Path("/etc/debian_version").exists()):
        pytest.skip("no Docker engine answers (with CI set, root on Debian gets one from apt)")
    if not (Path("/usr/sbin/dockerd").exists() and shutil.which("mmdebstrap")):
        _apt("update")
        _apt("install", "-y", "--no-install-recommends", *ENGINE)
        debians = Docker("/usr/bin/docker")
        if debians.answers():  # systemd has started it
            yield debians
            return
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock, _engine(cache() / "engine", lock.fileno()) as engine:
        yield engine


def _apt(*args: str) -> None:
    done = subprocess.run(
        ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *args],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"apt-get {' '.join(args)}\n{done.stdout[-3000:]}"


@contextlib.contextmanager
def _engine(data: Path, lock: int) -> Iterator[Docker]:
    fcntl.flock(lock, fcntl.LOCK_EX)  # one engine per data folder
    own = Path(tempfile.mkdtemp(prefix="rvlab-docker-"))
    socket = f"unix://{own}/docker.sock"
    args: list[str | Path] = [
        "--data-root",
        data,
        "--exec-root",
        own / "exec",
        "--pidfile",
        own / "pid",
    ]
    # Without a bridge and firewall rules, containers use the host's network or none.
    args += ["--host", socket, "--bridge=none", "--iptables=false"]
    with (own / "log").open("w") as log:
        process = subprocess.Popen(["/usr/sbin/dockerd", *args], stdout=log, stderr=log)
    engine = Docker("/usr/bin/docker", {"DOCKER_HOST": socket})
    try:
        while not engine.answers():
            if process.poll() is not None:
                pytest.fail(f"dockerd did not start:\n{(own / 'log').read_text()[-3000:]}")
            time.sleep(0.5)
        yield engine
    finally:
        process.terminate()
        process.wait(timeout=60)
        netns = own / "exec" / "netns" / "default"  # dockerd does not unmount it
        subprocess.run(["umount", netns], capture_output=True, check=False)
        shutil.rmtree(own, ignore_errors=True)


@pytest.fixture(scope="session")
def images(docker: Docker) -> Images:
    """Both images, built from this checkout unless they exist with the same hash."""
    tag = _hash()
    names = Images(f"rvlab-test-worker:{tag}", f"rvlab-test-notebook:{tag}")
    if all(docker("image", "inspect", n).returncode == 0 for n in (names.worker, names.notebook)):
        return names
    args = ["--prefix", "rvlab-test", "--tag", tag, *_sources(docker)]
    began = time.monotonic()
    _script(docker, "build.sh", *args)
    print(f"The images were built in {time.monotonic() - began:.0f} s.")
    listed = docker.output("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "rvlab-test-*")
    old = [n for n in listed.split() if not n.endswith(("base:bookworm", tag))]
    if old:
        docker("image", "rm", *old)
    return names


def _sources(docker: Docker) -> list[str]:
    """Return arguments of build.sh for the official base or, if unavailable, a local base."""
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    with contextlib.suppress(subprocess.TimeoutExpired):
        if docker("pull", "--quiet", defaults["BASE"], timeout_s=300).returncode == 0:
            return []
    if not (shutil.which("mmdebstrap") or shutil.which("debootstrap")) or os.getuid() != 0:
        pytest.skip(
            f"{defaults['BASE']} cannot be pulled, and building a base needs root and mmdebstrap"
        )
    if sys.version_info[:2] != (3, 11):
        pytest.skip("downloading the wheels for a local base needs Python 3.11")
    base = "rvlab-test-base:bookworm"
    if docker("image", "inspect", base).returncode != 0:
        _script(docker, "base.sh", base)
    args = ["--base", base, "--wheelhouse", str(cache() / "wheels")]
    try:
        urllib.request.urlopen(defaults["TORCH_INDEX"], timeout=10).close()  # noqa: S310  https
    except OSError:
        args += ["--torch-index", ""]
    return args


def _script(docker: Docker, name: str, *args: str) -> None:
    environ = {**os.environ, **docker.environ, "DOCKER": docker.command, "PYTHON": sys.executable}
    done = subprocess.run(
        [str(ROOT / "docker" / name), *args],
        env={**environ, "AWS_SECRET_ACCESS_KEY": SECRET, "JUPYTER_TOKEN": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def _hash() -> str:
    """Return a hash of all files of which an image consists."""
    named = ["pyproject.toml", "requirements.lock", "README.md", "LICENSE", ".dockerignore"]
    files = [ROOT / name for name in named]
    files += [p for p in (ROOT / "docker").iterdir() if p.is_file() and p.suffix != ".md"]
    files += [p for p in (ROOT / "rvlab").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
