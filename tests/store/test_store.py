"""Store addresses, records, and the store of a URI."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab import Lab
from rvlab.errors import KeyMissing, RecordBroken, SpecError
from rvlab.store import S3Access, Store, normalize_uri, parse_record, register_store, store_for_uri
from rvlab.store.server import Server


@pytest.mark.parametrize(
    ("given", "spelt"),
    [
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b//", "s3://bucket/a/b"),
        ("S3://Bucket/A", "s3://Bucket/A"),
        ("s3://bucket/a#1?b", "s3://bucket/a#1?b"),
        (" s3://bucket ", "s3://bucket"),
        ("memory://m/x/", "memory://m/x"),
        ("file:///data/store", "/data/store"),
        ("file:///data/a%20b", "/data/a b"),
        ("/data/store/", "/data/store"),
        ("/data/x/../store", "/data/store"),
        (Path("/data/store"), "/data/store"),
        ("/data/a#b?c", "/data/a#b?c"),
        ("/", "/"),
    ],
)
def test_each_address_has_one_normalized_spelling(given: str | Path, spelt: str) -> None:
    assert normalize_uri(given) == spelt
    assert normalize_uri(normalize_uri(given)) == spelt


def test_folders_are_relative_to_the_working_folder_and_to_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    here = os.path.realpath(tmp_path)
    assert (
        normalize_uri("store")
        == normalize_uri("./store")
        == normalize_uri("~/store")
        == f"{here}/store"
    )
    assert normalize_uri("a:b") == f"{here}/a:b"


@pytest.mark.parametrize("address", ["", "  ", "s3://", "s3:///prefix"])
def test_an_invalid_address_is_refused(address: str) -> None:
    message = r"is not the address of a store\. Give a folder or s3://bucket/prefix"
    with pytest.raises(SpecError, match=message):
        Store(address)


@pytest.mark.parametrize("address", [Path("s3://bucket/p"), "s3:/bucket/p", "S3://bucket/p/"])
def test_address_that_pathlib_has_mangled_is_the_bucket(address: str | Path) -> None:
    assert Store(address).uri == "s3://bucket/p"
    assert Lab(address).store.uri == "s3://bucket/p"


@pytest.mark.parametrize(
    "address",
    ["s3:bucket/p", "s3//bucket/p", "s3;//bucket", "s3 ://bucket", "s3:\\bucket", "my:folder"],
)
def test_misspelt_address_is_refused_and_no_folder_is_created(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"is not the address of a store\. Write \w+://"):
        Lab(address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["embeded", "embedde", "Embedded"])
def test_misspelt_embedded_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="Did you mean 'embedded'"):
        Lab(address)
    (tmp_path / address).mkdir()
    assert Lab(address).store.uri == str(tmp_path / address)


def test_the_repr_is_an_expression_without_the_secret() -> None:
    store = Store("s3://bucket/p", S3Access("http://h:1", "the-key", "the-secret"))
    assert repr(store) == "Store('s3://bucket/p')"


def test_only_a_store_on_s3_has_options_and_variables(tmp_path: Path) -> None:
    access = S3Access("http://h:1", "the-key", "the-secret")
    assert Store("s3://b", access).storage_options["secret"] == "the-secret"
    assert Store("s3://b", access).environ()["AWS_SECRET_ACCESS_KEY"] == "the-secret"
    assert Store(tmp_path, access).storage_options == {}
    assert Store(tmp_path, access).environ() == {}


def test_the_key_of_a_uri_is_the_path_below_the_root(tmp_path: Path) -> None:
    assert Store("s3://b/p").key("s3://b/p/towns/run") == "towns/run"
    assert Store(tmp_path).key(f"{tmp_path}/towns/run/") == "towns/run"
    assert Store("/").key("/data/towns") == "data/towns"


@pytest.mark.parametrize(
    "elsewhere", ["s3://b/p", "s3://b/pp/x", "s3://other/p/x", "s3://b/p/../x", "/b/p/x"]
)
def test_a_uri_outside_the_store_is_refused(elsewhere: str) -> None:
    with pytest.raises(SpecError, match="is not in the store 's3://b/p'"):
        Store("s3://b/p").key(elsewhere)


def test_nan_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.put_json("k", {"x": float("nan")})
    assert store.files() == []


def test_concurrent_calls_stop_at_the_first_failure(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("a", b"1")
    with pytest.raises(KeyMissing, match="'b'"):
        store.map_concurrently(store.get, ["a", "b"])


def test_store_for_uri_prefers_the_deepest_registered_root(tmp_path: Path) -> None:
    outer = register_store(Store(tmp_path / "found"))
    inner = register_store(Store(tmp_path / "found" / "inner"))
    assert store_for_uri(f"{inner.uri}/towns/run") is inner
    assert store_for_uri(inner.uri) is inner
    assert store_for_uri(f"{outer.uri}/innermost/run") is outer


def test_store_for_uri_opens_an_unregistered_store(tmp_path: Path) -> None:
    uri = f"{tmp_path}/towns/run/spec.json"
    Store(tmp_path).put("towns/run/spec.json", b"{}")
    found = store_for_uri(uri)
    assert found.get(found.key(uri)) == b"{}"

    memory = "memory://at/towns/run/spec.json"
    Store("memory://at").put("towns/run/spec.json", b"{}")
    assert store_for_uri(memory).get(store_for_uri(memory).key(memory)) == b"{}"


def test_store_for_uri_opens_an_unregistered_bucket_with_the_environment(
    s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rvlab.store.addresses._registered", {})
    access = S3Access(s3.endpoint, s3.access_key, s3.secret_key)
    uri = f"s3://{s3.bucket}/at/k"
    Store(f"s3://{s3.bucket}/at", access).put("k", b"v")
    for name, value in access.environ().items():
        monkeypatch.setenv(name, value)
    assert store_for_uri(uri).get(store_for_uri(uri).key(uri)) == b"v"


@given(st.binary(max_size=40))
def test_any_bytes_are_a_record_or_broken(data: bytes) -> None:
    try:
        is_object = isinstance(json.loads(data), dict)
    except ValueError:
        is_object = False
    if is_object:
        assert parse_record("k", data) == json.loads(data)
    else:
        with pytest.raises(
            RecordBroken, match=r"^k (is not whole JSON|holds .*, not a JSON object)"
        ):
            parse_record("k", data)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_every_json_object_is_read_back_unchanged(record: dict[str, object]) -> None:
    store = Store("memory://hypothesis")
    store.put_json("k", record)
    assert store.get_json("k") == record
