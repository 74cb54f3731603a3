"""Each AWS setting with each library: put, get, list and open a raster on a real S3 server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import s3fs
from botocore.credentials import SSOProvider
from rasterio.io import MemoryFile

from rvlab.errors import StoreError
from rvlab.raster.gdal import open_raster, raster_environment
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from rvlab.worker.bucket_clients import BucketClients, new_client
from tests.store.gateway import ISSUED, running_gateways

PIXELS = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@dataclass
class Place:
    """Where the tests of a setting write: a server, gateways, and the folder of ``.aws``."""

    s3: Server
    home: Path
    gateways: dict[str, str]
    patch: pytest.MonkeyPatch

    def env(self, **variables: str) -> None:
        for name, value in variables.items():
            self.patch.setenv(name, value)

    def keys(self) -> None:
        self.env(AWS_ACCESS_KEY_ID=self.s3.access_key, AWS_SECRET_ACCESS_KEY=self.s3.secret_key)

    def aws_file(self, name: str, text: str) -> None:
        (self.home / ".aws" / name).write_text(text)


def _environment_keys(place: Place) -> None:
    place.keys()
    place.env(AWS_ENDPOINT_URL=place.s3.endpoint)


def _session_token(place: Place) -> None:
    key, secret, token = ISSUED
    place.env(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWS_SESSION_TOKEN=token)
    place.env(AWS_ENDPOINT_URL_S3=place.gateways["issued keys"])


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
    endpoint = place.gateways["issued keys"]
    place.aws_file("config", f"[default]\ncredential_process = cat {path}\n")
    place.env(AWS_ENDPOINT_URL_S3=endpoint)


def _sso(place: Place) -> None:
    issuer, endpoint = place.gateways["issuer"], place.gateways["issued keys"]
    start = "https://example.awsapps.com/start"
    place.aws_file(
        "config",
        f"[profile sso]\nsso_start_url = {start}\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = reader\n"
        f"endpoint_url = {endpoint}\n",
    )
    cache = place.home / ".aws/sso/cache"
    cache.mkdir(parents=True)
    place.patch.setattr(SSOProvider, "_SSO_TOKEN_CACHE_DIR", str(cache))  # set on import
    until = f"{datetime.now(UTC) + timedelta(hours=8):%Y-%m-%dT%H:%M:%SZ}"
    token = {"startUrl": start, "region": "us-east-1", "accessToken": "t", "expiresAt": until}
    name = hashlib.sha1(start.encode()).hexdigest()  # noqa: S324  the name that AWS's tools use
    (cache / f"{name}.json").write_text(json.dumps(token))
    place.env(AWS_PROFILE="sso", AWS_ENDPOINT_URL_SSO=issuer)


def _role(place: Place) -> None:
    issuer, endpoint = place.gateways["issuer"], place.gateways["issued keys"]
    place.aws_file(
        "config",
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/reader\n"
        f"source_profile = base\nregion = us-east-1\nendpoint_url = {endpoint}\n",
    )
    place.aws_file("credentials", "[base]\naws_access_key_id = b\naws_secret_access_key = s\n")
    place.env(AWS_PROFILE="role", AWS_ENDPOINT_URL_STS=issuer)


def _web_identity(place: Place) -> None:
    issuer, endpoint = place.gateways["issuer"], place.gateways["issued keys"]
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
    issuer, endpoint = place.gateways["issuer"], place.gateways["issued keys"]
    place.env(
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{issuer}/container", AWS_ENDPOINT_URL_S3=endpoint
    )


def _ec2(place: Place) -> None:
    issuer, endpoint = place.gateways["issuer"], place.gateways["issued keys"]
    place.env(AWS_EC2_METADATA_SERVICE_ENDPOINT=f"{issuer}/", AWS_ENDPOINT_URL_S3=endpoint)
    place.patch.delenv("AWS_EC2_METADATA_DISABLED")


def _requester_pays(place: Place) -> None:
    place.keys()
    place.env(AWS_REQUEST_PAYER="requester", AWS_ENDPOINT_URL=place.gateways["requester pays"])


def _path_style(place: Place) -> None:
    place.keys()
    place.aws_file("config", "[default]\ns3 =\n  addressing_style = path\n")
    place.env(AWS_ENDPOINT_URL=place.s3.endpoint.replace("127.0.0.1", "localhost"))


def _own_authority(place: Place) -> None:
    place.keys()
    place.env(AWS_ENDPOINT_URL=place.gateways["TLS"], AWS_CA_BUNDLE=place.gateways["authority"])


def _authority_of_a_profile(place: Place) -> None:
    place.keys()
    place.aws_file("config", f"[default]\nca_bundle = {place.gateways['authority']}\n")
    place.env(AWS_ENDPOINT_URL=place.gateways["TLS"])


def _http_proxy(place: Place) -> None:
    _environment_keys(place)
    place.env(**dict.fromkeys(PROXIES, "http://127.0.0.1:9"))


def _https_proxy(place: Place) -> None:
    _own_authority(place)
    place.env(**dict.fromkeys(PROXIES, "http://127.0.0.1:9"))


def _no_trailers(place: Place) -> None:
    _own_authority(place)
    place.env(AWS_ENDPOINT_URL=place.gateways["TLS without trailers"])


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


@pytest.fixture(scope="module")
def gateways(s3: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with running_gateways(s3, tmp_path_factory.mktemp("gateways")) as found:
        yield found


@pytest.fixture
def place(
    s3: Server,
    gateways: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clean_environ: None,
) -> Place:
    return Place(s3, tmp_path, gateways, monkeypatch)


@pytest.fixture
def clean_environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the machine that the tests run on."""
    hidden = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NO_PROXY", "no_proxy", *PROXIES)
    for name in [n for n in os.environ if n.startswith("AWS_") or n in hidden]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    monkeypatch.setattr("rvlab.store.addresses._registered", {})
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
        return raster_environment(f"{self.uri}/{name}")

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
    uri = f"s3://{place.s3.bucket}/{setting} {library}".replace(" ", "-")
    used = LIBRARIES[library](uri)
    used.put("a.tif", raster_bytes())
    assert used.get("a.tif") == raster_bytes()
    assert used.names() == ["a.tif"]
    assert (used.pixels("a.tif") == PIXELS).all()


@pytest.fixture(scope="module")
def public_bucket(s3: Server) -> str:
    """Return the name of a bucket that everyone may read, with a raster."""
    access = S3Access(s3.endpoint, s3.access_key, s3.secret_key)
    owner, bucket = new_client(access), "public-imagery"
    owner.create_bucket(Bucket=bucket)
    whole = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    everyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": whole}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everyone]})
    owner.put_bucket_policy(Bucket=bucket, Policy=policy)
    owner.put_object(Bucket=bucket, Key="scenes/a.tif", Body=raster_bytes())
    return bucket


@pytest.fixture
def public(public_bucket: str, place: Place) -> str:
    """Return the URI of a public folder, and read it as such."""
    place.env(AWS_ENDPOINT_URL=place.s3.endpoint, AWS_NO_SIGN_REQUEST="YES")
    return f"s3://{public_bucket}/scenes"


@pytest.mark.parametrize("with_keys", [False, True])
@pytest.mark.parametrize("library", LIBRARIES)
def test_library_reads_a_public_bucket_without_signing(
    place: Place, public: str, library: str, with_keys: bool
) -> None:
    if with_keys:  # as in GDAL and in Raster Vision, they are not used
        place.env(AWS_ACCESS_KEY_ID="of-another-account", AWS_SECRET_ACCESS_KEY="other")
    used = LIBRARIES[library](public)
    assert used.get("a.tif") == raster_bytes()
    assert used.names() == ["a.tif"]
    assert (used.pixels("a.tif") == PIXELS).all()


def test_a_refused_write_to_a_public_bucket_names_the_variable(public: str) -> None:
    with pytest.raises(StoreError, match=r"not signed, because AWS_NO_SIGN_REQUEST is set; unset"):
        Store(public).put("b", b"1")


CHILD = """
import json, sys
import boto3, obstore, rasterio, s3fs
from obstore.store import S3Store
from rvlab.store import S3Access, Store
uri = sys.argv[1]
bucket, _, prefix = uri.removeprefix("s3://").partition("/")
path = f"{prefix}/a.tif"
found = [Store(uri).get("a.tif"), s3fs.S3FileSystem().cat_file(f"{bucket}/{path}")]
found.append(boto3.client("s3").get_object(Bucket=bucket, Key=path)["Body"].read())
with rasterio.open(f"/vsis3/{bucket}/{path}") as dataset:  # as Raster Vision streams imagery
    print(json.dumps([[len(one) for one in found], dataset.read().tolist()]))
"""


@pytest.mark.parametrize(
    "setting", ["keys in the environment", "named profile", "HTTPS proxy", "session token"]
)
def test_libraries_in_a_child_process_use_the_settings_of_the_store(
    place: Place, setting: str
) -> None:
    SETTINGS[setting](place)
    store = Store(f"s3://{place.s3.bucket}/child-{setting}".replace(" ", "-"))
    store.put("a.tif", raster_bytes())
    environ = {**os.environ, **store.environ()}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, store.uri],
        env=environ,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    sizes, pixels = json.loads(done.stdout)
    assert sizes == [len(raster_bytes())] * 3
    assert pixels == PIXELS.tolist()


READ_BOTH = """
import sys
from rvlab.errors import StoreError
from rvlab.raster.gdal import open_raster
from rvlab.store import S3Access, Store
from rvlab.worker.bucket_clients import BucketClients
clients = BucketClients()
for uri in sys.argv[1:]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    Store(uri).get("a.tif")
    clients.head_object(Bucket=bucket, Key=f"{prefix}/a.tif")
    with open_raster(f"{uri}/a.tif") as dataset:
        dataset.read()
print("read")
"""


@pytest.mark.parametrize("setting", ["public", "named profile", "issued keys"])
def test_a_step_reads_imagery_on_another_server_than_its_store(
    place: Place, public: str, setting: str, tmp_path: Path
) -> None:
    place.patch.delenv("AWS_NO_SIGN_REQUEST")
    imagery = public
    if setting == "public":
        place.env(AWS_NO_SIGN_REQUEST="YES")
    elif setting == "named profile":
        _named_profile(place)
        place.patch.delenv("AWS_ENDPOINT_URL")
    else:
        place.patch.delenv("AWS_ENDPOINT_URL")
        _session_token(place)
    # The store accepts other requests than the server of the imagery: it is a gateway.
    store = Store(
        f"s3://{place.s3.bucket}/another-{setting}".replace(" ", "-"),
        S3Access(place.gateways["requester pays"], "own", "own-secret", requester_pays=True),
    )
    store.put("a.tif", raster_bytes())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ_BOTH, store.uri, imagery],
        env={**os.environ, **store.environ()},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.stdout.strip() == "read", done.stderr
