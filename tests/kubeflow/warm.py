"""A Python for pods with torch, Raster Vision and kfp already imported.

Each step of a pipeline is a separate process, and the imports take 8 s of CPU each time. The
command ``python`` that `warm` creates requests a fork of a process that has imported them, with the
arguments, variables, folder and streams of the caller. It forwards SIGTERM and exits with the
fork's status.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
server.sendall(asked)
fork = int.from_bytes(server.recv(8), "big")
signal.signal(signal.SIGTERM, lambda *_: os.kill(fork, signal.SIGTERM))
status = int.from_bytes(server.recv(8), "big", signed=True)
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


@contextlib.contextmanager
def warm(folder: Path, environ: dict[str, str]) -> Iterator[Path]:
    """Start the server and yield the path of the command; `environ` is the server's own."""
    address, command = folder / "socket", folder / "python"
    command.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    command.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", __name__, str(listener.fileno())],
        env={**os.environ, **environ},
        cwd=Path(__file__).parents[2],
        pass_fds=[listener.fileno()],
        start_new_session=True,
    )
    listener.close()
    try:
        yield command
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def serve(listener: socket.socket) -> None:
    """Answer each connection in a process of its own, until the server is stopped."""
    from rvlab.worker.threads import limit_threads

    limit_threads()
    import rastervision.pipeline.cli
    import rastervision.pytorch_backend  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _answer(connection)
            os._exit(0)
        connection.close()


def _answer(connection: socket.socket) -> None:
    """Run a command in a fork and send its process id, then its exit status."""
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    data = b""
    while len(data) < int.from_bytes(size, "big"):
        data += connection.recv(1 << 20)
    (option, module, *args), environ, folder = json.loads(data)
    fork = os.fork()
    if fork == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os._exit(_run(option, module, args, environ, folder))
    connection.sendall(fork.to_bytes(8, "big"))
    status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
    connection.sendall(status.to_bytes(8, "big", signed=True))


def _run(option: str, module: str, args: list[str], environ: dict[str, str], folder: str) -> int:
    """Return the exit status of ``python -m module args``."""
    assert option == "-m", option
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [module, *args]
    sys.path[0] = folder
    status: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as exc:
        status = exc.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:  # noqa: BLE001  the fork ends here
        sys.excepthook(*sys.exc_info())
        status = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return status if isinstance(status, int) else int(status is not None)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
