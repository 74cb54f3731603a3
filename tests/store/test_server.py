from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import psutil
import pytest
from obstore.exceptions import PermissionDeniedError
from obstore.store import S3Store

from rvlab.errors import MissingExtra, ServerError
from rvlab.store import server
from rvlab.store.server import Server

STARTER = "import sys; from rvlab.store import server; print(server.start_server(sys.argv[1]).pid)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("server") / "a folder"  # missing, and with a space in its name
    yield home
    server.stop_server(home)


@pytest.fixture
def running(folder: Path) -> Server:
    return server.start_server(folder)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "other"
    with contextlib.suppress(ServerError):
        server.stop_server(tmp_path / "other")


def bucket(at: Server, **changed: Any) -> S3Store:
    options: dict[str, Any] = {
        "endpoint": at.endpoint,
        "region": at.region,
        "access_key_id": at.access_key,
        "secret_access_key": at.secret_key,
        "virtual_hosted_style_request": False,
        "client_options": {"allow_http": True},
        "retry_config": {"max_retries": 0},
    }
    return S3Store(at.bucket, **{**options, **changed})


def processes(home: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:3] == ["mini", f"-dir={home / 'data'}"]:
                found.append(process.pid)
    return found


def anonymous(at: Server, key: str = "") -> int:
    try:
        with urllib.request.urlopen(f"{at.endpoint}/{at.bucket}/{key}", timeout=60) as answer:  # noqa: S310  http
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def ask(port: int, path: str, context: ssl.SSLContext | None) -> bytes:
    """Return the answer of a port to a GET, empty if the connection is closed."""
    try:
        line = socket.create_connection(("127.0.0.1", port), timeout=5)
        with context.wrap_socket(line) if context else line as line:
            line.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
            return line.recv(100)
    except OSError:
        return b""


def test_a_running_server_is_found_by_later_processes(running: Server, folder: Path) -> None:
    assert server.start_server(folder) == running
    assert server.find_server(folder) == running
    child = subprocess.run(
        [sys.executable, "-c", STARTER, str(folder)], capture_output=True, text=True, check=True
    )
    assert int(child.stdout) == running.pid
    assert processes(folder) == [running.pid]


def test_a_folder_without_a_server_is_not_changed(tmp_path: Path) -> None:
    assert server.find_server(tmp_path / "none") is None
    assert server.stop_server(tmp_path / "none") is False
    assert server.stop_server(tmp_path) is False
    assert not list(tmp_path.iterdir())


def test_the_secret_is_in_one_private_file_only(running: Server, folder: Path) -> None:
    assert running.secret_key not in repr(running)
    assert running.secret_key not in " ".join(psutil.Process(running.pid).cmdline())
    assert running.secret_key not in (folder / "server.log").read_text()
    assert json.loads((folder / "server.json").read_text())["secret_key"] == running.secret_key
    assert mode(folder) == mode(folder / "data") == 0o700
    for name in ("server.json", "server.log", "internal.pem", "lock"):
        assert mode(folder / name) == 0o600, name


def test_only_requests_with_the_secret_are_accepted(running: Server, folder: Path) -> None:
    obstore.put(bucket(running), "guarded", b"treasure")
    with pytest.raises(PermissionDeniedError):
        obstore.get(bucket(running, secret_access_key="x" * 40), "guarded")
    assert anonymous(running) == anonymous(running, "guarded") == 403
    server.stop_server(folder)
    again = server.start_server(folder)
    assert anonymous(again) == anonymous(again, "guarded") == 403
    assert obstore.get(bucket(again), "guarded").bytes() == b"treasure"


def test_no_other_port_answers_without_the_certificate(running: Server, folder: Path) -> None:
    obstore.put(bucket(running), "stored", os.urandom(100_000))
    doors: set[tuple[str, int]] = set()
    while len(doors) < 10:  # the ports open one after another
        found = psutil.Process(running.pid).net_connections("tcp")
        doors = {door.laddr for door in found if door.status == psutil.CONN_LISTEN}
    assert {ip for ip, _ in doors} == {"127.0.0.1"}
    inner = {port for _, port in doors} - {int(running.endpoint.rsplit(":", 1)[1])}
    assert len(inner) == 9
    stranger = ssl._create_unverified_context()  # noqa: S323  the test
    for port in sorted(inner):
        for path in (
            f"/buckets/{running.bucket}/stored",
            f"/col/delete?collection={running.bucket}",
            "/dir/status",
        ):
            assert ask(port, path, stranger) == b""
            assert re.match(rb"$|HTTP/1.0 400|\x00", ask(port, path, None)), port
    # With the certificate they answer, so the certificate was what refused the stranger.
    owner = ssl._create_unverified_context()  # noqa: S323  the test
    owner.load_cert_chain(folder / "internal.pem")
    filer = json.loads((folder / "server.json").read_text())["ports"]["filer"]
    assert b"200 OK" in ask(filer, f"/buckets/{running.bucket}/stored", owner)
    assert len(obstore.get(bucket(running), "stored").bytes()) == 100_000


def test_a_killed_server_restarts_with_its_keys_and_objects(running: Server, folder: Path) -> None:
    bodies = {f"before/{n}": os.urandom(20_000) for n in range(20)}
    for key, body in bodies.items():
        obstore.put(bucket(running), key, body)
    psutil.Process(running.pid).kill()
    while server.find_server(folder):
        time.sleep(0.01)
    again = server.start_server(folder)
    assert again.endpoint == running.endpoint
    assert again.pid != running.pid
    assert (again.access_key, again.secret_key) == (running.access_key, running.secret_key)
    assert {key: obstore.get(bucket(again), key).bytes() for key in bodies} == bodies


def test_stop_leaves_only_the_data(running: Server, folder: Path) -> None:
    command = " ".join(psutil.Process(running.pid).cmdline())
    ports = re.findall(r"port(?:\.grpc)?=(\d{2,})", command)
    assert len(ports) == 10
    assert server.stop_server(folder) is True
    assert processes(folder) == []
    assert [p for n in ports for p in Path("/tmp").glob(f"seaweedfs-*-{n}.sock")] == []
    assert server.find_server(folder) is None
    assert server.stop_server(folder) is False
    assert any((folder / "data").iterdir())


def test_concurrent_starts_return_one_server(folder: Path) -> None:
    server.stop_server(folder)
    command = [sys.executable, "-c", STARTER, str(folder)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    pids = {int(starter.communicate()[0]) for starter in starters}
    assert len(pids) == 1
    assert processes(folder) == list(pids)  # which outlives the starters


def test_a_starter_that_is_killed_leaves_no_lock_and_no_second_server(folder: Path) -> None:
    server.stop_server(folder)
    with subprocess.Popen([sys.executable, "-c", STARTER, str(folder)]) as starter:
        while not (half := processes(folder)):
            assert starter.poll() is None
        starter.kill()
    found = server.start_server(folder)
    assert processes(folder) == [found.pid]
    assert half == [found.pid]
    assert server.find_server(folder) == found


def test_a_port_of_another_process_is_not_used(running: Server, folder: Path) -> None:
    obstore.put(bucket(running), "here", b"still")
    server.stop_server(folder)
    port = int(running.endpoint.rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", port)):
        moved = server.start_server(folder)
        assert moved.endpoint != running.endpoint
        assert moved.secret_key == running.secret_key
        assert obstore.get(bucket(moved), "here").bytes() == b"still"


def test_a_deleted_state_file_loses_only_the_keys(running: Server, folder: Path) -> None:
    obstore.put(bucket(running), "mine", b"yours")
    (folder / "server.json").unlink()
    assert server.find_server(folder) is None
    new = server.start_server(folder)
    assert new.secret_key != running.secret_key
    assert processes(folder) == [new.pid]
    assert obstore.get(bucket(new), "mine").bytes() == b"yours"


def test_another_folder_has_another_server(running: Server, folder: Path, other: Path) -> None:
    second = server.start_server(other)
    assert second.endpoint != running.endpoint
    assert second.secret_key != running.secret_key
    with pytest.raises(PermissionDeniedError):
        obstore.put(bucket(second, secret_access_key=running.secret_key), "a", b"")
    assert server.stop_server(other) is True
    assert server.find_server(folder) == running


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"access_key": "A", "secret_key": "hush',
        '{"name": "hush"}',
        '["hush"]',
        '{"access_key": "A", "secret_key": "hush", "ports": {"s3": 1}}',
        '{"access_key": "A", "secret_key": "hush", "ports": null}',
        '{"access_key": "A", "secret_key": "hush", "ports": {"s3": "1"}}',
    ],
)
def test_a_broken_state_file_is_named_with_a_way_to_fix_it(other: Path, text: str) -> None:
    other.mkdir()
    (other / "lock").touch()
    (other / "server.json").write_text(text)
    for act in (server.start_server, server.find_server):
        with pytest.raises(
            ServerError, match=r"server\.json was not written by.*delete .*start again"
        ) as at:
            act(other)
        assert "hush" not in str(at.value)
    assert server.stop_server(other) is False
    assert processes(other) == []


def test_a_server_that_does_not_start_shows_its_log_without_secrets(other: Path) -> None:
    (other / "data").mkdir(parents=True)
    (other / "lock").touch()
    (other / "data" / "filerldb2").write_text("not a database")
    with pytest.raises(
        ServerError, match=r"(?s)The S3 server in .*other.*server\.log, ends:\n.+"
    ) as at:
        server.start_server(other, timeout_s=8)
    keys = json.loads((other / "server.json").read_text())
    assert keys["secret_key"] not in str(at.value)
    assert keys["access_key"] not in str(at.value)
    assert "filerldb2" in str(at.value)
    assert processes(other) == []


def test_unsuitable_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ServerError, match="contains other files"):
        server.start_server(tmp_path)
    with pytest.raises(ServerError, match="cannot use"):
        server.start_server(tmp_path / "thesis.txt")
    with pytest.raises(ServerError, match="comma"):
        server.start_server(tmp_path / "a,b")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_missing_packages_and_platforms_are_named(
    other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cryptography", None)
        with pytest.raises(MissingExtra, match=r"pip install 'rvlab\[local\]', or use a folder"):
            server.start_server(other)

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "distribution", absent)
        with pytest.raises(MissingExtra, match=r"pip install 'rvlab\[local\]'"):
            server.start_server(other)
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        with pytest.raises(ServerError, match="needs Linux or macOS"):
            server.find_server("anywhere")
    assert processes(other) == []


def test_the_default_folder_is_in_the_home_of_rvlab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RVLAB_HOME", str(tmp_path))
    assert server.default_server_folder() == tmp_path / "s3"
    monkeypatch.delenv("RVLAB_HOME")
    assert server.default_server_folder().parts[-2:] == ("rvlab", "s3")
