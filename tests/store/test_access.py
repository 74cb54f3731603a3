"""S3 settings in the form of each library, without the secret in any output."""

from __future__ import annotations

import pytest

from rvlab.store import S3Access

KEY, SECRET, TOKEN = "the-key", "the-secret", "the-token"
HERE = S3Access("http://127.0.0.1:8333", KEY, SECRET, TOKEN, "eu-central-1")


def test_from_environ_reads_the_standard_variables() -> None:
    found = S3Access.from_environ(
        {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:8333",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": TOKEN,
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
    )
    assert found == HERE


def test_an_empty_environment_means_amazon_in_us_east_1() -> None:
    assert S3Access.from_environ({}) == S3Access(None, None, None, None, "us-east-1")


def test_the_endpoint_of_s3_takes_precedence_over_that_of_all_services() -> None:
    both = {"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_ENDPOINT_URL": "http://all"}
    assert S3Access.from_environ(both).endpoint == "http://s3"
    assert S3Access.from_environ({"AWS_ENDPOINT_URL_S3": "", **both}).endpoint == "http://s3"


def test_empty_variables_are_ignored() -> None:
    assert S3Access.from_environ({"AWS_ENDPOINT_URL": "", "AWS_REGION": ""}) == S3Access()


def test_secrets_are_not_in_the_repr() -> None:
    for text in (repr(HERE), str(HERE), f"{HERE!r}", f"{[HERE]}"):
        assert "127.0.0.1:8333" in text
        assert not any(secret in text for secret in (KEY, SECRET, TOKEN))


@pytest.mark.parametrize(
    "settings",
    [
        HERE,
        S3Access("https://minio.example", KEY, SECRET),
        S3Access(None, KEY, SECRET),
        S3Access("http://127.0.0.1:1"),
        S3Access(),
    ],
)
def test_a_child_process_reads_the_settings_of_its_parent(settings: S3Access) -> None:
    assert S3Access.from_environ(settings.environ()) == settings


def test_a_child_does_not_inherit_the_token_or_the_endpoint_of_another_s3() -> None:
    other = {"AWS_SESSION_TOKEN": "other", "AWS_ENDPOINT_URL_S3": "http://other"}
    settings = S3Access("http://127.0.0.1:8333", KEY, SECRET)
    assert S3Access.from_environ({**other, **settings.environ()}) == settings


def test_gdal_options_are_complete_or_empty() -> None:
    assert HERE.gdal_options() == {
        "AWS_S3_ENDPOINT": "127.0.0.1:8333",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "GDAL_HTTP_PROXY": "",
    }
    assert S3Access("https://minio.example").gdal_options()["AWS_HTTPS"] == "YES"
    assert S3Access(access_key=KEY, secret_key=SECRET).gdal_options() == {}


def test_storage_options_are_those_of_s3fs() -> None:
    assert HERE.storage_options() == {
        "client_kwargs": {"region_name": "eu-central-1"},
        "endpoint_url": "http://127.0.0.1:8333",
        "key": KEY,
        "secret": SECRET,
        "token": TOKEN,
        "config_kwargs": {
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": {"addressing_style": "path"},
            "proxies": {},
        },
    }
    assert S3Access().storage_options() == {"client_kwargs": {"region_name": "us-east-1"}}


def test_an_access_is_hashable() -> None:
    assert len({HERE, S3Access(), S3Access()}) == 2
