"""Each AWS setting with each library: put, get, list and open a raster on a real S3 server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import rasterio
import s3fs
from rasterio.io import MemoryFile

from rvlab.errors import SpecError, StoreError
from rvlab.raster.gdal import _environment, open_raster
from rvlab.store import S3Access, Store, aws, register_store
from rvlab.store.server import Server
from rvlab.worker.bucket_clients import BucketClients
from tests.store.gateway import Gateway, Issuer, make_authority, only_with

PIXELS = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
ISSUED = ("ASIAEXAMPLEEXAMPLE01", "a-temporary-secret-of-the-issuer", "a-temporary-session-token")
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@dataclass
class Place:
    """Where the tests of a setting write: a bucket, and the home folder with ``.aws``."""

    s3: Server
    home: Path
    bucket: str
    stack: ExitStack
    patch: pytest.MonkeyPatch

    def env(self, **variables: str) -> None:
        for name, value in variables.items():
            self.patch.setenv(name, value)

    def keys(self) -> None:
        self.env(AWS_ACCESS_KEY_ID=self.s3.access_key, AWS_SECRET_ACCESS_KEY=self.s3.secret_key)

    def aws_file(self, name: str, text: str) -> None:
        (self.home / ".aws" / name).write_text(text)

    def gateway(self, gateway: Gateway, tls: tuple[Path, Path] | None = None) -> str:
        return self.stack.enter_context(gateway.running(tls))

    def issuer(self) -> tuple[str, str]:
        """Start an issuer of temporary keys, and a gateway that accepts no others."""
        gateway = Gateway(self.s3, only_with(ISSUED[0], ISSUED[2]))
        return self.stack.enter_context(Issuer(ISSUED).running()), self.gateway(gateway)


def _environment_keys(place: Place) -> None:
    place.keys()
    place.env(AWS_ENDPOINT_URL=place.s3.endpoint)


def _session_token(place: Place) -> None:
    key, secret, token = ISSUED
    place.env(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWS_SESSION_TOKEN=token)
    place.env(AWS_ENDPOINT_URL_S3=place.gateway(Gateway(place.s3, only_with(key, token))))


def _default_profile(place: Place) -> None:
    _profile_files(place, "default", "default")


def _named_profile(place: Place) -> None:
    _profile_files(place, "team", "profile team")
    place.env(AWS_PROFILE="team")


def _profile_files(place: Place, name: str, section: str) -> None:
    s3 = place.s3
    place.aws_file(
        "credentials",
        f"[{name}]\naws_access_key_id = {s3.access_key}\naws_secret_access_key = {s3.secret_key}\n",
    )
    place.aws_file("config", f"[{section}]\nregion = us-east-1\nendpoint_url = {s3.endpoint}\n")


def _services_section(place: Place) -> None:
    _profile_files(place, "default", "default")
    place.aws_file(
        "config",
        "[default]\nservices = minio\nendpoint_url = http://127.0.0.1:9\n"
        f"[services minio]\ns3 =\n  endpoint_url = {place.s3.endpoint}\n",
    )


def _credential_process(place: Place) -> None:
    key, secret, token = ISSUED
    until = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    found = {"AccessKeyId": key, "SecretAccessKey": secret, "SessionToken": token}
    path = place.home / "keys.json"
    path.write_text(json.dumps({"Version": 1, **found, "Expiration": until}))
    _, endpoint = place.issuer()
    place.aws_file("config", f"[default]\ncredential_process = cat {path}\n")
    place.env(AWS_ENDPOINT_URL_S3=endpoint)


def _sso(place: Place) -> None:
    issuer, endpoint = place.issuer()
    start = "https://example.awsapps.com/start"
    place.aws_file(
        "config",
        f"[profile sso]\nsso_start_url = {start}\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = reader\n"
        f"endpoint_url = {endpoint}\n",
    )
    cache = place.home / ".aws/sso/cache"
    cache.mkdir(parents=True)
    until = f"{datetime.now(UTC) + timedelta(hours=8):%Y-%m-%dT%H:%M:%SZ}"
    token = {"startUrl": start, "region": "us-east-1", "accessToken": "t", "expiresAt": until}
    name = hashlib.sha1(start.encode()).hexdigest()  # noqa: S324  the name that AWS's tools use
    (cache / f"{name}.json").write_text(json.dumps(token))
    place.env(AWS_PROFILE="sso", AWS_ENDPOINT_URL_SSO=issuer)


def _role(place: Place) -> None:
    issuer, endpoint = place.issuer()
    place.aws_file(
        "config",
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/reader\n"
        f"source_profile = base\nregion = us-east-1\nendpoint_url = {endpoint}\n",
    )
    place.aws_file("credentials", "[base]\naws_access_key_id = b\naws_secret_access_key = s\n")
    place.env(AWS_PROFILE="role", AWS_ENDPOINT_URL_STS=issuer)


def _web_identity(place: Place) -> None:
    issuer, endpoint = place.issuer()
    token = place.home / "token"
    token.write_text("a-token-of-the-cluster")
    place.env(
        AWS_ROLE_ARN="arn:aws:iam::123456789012:role/pod",
        AWS_WEB_IDENTITY_TOKEN_FILE=str(token),
        AWS_ENDPOINT_URL_STS=issuer,
        AWS_ENDPOINT_URL_S3=endpoint,
        AWS_REGION="us-east-1",
        AWS_DEFAULT_REGION="us-east-1",
    )


def _container(place: Place) -> None:
    issuer, endpoint = place.issuer()
    place.env(
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{issuer}/container", AWS_ENDPOINT_URL_S3=endpoint
    )


def _ec2(place: Place) -> None:
    issuer, endpoint = place.issuer()
    place.env(AWS_EC2_METADATA_SERVICE_ENDPOINT=f"{issuer}/", AWS_ENDPOINT_URL_S3=endpoint)
    place.patch.delenv("AWS_EC2_METADATA_DISABLED")


def _requester_pays(place: Place) -> None:
    def refuse(_: str, headers: Any) -> tuple[int, str] | None:
        return None if headers.get("x-amz-request-payer") == "requester" else (403, "AccessDenied")

    place.keys()
    place.env(AWS_REQUEST_PAYER="requester")
    place.env(AWS_ENDPOINT_URL=place.gateway(Gateway(place.s3, refuse)))


def _path_style(place: Place) -> None:
    place.keys()
    _, endpoint = place.env(), place.s3.endpoint
    place.aws_file("config", "[default]\ns3 =\n  addressing_style = path\n")
    place.env(AWS_ENDPOINT_URL=endpoint.replace("127.0.0.1", "localhost"))


def _own_authority(place: Place) -> None:
    ca, *tls = make_authority(place.home)
    place.keys()
    place.env(AWS_ENDPOINT_URL=place.gateway(Gateway(place.s3), (tls[0], tls[1])))
    place.env(AWS_CA_BUNDLE=str(ca))


def _authority_of_a_profile(place: Place) -> None:
    ca, *tls = make_authority(place.home)
    place.keys()
    place.aws_file("config", f"[default]\nca_bundle = {ca}\n")
    place.env(AWS_ENDPOINT_URL=place.gateway(Gateway(place.s3), (tls[0], tls[1])))


def _http_proxy(place: Place) -> None:
    _environment_keys(place)
    place.env(**dict.fromkeys(PROXIES, "http://127.0.0.1:9"))


def _https_proxy(place: Place) -> None:
    _own_authority(place)
    place.env(**dict.fromkeys(PROXIES, "http://127.0.0.1:9"))


def _no_trailers(place: Place) -> None:
    def refuse(_: str, headers: Any) -> tuple[int, str] | None:
        return (411, "MissingContentLength") if "x-amz-trailer" in headers else None

    ca, *tls = make_authority(place.home)
    place.keys()
    place.env(AWS_ENDPOINT_URL=place.gateway(Gateway(place.s3, refuse), (tls[0], tls[1])))
    place.env(AWS_CA_BUNDLE=str(ca))


SETTINGS: dict[str, Callable[[Place], None]] = {
    "keys in the environment": _environment_keys,
    "session token": _session_token,
    "default profile": _default_profile,
    "named profile": _named_profile,
    "services section": _services_section,
    "credential process": _credential_process,
    "SSO": _sso,
    "role": _role,
    "web identity": _web_identity,
    "container": _container,
    "EC2": _ec2,
    "requester pays": _requester_pays,
    "path style": _path_style,
    "own authority": _own_authority,
    "authority of a profile": _authority_of_a_profile,
    "HTTP proxy": _http_proxy,
    "HTTPS proxy": _https_proxy,
    "no trailing checksums": _no_trailers,
}


@pytest.fixture
def place(
    s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environ: None
) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(s3, tmp_path, s3.bucket, stack, monkeypatch)


@pytest.fixture
def clean_environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the machine that the tests run on."""
    hidden = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NO_PROXY", "no_proxy", *PROXIES)
    for name in [n for n in os.environ if n.startswith("AWS_") or n in hidden]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    monkeypatch.setattr("rvlab.store.store._registered", {})
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def raster_bytes() -> bytes:
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint8"}
    with MemoryFile() as file:
        with file.open(**profile, transform=rasterio.transform.from_origin(0, 8, 1, 1)) as out:
            out.write(PIXELS)
        return bytes(file.read())


def pixels_of(data: bytes) -> Any:
    with MemoryFile(data) as file, file.open() as dataset:
        return dataset.read()


class WithObstore:
    def __init__(self, uri: str) -> None:
        self.store = Store(uri)

    def put(self, name: str, data: bytes) -> None:
        self.store.put(name, data)

    def get(self, name: str) -> bytes:
        return self.store.get(name)

    def names(self) -> list[str]:
        return [name for name, _ in self.store.files()]

    def pixels(self, name: str) -> Any:
        return pixels_of(self.store.get(name))


class WithBoto3(WithObstore):
    def __init__(self, uri: str) -> None:
        self.clients = BucketClients()
        self.bucket, _, self.prefix = uri.removeprefix("s3://").partition("/")

    def put(self, name: str, data: bytes) -> None:
        path = Path(os.environ["HOME"], name)
        path.write_bytes(data)
        key = f"{self.prefix}/{name}"
        self.clients.upload_file(Filename=str(path), Bucket=self.bucket, Key=key)

    def get(self, name: str) -> bytes:
        path = Path(os.environ["HOME"], f"{name} again")
        key = f"{self.prefix}/{name}"
        self.clients.download_file(Bucket=self.bucket, Key=key, Filename=str(path))
        return path.read_bytes()

    def names(self) -> list[str]:
        found = self.clients.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        return [item["Key"].removeprefix(f"{self.prefix}/") for item in found["Contents"]]

    def pixels(self, name: str) -> Any:
        return pixels_of(self.get(name))


class WithS3fs(WithObstore):
    def __init__(self, uri: str) -> None:
        self.root = uri.removeprefix("s3://")
        options = Store(uri).storage_options
        self.fs = s3fs.S3FileSystem(**options, skip_instance_cache=True)

    def put(self, name: str, data: bytes) -> None:
        self.fs.pipe_file(f"{self.root}/{name}", data)

    def get(self, name: str) -> bytes:
        return bytes(self.fs.cat_file(f"{self.root}/{name}"))

    def names(self) -> list[str]:
        return [path.rpartition("/")[2] for path in self.fs.ls(self.root)]

    def pixels(self, name: str) -> Any:
        with self.fs.open(f"{self.root}/{name}") as file:
            return pixels_of(file.read())


class WithGdal(WithObstore):
    """GDAL reads bytes as rasters, and lists a folder to find the sidecar files of a raster."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def put(self, name: str, data: bytes) -> None:
        with MemoryFile(data) as file, file.open() as source:
            profile, pixels = source.profile, source.read()
        with (
            self.env(name),
            rasterio.Env(CPL_VSIL_USE_TEMP_FILE_FOR_RANDOM_WRITE="YES"),
            rasterio.open(f"{self.uri}/{name}", "w", **profile) as out,
        ):
            out.write(pixels)

    def env(self, name: str) -> Any:
        return _environment(f"{self.uri}/{name}")

    def get(self, name: str) -> bytes:
        return raster_bytes() if (self.pixels(name) == PIXELS).all() else b""

    def names(self) -> list[str]:
        with (
            self.env("a.tif"),
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="NO"),
            rasterio.open(f"{self.uri}/a.tif") as dataset,
        ):
            return [path.rpartition("/")[2] for path in dataset.files]

    def pixels(self, name: str) -> Any:
        with open_raster(f"{self.uri}/{name}") as dataset:
            return dataset.read()


LIBRARIES = {"obstore": WithObstore, "boto3": WithBoto3, "s3fs": WithS3fs, "GDAL": WithGdal}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_library_puts_gets_lists_and_opens_a_raster(
    place: Place, setting: str, library: str
) -> None:
    SETTINGS[setting](place)
    uri = f"s3://{place.bucket}/{setting} {library}".replace(" ", "-")
    used = LIBRARIES[library](uri)
    used.put("a.tif", raster_bytes())
    assert used.get("a.tif") == raster_bytes()
    assert used.names() == ["a.tif"]
    assert (used.pixels("a.tif") == PIXELS).all()
