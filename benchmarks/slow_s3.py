"""A proxy for an S3 server that adds a fixed latency to every request, and counts requests.

It runs between a client and the embedded server, in a separate process on 127.0.0.1. Each request
is delayed before it is forwarded, independently of other requests, as with a distant server.

    with delay_requests("http://127.0.0.1:8333", wait_s=0.02) as wire:
        ...  # S3 at wire.endpoint
        wire.take_counts()  # number of requests and bytes since the last call
        wire.take_requests()  # the requests since the last call
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
    """A running proxy and its endpoint."""

    endpoint: str

    def take_counts(self) -> tuple[int, int]:
        """Return the number of requests and of response body bytes since the last call."""
        with urlopen(f"{self.endpoint}/-/taken") as answer:  # noqa: S310  http
            found = json.load(answer)
        return found["requests"], found["bytes"]

    def take_requests(self) -> list[tuple[str, str, str]]:
        """Return method, target and ``Range`` of the requests since the last call, in order."""
        with urlopen(f"{self.endpoint}/-/seen") as answer:  # noqa: S310  http
            return [(method, target, span) for method, target, span in json.load(answer)]


@contextmanager
def delay_requests(endpoint: str, *, wait_s: float) -> Iterator[Wire]:
    """Start a proxy for a server, and stop it at the end.

    Args:
        endpoint: ``http://host:port`` of the server.
        wait_s: Latency to add to every request.
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


def _serve(endpoint: str, wait_s: float, port_pipe: Any) -> None:
    asyncio.run(_Forwarder(endpoint, wait_s).serve(port_pipe))


class _Forwarder:
    def __init__(self, endpoint: str, wait_s: float) -> None:
        parts = urlsplit(endpoint)
        self._host, self._port = parts.hostname, parts.port
        self._wait_s = wait_s
        self._requests = self._bytes = 0
        self._seen: deque[tuple[str, str, str]] = deque(maxlen=MOST_SEEN)

    async def serve(self, port_pipe: Any) -> None:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=CHUNK)
        port_pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    async def _client(self, near: Any, back: Any) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            far, onward = await asyncio.open_connection(self._host, self._port, limit=CHUNK)
            with closing(onward):
                while await self._one(near, back, far, onward):
                    pass
        back.close()

    async def _one(self, near: Any, back: Any, far: Any, onward: Any) -> bool:
        """Forward one request and its response; return False if the connection must be closed."""
        head = await near.readuntil(b"\r\n\r\n")
        if head.startswith(COUNTS):
            await self._respond(back, {"requests": self._requests, "bytes": self._bytes})
            self._requests = self._bytes = 0
            return True
        if head.startswith(WHICH):
            await self._respond(back, list(self._seen))
            self._seen.clear()
            return True
        self._requests += 1
        self._seen.append(_parse_request(head))
        await asyncio.sleep(self._wait_s)
        onward.write(head)
        await _body(head, near, onward)
        answer = await far.readuntil(b"\r\n\r\n")
        back.write(answer)
        empty = head.startswith(b"HEAD ") or answer.split(b" ", 2)[1] in (b"204", b"304")
        if not empty:
            size = await _body(answer, far, back)  # `+= await` would lose concurrent updates
            self._bytes += size
        await back.drain()
        return b"connection: close" not in answer.lower()

    async def _respond(self, back: Any, what: Any) -> None:
        text = json.dumps(what).encode()
        back.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        await back.drain()


def _parse_request(head: bytes) -> tuple[str, str, str]:
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
            raise ConnectionError("The peer closed the connection before the end of the body.")
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
