"""Gateways in front of a real S3 server, and an issuer of temporary keys, in one process.

A process of its own, because GDAL does not release Python's lock while it writes.
"""

from __future__ import annotations

import datetime as dt
import http.client
import ipaddress
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rvlab.store.server import Server

HOP = ("connection", "transfer-encoding", "keep-alive", "content-length", "host")
DROPPED = (*HOP, "authorization", "x-amz-date", "x-amz-security-token", "expect")


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore lost connections."""


ISSUED = ("ASIAEXAMPLEEXAMPLE01", "a-temporary-secret-of-the-issuer", "a-temporary-session-token")
"""Access key, secret key and token that the issuer returns."""

VALID_S = 3600

Refusal = tuple[int, str] | None


def _without_token(_: str, headers: Mapping[str, str]) -> Refusal:
    if f"Credential={ISSUED[0]}/" not in headers.get("authorization", ""):
        return 403, "InvalidAccessKeyId"
    return None if headers.get("x-amz-security-token") == ISSUED[2] else (403, "InvalidToken")


def _without_payer(_: str, headers: Mapping[str, str]) -> Refusal:
    return None if headers.get("x-amz-request-payer") == "requester" else (403, "AccessDenied")


def _with_trailer(_: str, headers: Mapping[str, str]) -> Refusal:
    return (411, "MissingContentLength") if "x-amz-trailer" in headers else None


def _with_condition(method: str, headers: Mapping[str, str]) -> Refusal:
    has_condition = not {"if-none-match", "if-match"}.isdisjoint(headers)
    return (501, "NotImplemented") if method == "PUT" and has_condition else None


def _never(*_: Any) -> Refusal:
    return None


REFUSALS: dict[str, Callable[[str, Mapping[str, str]], Refusal]] = {
    "issued keys": _without_token,
    "requester pays": _without_payer,
    "no conditions": _with_condition,
    "ignores conditions": _never,
    "TLS": _never,
    "TLS without trailers": _with_trailer,
}
"""What each gateway refuses, by the method and the headers of a request, in lower case."""


def gateway_handler(target: str, keys: tuple[str, str], kind: str) -> type[BaseHTTPRequestHandler]:
    """Return a handler that checks requests, signs them anew and passes them on."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            body = self._body()
            headers = {name.lower(): value for name, value in self.headers.items()}
            refused = REFUSALS[kind](self.command, headers)
            if refused:
                status, code = refused
                data = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
                self._reply(status, [], b"" if self.command == "HEAD" else data, len(data))
            else:
                self._forward(headers, body)

        do_PUT = do_HEAD = do_DELETE = do_POST = do_GET  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def _forward(self, headers: dict[str, str], body: bytes) -> None:
            host = urlsplit(target).netloc
            dropped: tuple[str, ...] = DROPPED
            if kind == "ignores conditions":
                dropped = (*DROPPED, "if-none-match", "if-match")
            sent = {name: value for name, value in headers.items() if name not in dropped}
            request = AWSRequest(self.command, f"{target}{self.path}", headers=sent, data=body)
            S3SigV4Auth(Credentials(*keys), "s3", "us-east-1").add_auth(request)
            connection = http.client.HTTPConnection(host, timeout=30)
            connection.request(
                self.command, self.path, body=body, headers=dict(request.headers.items())
            )
            found = connection.getresponse()
            data = found.read()
            size = int(found.headers.get("Content-Length") or len(data))
            kept = [(name, v) for name, v in found.getheaders() if name.lower() not in HOP]
            connection.close()
            self._reply(found.status, kept, data, size)

        def _reply(
            self, status: int, headers: list[tuple[str, str]], data: bytes, size: int
        ) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if status not in (204, 304):
                self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(data)

    return Handler


class Issuer(BaseHTTPRequestHandler):
    """Issues temporary keys as STS, SSO, ECS and EC2 do."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        data = issued_text(self.path, body).encode()
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_GET  # noqa: N815


def issued_text(path: str, body: str) -> str:
    """Return the answer to a request for keys."""
    key, secret, token = ISSUED
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=VALID_S)
    text = f"{until:%Y-%m-%dT%H:%M:%SZ}"
    plain = {"AccessKeyId": key, "SecretAccessKey": secret, "Token": token, "Expiration": text}
    if path.startswith("/federation/credentials"):
        found = {"accessKeyId": key, "secretAccessKey": secret, "sessionToken": token}
        return json.dumps({"roleCredentials": found | {"expiration": until.timestamp() * 1000}})
    if path == "/container":
        return json.dumps(plain)
    if path.endswith("/security-credentials/"):
        return "role-of-this-machine"
    if "/security-credentials/" in path:
        return json.dumps(plain | {"Code": "Success", "Type": "AWS-HMAC"})
    if path.startswith("/latest/"):
        return "token-of-this-machine"
    action = parse_qs(body)["Action"][0]
    return (
        f"<{action}Response><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>"
        f"<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>"
        f"<Expiration>{text}</Expiration></Credentials></{action}Result></{action}Response>"
    )


def serve(handler: type[BaseHTTPRequestHandler], tls: tuple[Path, Path] | None) -> str:
    """Serve in a thread; return the endpoint."""
    server = Quiet(("127.0.0.1", 0), handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http{'s' * bool(tls)}://127.0.0.1:{server.server_address[1]}"


@contextmanager
def running_gateways(s3: Server, folder: Path) -> Iterator[dict[str, str]]:
    """Start all gateways and the issuer; yield their endpoints, and ``authority``: a path."""
    given = {"target": s3.endpoint, "keys": [s3.access_key, str(s3.secret_key)]}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.gateway", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(given) + "\n")
        process.stdin.flush()
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()  # ends it
        process.wait()
        process.stdout.close()


def main(folder: Path) -> None:
    given = json.loads(sys.stdin.readline())
    authority, *tls = make_authority(folder)
    found = {"authority": str(authority), "issuer": serve(Issuer, None)}
    for kind in REFUSALS:
        handler = gateway_handler(given["target"], tuple(given["keys"]), kind)
        found[kind] = serve(handler, (tls[0], tls[1]) if kind.startswith("TLS") else None)
    print(json.dumps(found), flush=True)
    sys.stdin.read()


def make_authority(folder: Path) -> tuple[Path, Path, Path]:
    """Make an authority of one's own; return its certificate, and a server's with its key."""
    key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = dt.datetime.now(dt.UTC)
    name, host = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("Own CA", "S3")
    )

    def certificate(subject: x509.Name, public: Any, *, is_authority: bool) -> x509.Certificate:
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            made = made.add_extension(x509.SubjectAlternativeName([local]), critical=False)
        return made.sign(key, hashes.SHA256())

    pem = serialization.Encoding.PEM
    paths = folder / "ca.pem", folder / "server.pem", folder / "key.pem"
    paths[0].write_bytes(certificate(name, key.public_key(), is_authority=True).public_bytes(pem))
    leaf = certificate(host, server_key.public_key(), is_authority=False)
    paths[1].write_bytes(leaf.public_bytes(pem))
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[2].write_bytes(server_key.private_bytes(pem, form, none))
    return paths


if __name__ == "__main__":
    main(Path(sys.argv[1]))
