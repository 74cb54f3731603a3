"""Credentials and settings of ``~/.aws``, and their errors."""

from __future__ import annotations

import json
import os
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rvlab.errors import SpecError, StoreError
from rvlab.store import S3Access, Store
from rvlab.store.access import is_loopback
from rvlab.store.aws import resolve_access
from rvlab.worker.masking import mask_text

SECRET = "the-secret-key-of-a-profile"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty ``~/.aws``, without variables of the machine."""
    for name in [n for n in os.environ if n.startswith("AWS_") or n == "REQUESTS_CA_BUNDLE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    return tmp_path / ".aws"


def write_keys(folder: Path, key: str, secret: str = SECRET) -> None:
    text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    (folder / "credentials").write_text(text)


def test_without_any_settings_there_is_amazon_and_no_key() -> None:
    found = resolve_access()
    assert found == S3Access(profile="default")
    with pytest.raises(StoreError, match=r"^No credentials for S3 were found\. Set AWS_ACCESS_KEY"):
        found.keys()


def test_store_without_credentials_says_which_variables_to_set() -> None:
    with pytest.raises(
        StoreError, match=r"^The bucket 'b' at Amazon needs credentials\. No credentials for S3"
    ):
        Store("s3://b/x").get("k")


@pytest.mark.parametrize(
    ("name", "value", "setting", "expected"),
    [
        ("AWS_ENDPOINT_URL", "http://one:1", "endpoint", "http://one:1"),
        ("AWS_REGION", "eu-west-1", "region", "eu-west-1"),
        ("AWS_CA_BUNDLE", "/one.pem", "ca_bundle", "/one.pem"),
        ("AWS_VIRTUAL_HOSTING", "TRUE", "path_style", False),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported", "checksums", "when_supported"),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", "endpoint", None),
    ],
)
def test_a_variable_overrides_the_profile(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    setting: str,
    expected: object,
) -> None:
    (folder / "config").write_text(
        "[default]\nendpoint_url = http://two:2\nregion = us-west-2\nca_bundle = /two.pem\n"
        "request_checksum_calculation = when_required\ns3 =\n  addressing_style = path\n"
    )
    plain = resolve_access()
    assert plain.endpoint == "http://two:2"
    assert plain.region == "us-west-2"
    assert plain.ca_bundle == "/two.pem"
    monkeypatch.setenv(name, value)
    assert getattr(resolve_access(), setting) == expected


def test_a_profile_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nosuch")
    with pytest.raises(SpecError, match=r"^The AWS profile 'nosuch' is in neither .*\. Change AWS"):
        Store("s3://b/x")


def test_an_expired_login_names_the_command_that_renews_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "config").write_text(
        "[profile sso]\nsso_start_url = https://x.example/start\nsso_region = us-east-1\n"
        "sso_account_id = 1\nsso_role_name = r\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "sso")
    with pytest.raises(StoreError, match=r"'sso' cannot be obtained: .*Run: aws sso login --prof"):
        Store("s3://b/x").get("k")


def test_profile_of_an_open_store_does_not_follow_the_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_keys(folder, "OF-DEFAULT")
    with (folder / "credentials").open("a") as file:
        file.write("[team]\naws_access_key_id = OF-TEAM\naws_secret_access_key = other\n")
    first = Store("s3://b/x").access
    monkeypatch.setenv("AWS_PROFILE", "team")
    second = Store("s3://b/x").access
    assert [one.keys()[0] for one in (first, second) if one.keys()] == ["OF-DEFAULT", "OF-TEAM"]  # type: ignore[index]


def test_keys_that_are_written_to_the_file_later_are_used(folder: Path) -> None:
    write_keys(folder, "OLD")
    chain = resolve_access().credential_chain
    assert chain is not None
    session = chain.session()
    assert chain.require_keys().access_key == "OLD"
    assert chain.session() is session
    write_keys(folder, "NEWER-THAN-OLD")
    assert chain.require_keys().access_key == "NEWER-THAN-OLD"
    assert chain.obstore_credential()["access_key_id"] == "NEWER-THAN-OLD"
    assert chain.session() is not session


def test_keys_that_expire_soon_are_obtained_again(folder: Path) -> None:
    def issue(key: str) -> None:
        until = f"{datetime.now(UTC) + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
        found = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": SECRET, "Expiration": until}
        (folder / "issued.json").write_text(json.dumps(found))

    issue("FIRST")
    (folder / "config").write_text(f"[default]\ncredential_process = cat {folder}/issued.json\n")
    access = resolve_access()
    assert access.keys()[0] == "FIRST"  # type: ignore[index]
    issue("SECOND")
    assert access.keys()[0] == "SECOND"  # type: ignore[index]


def test_secrets_of_a_profile_are_in_no_pickle_repr_or_log(folder: Path) -> None:
    write_keys(folder, "KEY")
    store = Store("s3://b/x")
    assert store.access.keys() == ("KEY", SECRET, None)
    store._objects  # noqa: B018  created at the first read
    for text in (pickle.dumps(store).decode("latin-1"), repr(store.access), str(vars(store))):
        assert SECRET not in text
    assert SECRET not in repr(store.access.keys())
    assert SECRET not in str(store.environ()) + str(store.storage_options)
    assert mask_text(f"secret: {SECRET}", store) == "secret: [secret]"


def test_unpickled_access_has_the_same_settings() -> None:
    for access in (
        S3Access("https://h", profile="team", requester_pays=True, ca_bundle="/x.pem"),
        S3Access(anonymous=True, path_style=False, checksums="when_required"),
    ):
        assert pickle.loads(pickle.dumps(access)) == access  # noqa: S301


def test_container_receives_the_present_keys_of_a_profile(folder: Path) -> None:
    write_keys(folder, "KEY")
    store = Store("s3://b/x")
    assert "AWS_ACCESS_KEY_ID" not in store.environ()
    assert store.environ(elsewhere=True)["AWS_ACCESS_KEY_ID"] == "KEY"
    assert store.environ(elsewhere=True)["AWS_SECRET_ACCESS_KEY"] == SECRET


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8333", True),
        ("http://127.8.9.1", True),
        ("https://localhost:9000", True),
        ("http://[::1]:9000", True),
        ("http://10.0.0.1:9000", False),
        ("https://localhost.example", False),
        ("no url", False),
        (None, False),
    ],
)
def test_only_addresses_of_this_machine_are_loopback(url: str | None, expected: bool) -> None:
    assert is_loopback(url) is expected


def test_child_process_inherits_the_hosts_that_were_excluded_from_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = S3Access("http://127.0.0.1:8333", "key", "secret")
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert "NO_PROXY" not in near.environ()
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", ".intern,localhost")
    hosts = ".intern,localhost,127.0.0.1,::1"
    assert {near.environ()[name] for name in ("NO_PROXY", "no_proxy")} == {hosts}
    assert "NO_PROXY" not in S3Access("http://minio.intern", "key", "secret").environ()
