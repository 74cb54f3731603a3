"""The embedded S3 server: SeaweedFS on this computer, with all its files in one folder.

``start_server`` starts it, ``find_server`` finds it from any process, ``stop_server`` stops it and
preserves the data. It outlives the notebook that started it. The folder, readable by its owner
only, holds::

    server.json     ports, keys and process id
    lock            locked while the server is started or stopped; marks the folder as rvlab's
    bucket          the name of its bucket
    server.log      output since its start; server.log.old has the output of the start before
    internal.pem    certificate and key of its internal ports, new at each start
    data/           the objects

Access: every port listens on 127.0.0.1 only. The S3 port accepts requests that are signed with the
keys in ``server.json``, which are created once per folder. SeaweedFS has nine more ports, and by
default **they require no authentication**: the filer's serves every object, and one GET to the
master's deletes a bucket. So each is started with mutual TLS and accepts only holders of a
certificate that SeaweedFS alone has. This costs a fifth more CPU. Remaining risk: S3 traffic on
127.0.0.1 is not encrypted, and any process that can read the owner's files can read all objects.
Where that is not acceptable, use a folder as the store.
"""

from __future__ import annotations

import contextlib
import hmac
import http.client
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from rvlab.errors import ServerError
from rvlab.store import _seaweedfs
from rvlab.store.access import HiddenStr
from rvlab.store.addresses import trust_embedded_server
from rvlab.store.local_folders import user_data_dir


@dataclass(frozen=True)
class Server:
    """A running server: its address and its keys."""

    folder: Path
    endpoint: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    pid: int
    region: str = "us-east-1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "secret_key", HiddenStr(self.secret_key))

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _restore, (self.folder, self.endpoint, self.bucket, self.pid, self.region)

    def __copy__(self) -> Server:
        return self

    def __deepcopy__(self, _: object) -> Server:
        return self


@dataclass(frozen=True)
class _State:
    """The content of ``server.json``."""

    access_key: str
    secret_key: str = field(repr=False)
    ports: dict[str, int]
    pid: int = 0
    schema: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.secret_key, str):  # `_read_state` checks the content of the file
            object.__setattr__(self, "secret_key", HiddenStr(self.secret_key))

    def server(self, home: Path, pid: int) -> Server:
        endpoint = f"http://127.0.0.1:{self.ports['s3']}"
        trust_embedded_server(endpoint)
        return Server(home, endpoint, _bucket_name(home), self.access_key, self.secret_key, pid)


def default_server_folder() -> Path:
    """Return the folder ``s3`` in rvlab's home."""
    return user_data_dir() / "s3"


def start_server(folder: str | Path | None = None, *, timeout_s: float = 120) -> Server:
    """Start the folder's server, or return the one that runs.

    Concurrent calls from any number of processes return the same server. A server that was
    stopped or killed restarts with its data, its keys and, if they are free, its ports.

    Args:
        folder: Folder of all its files, created if missing; None for ``default_server_folder()``.
        timeout_s: Seconds until its bucket must answer. Two are usual, more on a busy machine.

    Raises:
        ServerError: If it does not start (the message ends with the last lines of its log), if
            ``server.json`` is invalid, if the folder cannot be used (it has other files, a comma in
            its path, or is locked for too long), or on Windows.
        MissingExtra: If SeaweedFS is not installed.
    """
    home, deadline = _server_folder(folder), time.monotonic() + timeout_s
    _seaweedfs.binary_path()
    _prepare_folder(home)
    with _lock(home, deadline):
        state = _read_state(home)
        process = _seaweedfs.find_process(home, likely_pid=state.pid if state else 0)
        if process and state:
            server = state.server(home, process.pid)
            _wait_until_ready(server, deadline)
            # The process that started it was killed before writing the pid.
            if state.pid != process.pid:
                _write_state(home, replace(state, pid=process.pid))
            return server
        if process:  # server.json was deleted, so its keys are lost
            _seaweedfs.stop_process(process)
        if state is None:
            access_key = "RVLAB" + secrets.token_hex(8).upper()
            state = _State(access_key, secrets.token_urlsafe(30), ports={})
        state = replace(state, ports=_seaweedfs.choose_ports(state.ports))
        try:
            return _launch(home, state, deadline)
        except ServerError:
            # Another program may have taken a port between the check and the server's start.
            again = replace(state, ports=_seaweedfs.choose_ports(state.ports))
            if again == state:
                raise
            return _launch(home, again, deadline)


def find_server(folder: str | Path | None = None) -> Server | None:
    """Return the folder's server if it runs and accepts its keys, else None.

    Raises:
        ServerError: If ``server.json`` is invalid, or on Windows.
    """
    home = _server_folder(folder)
    state = _read_state(home)
    process = _seaweedfs.find_process(home, likely_pid=state.pid) if state else None
    if state is None or process is None:
        return None
    server = state.server(home, process.pid)
    return server if _head_status(server) == 200 else None


def stop_server(folder: str | Path | None = None, *, timeout_s: float = 20) -> bool:
    """Stop the folder's server; its data and keys remain.

    Args:
        folder: As in ``start_server``.
        timeout_s: Seconds to wait for another process that is starting or stopping it. Stopping
            takes two more, or five if it must be killed, which loses no acknowledged write.

    Returns:
        True if a server was stopped, False if no server ran.

    Raises:
        ServerError: If it cannot be stopped, or on Windows.
    """
    home = _server_folder(folder)
    if not (home / "lock").exists():
        return False
    with _lock(home, time.monotonic() + timeout_s):
        process = _seaweedfs.find_process(home)
        if process:
            _seaweedfs.stop_process(process)
        return process is not None


def _restore(folder: Path, endpoint: str, bucket: str, pid: int, region: str) -> Server:
    """Restore an unpickled server; its keys are read from its folder, empty if deleted."""
    state = _read_state(folder)
    keys = (state.access_key, state.secret_key) if state else ("", "")
    return Server(folder, endpoint, bucket, *keys, pid, region)


def _server_folder(folder: str | Path | None) -> Path:
    if os.name == "nt":
        raise ServerError("The embedded S3 server needs Linux or macOS. Use a folder as the store.")
    home = (Path(folder) if folder is not None else default_server_folder()).expanduser().resolve()
    if "," in str(home):  # SeaweedFS would parse it as two folders
        raise ServerError(
            f"The S3 server's folder {str(home)!r} contains a comma. Choose another name."
        )
    return home


def _prepare_folder(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (home / "lock").exists() and any(home.iterdir()):
            raise ServerError(f"{home} contains other files. Give the S3 server an empty folder.")
        home.chmod(0o700)
        (home / "data").mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise ServerError(f"The S3 server cannot use {home}: {exc}. Choose another.") from exc


@contextlib.contextmanager
def _lock(home: Path, deadline: float) -> Iterator[None]:
    """Hold the folder's file lock; the system releases it when the process dies."""
    import fcntl

    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                if time.monotonic() > deadline:
                    message = "Another process is still starting or stopping the S3 server in"
                    raise ServerError(f"{message} {home}. Wait and try again.") from exc
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _read_state(home: Path) -> _State | None:
    path = home / "server.json"
    try:
        state = _State(**json.loads(path.read_bytes()))
        texts = (state.access_key, state.secret_key)
        numbers = [state.pid, *(state.ports[part] for part in _seaweedfs.COMPONENTS)]
        if state.schema != 1 or not all(isinstance(text, str) and text for text in texts):
            raise ValueError("wrong schema or keys")
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError("a port or the pid is not a number")
        return state
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError) as exc:
        # Without the exception's text: a TypeError quotes its argument, which may be part of a key.
        raise ServerError(
            f"{path} was not written by rvlab's S3 server ({type(exc).__name__}). The objects in "
            f"{home / 'data'} are not affected. Stop the server (`rvlab down`), delete {path}, "
            "and start again: it creates new keys for the same data."
        ) from None


def _bucket_name(home: Path) -> str:
    """Return the folder's own bucket name; runs of two servers never have the same URI.

    It is stored apart from ``server.json``, which may be lost without losing the data.
    """
    path = home / "bucket"
    if not path.exists():
        _seaweedfs.write_private(path, f"rvlab-{secrets.token_hex(3)}".encode())
    return path.read_text()


def _write_state(home: Path, state: _State) -> None:
    _seaweedfs.write_private(home / "server.json", json.dumps(asdict(state)).encode())


def _launch(home: Path, state: _State, deadline: float) -> Server:
    _write_state(home, state)
    keys = {"access_key": state.access_key, "secret_key": state.secret_key}
    server = state.server(
        home, _seaweedfs.spawn(home, state.ports, bucket=_bucket_name(home), **keys)
    )
    try:
        _wait_until_ready(server, deadline)
        if _head_status(server, signed=False) == 200:
            raise ServerError(f"{server.endpoint} answers unsigned requests, so it was stopped.")
    except BaseException:
        process = _seaweedfs.find_process(home, likely_pid=server.pid)
        if process:
            _seaweedfs.stop_process(process)
        raise
    _write_state(home, replace(state, pid=server.pid))
    return server


def _wait_until_ready(server: Server, deadline: float) -> None:
    """Wait until the bucket answers; the health endpoint answers before the bucket exists."""
    while _head_status(server) != 200:
        alive = _seaweedfs.is_alive(server.pid)
        if alive and time.monotonic() < deadline:
            time.sleep(0.05)
            continue
        log = server.folder / "server.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        text = text.partition("\ngoroutine ")[0]  # omit goroutine traces
        for secret in (server.secret_key, server.access_key):
            text = text.replace(secret, "***")
        tail = "\n".join(line[:300] for line in text.splitlines()[-15:])
        what = f"runs (pid {server.pid}) but does not answer" if alive else "ended as it started"
        todo = "Stop it (`rvlab down`) and start again" if alive else "See below"
        raise ServerError(
            f"The S3 server in {server.folder} {what}. {todo}. Its log, {log}, ends:\n{tail}"
        )


def _head_status(server: Server, *, signed: bool = True) -> int:
    """Return the status of a HEAD of the bucket, 0 without an answer.

    Signs with signature version 4 directly, without a client library or a proxy from the
    environment in between.
    """
    host = server.endpoint.removeprefix("http://")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = [stamp[:8], server.region, "s3", "aws4_request"]
    sent = {"host": host, "x-amz-content-sha256": sha256().hexdigest(), "x-amz-date": stamp}
    lines = "".join(f"{name}:{value}\n" for name, value in sent.items())
    request = f"HEAD\n/{server.bucket}\n\n{lines}\n{';'.join(sent)}\n{sha256().hexdigest()}"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{'/'.join(scope)}\n{sha256(request.encode()).hexdigest()}"
    signing_key = b"AWS4" + server.secret_key.encode()
    for word in (*scope, text):
        signing_key = hmac.digest(signing_key, word.encode(), "sha256")
    if signed:
        who = f"AWS4-HMAC-SHA256 Credential={server.access_key}/{'/'.join(scope)}"
        sent["Authorization"] = f"{who}, SignedHeaders=host;x-amz-content-sha256;x-amz-date"
        sent["Authorization"] += f", Signature={signing_key.hex()}"
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("HEAD", f"/{server.bucket}", headers=sent)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
