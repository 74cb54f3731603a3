"""A wire to an S3 server that adds a fixed wait to every request, and counts what passes.

It stands between a client and the embedded server, as a process of its own, on 127.0.0.1. Each
request waits before it is handed on, however many are on their way, as a distant server's would.

    with slowed("http://127.0.0.1:8333", wait_s=0.02) as wire:
        ...  # S3 at wire.endpoint
        wire.taken()  # requests and bytes since the last call
        wire.seen()  # and which they were
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

CHUNK = 2**18
COUNTS, WHICH = b"GET /-/taken ", b"GET /-/seen "
MOST_SEEN = 500_000


@dataclass(frozen=True)
class Wire:
    """Where the wire's near end is."""

    endpoint: str

    def taken(self) -> tuple[int, int]:
        """Requests, and bytes of the bodies of their answers, since the last call."""
        with urlopen(f"{self.endpoint}/-/taken") as answer:  # noqa: S310  http
            found = json.load(answer)
        return found["requests"], found["bytes"]

    def seen(self) -> list[tuple[str, str, str]]:
        """Method, target and ``Range`` of the requests since the last call, in their order."""
        with urlopen(f"{self.endpoint}/-/seen") as answer:  # noqa: S310  http
            return [(method, target, span) for method, target, span in json.load(answer)]


@contextmanager
def slowed(endpoint: str, *, wait_s: float) -> Iterator[Wire]:
    """Lay a wire to a server.

    Args:
        endpoint: ``http://host:port`` of the server.
        wait_s: Added to every request.
    """
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=_serve, args=(endpoint, wait_s, far), daemon=True)
    process.start()
    try:
        yield Wire(f"http://127.0.0.1:{near.recv()}")
    finally:
        process.terminate()
        process.join()


def _serve(endpoint: str, wait_s: float, told: Any) -> None:
    asyncio.run(_Forwarder(endpoint, wait_s).serve(told))


class _Forwarder:
    def __init__(self, endpoint: str, wait_s: float) -> None:
        parts = urlsplit(endpoint)
        self._host, self._port = parts.hostname, parts.port
        self._wait_s = wait_s
        self._requests = self._bytes = 0
        self._seen: deque[tuple[str, str, str]] = deque(maxlen=MOST_SEEN)

    async def serve(self, told: Any) -> None:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=CHUNK)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    async def _client(self, near: Any, back: Any) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            far, onward = await asyncio.open_connection(self._host, self._port, limit=CHUNK)
            with closing(onward):
                while await self._one(near, back, far, onward):
                    pass
        back.close()

    async def _one(self, near: Any, back: Any, far: Any, onward: Any) -> bool:
        """One request and its answer; False if the connection is not to be used again."""
        head = await near.readuntil(b"\r\n\r\n")
        if head.startswith(COUNTS):
            await self._tell(back, {"requests": self._requests, "bytes": self._bytes})
            self._requests = self._bytes = 0
            return True
        if head.startswith(WHICH):
            await self._tell(back, list(self._seen))
            self._seen.clear()
            return True
        self._requests += 1
        self._seen.append(_asked(head))
        await asyncio.sleep(self._wait_s)
        onward.write(head)
        await _body(head, near, onward)
        answer = await far.readuntil(b"\r\n\r\n")
        back.write(answer)
        empty = head.startswith(b"HEAD ") or answer.split(b" ", 2)[1] in (b"204", b"304")
        if not empty:
            size = await _body(answer, far, back)  # not `+= await`, which loses what others count
            self._bytes += size
        await back.drain()
        return b"connection: close" not in answer.lower()

    async def _tell(self, back: Any, what: Any) -> None:
        text = json.dumps(what).encode()
        back.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        await back.drain()


def _asked(head: bytes) -> tuple[str, str, str]:
    first, *fields = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    spans = (line[6:].strip() for line in fields if line[:6].lower() == "range:")
    return method, target, next(spans, "")


async def _body(head: bytes, source: Any, target: Any) -> int:
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        return await _chunks(source, target)
    left = size = int(fields.get(b"content-length", 0))
    while left:
        part = await source.read(min(left, CHUNK))
        if not part:
            raise ConnectionError("The other side hung up.")
        target.write(part)
        await target.drain()
        left -= len(part)
    return size


async def _chunks(source: Any, target: Any) -> int:
    total = 0
    while True:
        line = await source.readline()
        size = int(line.split(b";")[0], 16)
        target.write(line + await source.readexactly(size + 2))
        await target.drain()
        total += size
        if not size:
            return total
