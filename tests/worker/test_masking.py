"""Tests that secrets are masked in every encoding and ordinary values are not."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab.store import S3Access, Store
from rvlab.worker import masking
from rvlab.worker.masking import complete_length, find_secrets, is_secret, mask_bytes, mask_text

VALUE = 'p4ss/wörd+"x\\y&z'


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD"),
        *("GITHUB_TOKEN", "GITHUBTOKEN", "HF_TOKEN", "api_key", "OPENAI_API_KEY", "STRIPE_APIKEY"),
        *("DB_PASSWD", "SSH_PASSPHRASE", "CLIENT_SECRET", "SECRET", "AZURE_STORAGE_KEY"),
        *("GOOGLE_CREDENTIALS", "REGISTRY_AUTH", "SENTRY_DSN", "JWT", "MYSQL_PWD", "SAS"),
        *("JUPYTER_TOKEN", "AWS_ACCESS_KEY_ID", "PRIVATE_KEY", "SECRET_VALUE", "my-secret"),
    ],
)
def test_variable_is_secret_by_its_name(name: str) -> None:
    assert is_secret(name, "f3a9c1d2e4b5-Xy7q")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false-or-12345"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-XXXXabcd/agent.123"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/key-12345678.json"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "eks.amazonaws.com-token-1"),
        ("API_TOKEN", "/var/run/secrets/token"),
        ("PWD", "/home/me/projects-2026"),
        ("OLDPWD", "/home/me/projects-2026"),
        ("KEYBOARD", "de-latin1-nodeadkeys"),
        ("MONKEY", "capuchin-12345678"),
        ("HOTKEYS", "ctrl-alt-12345678"),
        ("XDG_CURRENT_DESKTOP", "ubuntu:GNOME-12345"),
        ("DESKTOP_AUTH", "gnome-keyring-daemon"),
        ("SUDO_AUTH", "gnome-session"),
        ("MAX_TOKENS", "100000000"),
        ("AUTH_TYPE", "service-account-2"),
        ("AUTH_URL", "https://login.example.org/oauth2"),
        ("PASSWORD_MIN_LENGTH", "12345678"),
        ("PARTITION_KEY", "scene-id-2"),
        ("API_TOKEN", "disabled"),
        ("API_TOKEN", "1"),
        ("PASSWORD", "true"),
        ("PASSWORD", "short"),
        ("LANG", "en_US.UTF-8-12345"),
    ],
)
def test_harmless_variable_is_not_secret(name: str, value: str) -> None:
    assert not is_secret(name, value)


def test_numeric_password_is_secret() -> None:
    assert is_secret("DB_PASSWORD", "8439201744")


def test_aws_secret_that_starts_with_a_slash_is_secret() -> None:
    assert is_secret("AWS_SECRET_ACCESS_KEY", "/q9zKx+Jtnb3/ZzExampleExampleExampleKey1")


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SERVICE_PASSWORD", VALUE)
    return VALUE


@pytest.mark.parametrize(
    "encode",
    [
        str,
        quote,
        lambda v: quote(v, safe=""),
        quote_plus,
        json.dumps,
        lambda v: json.dumps(v, ensure_ascii=False),
        repr,
        lambda v: f"{v!r}"[1:-1],
    ],
)
def test_encoded_value_is_masked(secret: str, encode) -> None:
    masked = mask_text(f"before {encode(secret)} after")
    assert masked.strip("'\"") != ""
    for part in ("p4ss", "w%C3", "x%5C", "&z", "rd+"):
        assert part not in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")


@pytest.mark.parametrize("user", ["", "a:", "me:", "admin:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_value_in_base64_is_masked(secret: str, user: str, encode) -> None:
    coded = encode(f"{user}{secret}!".encode()).decode()
    masked = mask_text(f"Header: x {coded}")
    assert "[secret]" in masked
    assert len(masked.removeprefix("Header: x ").replace("[secret]", "")) <= 16


@given(
    value=st.binary(min_size=8, max_size=40),
    before=st.binary(max_size=9),
    after=st.binary(max_size=9),
)
def test_base64_of_a_value_is_found_at_each_alignment(
    value: bytes, before: bytes, after: bytes
) -> None:
    forms = list(masking._base64_forms(value))
    assert any(form in base64.b64encode(before + value + after) for form in forms)
    assert any(form in base64.urlsafe_b64encode(before + value + after) for form in forms)


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=8, max_size=60))
def test_value_is_masked_in_any_text(value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_all_forms", lambda *_: masking._sorted_forms({value}))
        masked = mask_text(f"<{value}>")
        assert masked == "<[secret]>" or value not in masked


PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\nq9zKxJtnb3\n-----END RSA PRIVATE KEY-----"
)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET https://me:pa$$w0rd@host/x?y=1", "GET https://me:[secret]@host/x?y=1"),
        ("postgresql+psycopg2://u:p@ss@db:5432/x", "postgresql+psycopg2://u:[secret]@db:5432/x"),
        ("redis://:hunter2@cache:6379/0", "redis://:[secret]@cache:6379/0"),
        ("http://127.0.0.1:8333/bucket", "http://127.0.0.1:8333/bucket"),
        ("ssh://git@host.org:22/x and me@host", "ssh://git@host.org:22/x and me@host"),
        ("http://host:80/a http://b@c", "http://host:80/a http://b@c"),
        (f"a {PEM} b", "a [secret] b"),
        ("key AKIAIOSFODNN7EXAMPLE.", "key [secret]."),
        ("ASIAIOSFODNN7EXAMPLE", "[secret]"),
        ("MAKIAIOSFODNN7EXAMPLE", "MAKIAIOSFODNN7EXAMPLE"),
        (f"jwt={JWT}", "jwt=[secret]"),
        ("ghp_0123456789abcdefghij0123456789abcdef", "[secret]"),
        ("github_pat_11ABCDEFG0123456789_abcdef", "[secret]"),
        ("glpat-0123456789abcdefghij", "[secret]"),
        ("xoxb-1234567890-abcdef", "[secret]"),
        ("hf_abcdefghijklmnopqrstuvwxyz", "[secret]"),
        ("sk-proj-0123456789abcdefghij", "[secret]"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [secret]"),
        ("'Authorization': 'Basic dXNlcjpw'", "'Authorization': 'Basic [secret]'"),
        ("x?X-Amz-Signature=0123456789abcdef0123&b", "x?X-Amz-Signature=[secret]&b"),
        ("x?X-Amz-Security-Token=FwoGZXIv%2FYXdz&b", "x?X-Amz-Security-Token=[secret]&b"),
        ("?sv=1&sig=0123456789abcdef%3D&se=2", "?sv=1&sig=[secret]&se=2"),
        (
            "tokens: 512, key=value, password: see docs",
            "tokens: 512, key=value, password: see docs",
        ),
        ("epoch 3, sk-learn, hf_hub, eyJ, sig=3", "epoch 3, sk-learn, hf_hub, eyJ, sig=3"),
    ],
)
def test_secret_is_masked_by_its_form(text: str, masked: str) -> None:
    assert mask_text(text) == masked


def test_password_in_the_url_of_a_variable_is_masked_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE", "postgresql://me:s3cr%2Fet-pw@db/x")
    assert mask_text("login with s3cr/et-pw or s3cr%2Fet-pw") == "login with [secret] or [secret]"


def test_lines_of_a_secret_of_several_lines_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_KEY", PEM)
    assert mask_text("read MIIEowIBAAKCAQEA7 here") == "read [secret] here"


def test_credentials_of_the_store_are_masked(tmp_path: Path) -> None:
    store = Store(tmp_path, S3Access(None, "name", "open-sesame", "session-4711"))
    assert mask_bytes(b"open-sesame, session-4711!", store) == b"[secret], [secret]!"
    assert find_secrets({}, store.access) == {"open-sesame", "session-4711"}


def test_private_key_is_held_back_until_it_is_complete() -> None:
    block = f"one\n{PEM}\ntwo\n".encode()
    for cut in range(len(block) + 1):
        first = block[: complete_length(block[:cut])]
        shown = mask_bytes(first) + mask_bytes(block[len(first) :])
        assert shown == b"one\n[secret]\ntwo\n"


def test_log_without_a_private_key_is_complete_up_to_the_last_line() -> None:
    assert complete_length(b"a\nb") == 2
    assert complete_length(b"-----BEGIN CERTIFICATE-----\nabc\nd") == 32
    assert complete_length(b"5%\r6%") == 3
    assert complete_length(b"abc") == 0


@pytest.mark.parametrize("size", [8, 9, 15, 16])
def test_secret_that_is_cut_off_is_masked(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv("API_TOKEN", "0123456789abcdef")
    text = "0123456789abcdef"
    assert mask_text(f"{text[-size:]} and {text[:size]}") == "[secret] and [secret]"
    assert mask_text(text[:size]) == "[secret]"


def test_few_characters_of_a_secret_are_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "0123456789abcdef")
    assert mask_text("abcdef at 0123456") == "abcdef at 0123456"
    assert mask_text("") == ""


def test_text_that_is_not_unicode_is_masked(secret: str) -> None:
    assert mask_bytes(b"\xff\xfe " + secret.encode() + b" \x80") == b"\xff\xfe [secret] \x80"
    assert mask_text(f"\ud800 {secret}").endswith("[secret]")
