"""Servers for tests of S3 settings: gateways in front of a real S3 server, and an issuer of keys."""

from __future__ import annotations

import datetime as dt
import http.client
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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

Refusal = tuple[int, str]


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore lost connections."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], tls: tuple[Path, Path] | None) -> Iterator[str]:
    server = Quiet(("127.0.0.1", 0), handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http{'s' * bool(tls)}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Gateway:
    """A gateway that checks each request, signs it anew and passes it on to the real server.

    Attributes:
        server: The real server.
        refuse: Returns the status and the code of a refusal, or None; called with the method and
            the headers, in lower case.
        resign: Whether to sign requests with the real server's keys.
        seen: The requests: method, path and headers.
    """

    server: Server
    refuse: Callable[[str, Mapping[str, str]], Refusal | None] = lambda method, headers: None
    resign: bool = True
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @contextmanager
    def running(self, tls: tuple[Path, Path] | None = None) -> Iterator[str]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                if self.headers.get("Expect", "").lower() == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                gateway.seen.append((self.command, self.path, headers))
                refused = gateway.refuse(self.command, headers)
                if refused:
                    status, code = refused
                    data = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
                    self._reply(status, [], b"" if self.command == "HEAD" else data, len(data))
                else:
                    self._forward(headers, body)

            do_PUT = do_HEAD = do_DELETE = do_POST = do_GET

            def _forward(self, headers: dict[str, str], body: bytes) -> None:
                target = urlsplit(gateway.server.endpoint).netloc
                sent = {name: value for name, value in headers.items() if name not in DROPPED}
                if gateway.resign and "authorization" in headers:
                    keys = Credentials(gateway.server.access_key, str(gateway.server.secret_key))
                    url = f"http://{target}{self.path}"
                    request = AWSRequest(self.command, url, headers=sent, data=body)
                    S3SigV4Auth(keys, "s3", "us-east-1").add_auth(request)
                    sent = dict(request.headers.items())
                connection = http.client.HTTPConnection(target, timeout=30)
                connection.request(self.command, self.path, body=body, headers=sent)
                found = connection.getresponse()
                data = found.read()
                size = int(found.headers.get("Content-Length") or len(data))
                kept = [(n, v) for n, v in found.getheaders() if n.lower() not in HOP]
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

        with serving(Handler, tls) as endpoint:
            yield endpoint


def only_with(access_key: str, token: str) -> Callable[[str, Mapping[str, str]], Refusal | None]:
    """Accept requests that are signed with a key and carry a session token."""

    def refuse(_: str, headers: Mapping[str, str]) -> Refusal | None:
        if f"Credential={access_key}/" not in headers.get("authorization", ""):
            return 403, "InvalidAccessKeyId"
        return None if headers.get("x-amz-security-token", "") == token else (403, "InvalidToken")

    return refuse


@dataclass
class Issuer:
    """A server that issues temporary keys as STS, SSO, ECS and EC2 do.

    Attributes:
        keys: Access key, secret key and token.
        valid_s: Seconds until they expire.
        issued: What was asked for.
    """

    keys: tuple[str, str, str]
    valid_s: float = 3600
    issued: list[str] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[str]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                data = issuer.answer(self.path, body).encode()
                self.send_response_only(200)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PUT = do_GET

        with serving(Handler, None) as endpoint:
            yield endpoint

    def answer(self, path: str, body: str) -> str:
        key, secret, token = self.keys
        until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.valid_s)
        text = f"{until:%Y-%m-%dT%H:%M:%SZ}"
        plain = {"AccessKeyId": key, "SecretAccessKey": secret, "Token": token, "Expiration": text}
        if path.startswith("/federation/credentials"):
            self.issued.append("sso")
            found = {"accessKeyId": key, "secretAccessKey": secret, "sessionToken": token}
            return json.dumps({"roleCredentials": found | {"expiration": until.timestamp() * 1000}})
        if path == "/container":
            self.issued.append("container")
            return json.dumps(plain)
        if path.endswith("/security-credentials/"):
            return "role-of-this-machine"
        if "/security-credentials/" in path:
            self.issued.append("ec2")
            return json.dumps(plain | {"Code": "Success", "Type": "AWS-HMAC"})
        if path.startswith("/latest/"):
            return "token-of-this-machine"
        action = parse_qs(body)["Action"][0]
        self.issued.append(action)
        return (
            f"<{action}Response><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>"
            f"<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>"
            f"<Expiration>{text}</Expiration></Credentials></{action}Result></{action}Response>"
        )


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
