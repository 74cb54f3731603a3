"""HTTP of the fake Kubeflow: its requests, and injected failures."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api

API = api.ApiClient()
GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14}


class Refused(Exception):
    """Kubeflow refuses the request."""

    def __init__(self, status: int, message: str, *, upload: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.upload = status, message, upload

    def body(self) -> dict[str, Any]:
        if self.upload:  # not part of the gRPC service, with another error format
            return {"error_message": self.message, "error_details": self.message}
        code = GRPC.get(self.status, 2)
        return plain(api.GoogleRpcStatus(code=code, message=self.message, details=[]))


@dataclass(frozen=True)
class Request:
    """A request to the fake."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


@dataclass
class Trouble:
    """A failure of requests whose method and path match, after some that succeed."""

    match: str
    skip: int = 0
    times: int = 1
    status: int | None = None
    message: str = "upstream"
    type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: str = ""

    def strikes(self, line: str) -> bool:
        if not re.search(self.match, line):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return self.times >= 0


def plain(model: Any) -> Any:
    """Return a model as JSON values, with Kubeflow's own names."""
    return API.sanitize_for_serialization(model)


class Answers(Protocol):
    """The server that answers the requests."""

    lock: threading.RLock
    requests: list[Request]
    troubles: list[Trouble]

    def answer(self, request: Request, authorization: str | None) -> Any:
        """Return the answer to a request; Refused on an error."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # send an answer in one packet; otherwise each takes 40 ms
    kubeflow: ClassVar[Answers]

    def do_GET(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/"):
            body = f"Content-Type: {kind}\r\n\r\n".encode() + body
        query = {k: v[-1] for k, v in parse_qs(address.query, keep_blank_values=True).items()}
        request = Request(self.command, address.path, query, body)
        line = f"{request.method} {request.path}"
        with self.kubeflow.lock:
            self.kubeflow.requests.append(request)
            trouble = next((t for t in self.kubeflow.troubles if t.strikes(line)), None)
        if trouble and trouble.drop != "after":
            if trouble.drop:
                return self._hang_up()
            assert trouble.status
            status = trouble.status
            if trouble.type == "application/json":
                text = json.dumps(Refused(status, trouble.message).body())
            else:
                text = trouble.message
            return self._send(status, text, trouble.type, trouble.headers)
        try:
            answer = self.kubeflow.answer(request, self.headers.get("Authorization"))
            with self.kubeflow.lock:
                status, found = 200, plain(answer)
        except Refused as exc:
            status, found = exc.status, exc.body()
        if trouble:
            return self._hang_up()
        return self._send(status, json.dumps(found), "application/json", {})

    def _send(self, status: int, text: str, kind: str, headers: Mapping[str, str]) -> None:
        data = text.encode()
        self.send_response(status, HTTPStatus(status).phrase)
        for name, value in {**headers, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def log_message(self, *_: object) -> None:
        pass
