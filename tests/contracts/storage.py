"""The behaviour of every kind of storage, as tests to inherit."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rvlab.errors import KeyExists, KeyMissing, RecordBroken
from rvlab.store import Store

ODD = [
    "a b.json",
    "a+b.json",
    "grün/日本.json",
    "x[1].json",
    "s*r.json",
    "q?.json",
    "h#x",
    "p%20q",
    "t~x",
    "{b}",
    "amp&x=1",
    "a:b",
    "it's",
]


class StorageContract:
    """Inherit it and define a fixture `store`, which must be empty."""

    atomic = True
    """Whether exactly one of several concurrent writers with `if_absent` succeeds."""

    def test_get_returns_the_bytes_that_were_put(self, store: Store) -> None:
        store.put("towns/run/spec.json", b"{}")
        assert store.get("towns/run/spec.json") == b"{}"

    def test_ranges_and_the_start_of_a_key_are_read_without_the_rest(self, store: Store) -> None:
        data = bytes(range(200))
        store.put("towns/k", data)
        assert store.get_start("towns/k", 10) == (data[:10], 200)
        assert store.get_start("towns/k", 900) == (data, 200)
        parts = store.get_ranges("towns/k", [150, 0, 3], [50, 4, 1])
        assert parts == [data[150:], data[:4], data[3:4]]
        with pytest.raises(KeyMissing):
            store.get_start("towns/none", 10)
        with pytest.raises(KeyMissing):
            store.get_ranges("towns/none", [0], [10])

    def test_a_put_replaces_the_complete_value(self, store: Store) -> None:
        store.put("k", b"a long value")
        store.put("k", b"b")
        assert store.get("k") == b"b"
        assert store.files() == [("k", 1)]

    def test_a_rewritten_key_has_another_etag(self, store: Store) -> None:
        store.put("towns/a", b"1")
        store.put("towns/b", b"2")
        store.put("roads/c", b"3")
        before = store.etags("towns/")
        assert sorted(before) == ["towns/a", "towns/b"]
        assert before == {key: store.etag(key) for key in before}
        store.put("towns/a", b"4")
        after = store.etags("towns/")
        assert after["towns/a"] != before["towns/a"]
        assert after["towns/b"] == before["towns/b"] is not None
        assert store.get_with_etag("towns/a") == (b"4", after["towns/a"])
        assert store.etags("nowhere/") == {}
        with pytest.raises(KeyMissing, match="has no key 'towns/c'"):
            store.etag("towns/c")

    def test_an_empty_value_is_stored(self, store: Store) -> None:
        store.put("empty", b"")
        assert store.get("empty") == b""
        assert store.files() == [("empty", 0)]

    def test_a_file_is_stored_as_its_bytes(self, store: Store, tmp_path: Path) -> None:
        large = bytes(range(256)) * (12 * 4096)  # 12 MiB: more than one part of an upload
        path = tmp_path / "local.bin"
        for data in (large, b"small", b""):
            path.write_bytes(data)
            store.put_file("deep/file", path)
            assert store.get("deep/file") == data
        assert store.files("deep") == [("deep/file", 0)]

    def test_a_large_value_is_read_back_complete(self, store: Store) -> None:
        large = bytes(range(256)) * (12 * 4096)  # 12 MiB: more than one part of an upload
        store.put("large", large)
        assert store.get("large") == large
        assert store.files() == [("large", len(large))]

    def test_a_missing_key_is_named_with_its_store(self, store: Store) -> None:
        with pytest.raises(KeyMissing, match=r"has no key 'no/such\.json'\.$") as caught:
            store.get("no/such.json")
        assert isinstance(caught.value, FileNotFoundError)
        assert str(caught.value)[0].isupper() or str(caught.value).startswith(store.uri)

    def test_a_folder_is_not_a_key(self, store: Store) -> None:
        store.put("towns/k", b"1")
        with pytest.raises(KeyMissing, match="has no key 'towns'"):
            store.get("towns")
        assert not store.exists("towns")
        assert store.exists("towns/k")

    def test_last_modified_is_in_utc(self, store: Store) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)  # S3 reports whole seconds
        store.put("towns/k", b"1")
        first = store.last_modified("towns/k")
        assert first.utcoffset() == timedelta(0)
        assert before <= first <= datetime.now(UTC) + timedelta(seconds=2)
        assert store.last_modified("towns/k") == first
        with pytest.raises(KeyMissing, match=r"has no key 'no/such'\.$"):
            store.last_modified("no/such")

    @pytest.mark.parametrize("key", ODD)
    def test_keys_may_contain_special_characters(self, store: Store, key: str) -> None:
        store.put(key, key.encode())
        assert store.get(key) == key.encode()
        assert store.files() == [(key, len(key.encode()))]
        store.delete([key])
        assert not store.exists(key)

    def test_wildcard_characters_in_keys_are_literal(self, store: Store) -> None:
        for key in ("x1", "x[1]", "x*", "x?"):
            store.put(key, key.encode())
        store.delete(["x*", "x?"])
        assert store.files() == [("x1", 2), ("x[1]", 4)]
        assert store.get("x[1]") == b"x[1]"

    def test_put_if_absent_does_not_replace_an_existing_key(self, store: Store) -> None:
        store.put("claim.json", b"first", if_absent=True)
        with pytest.raises(KeyExists, match=r"has the key 'claim\.json' already") as caught:
            store.put("claim.json", b"second", if_absent=True)
        assert isinstance(caught.value, FileExistsError)
        assert store.get("claim.json") == b"first"

    def test_exactly_one_of_eight_concurrent_claims_succeeds(self, store: Store) -> None:
        if not self.atomic:
            pytest.skip("this storage checks before it writes, as documented")
        for race in range(3):
            won = self._race(store, f"race/{race}")
            assert len(won) == 1
            assert store.get(f"race/{race}") == won[0].encode()

    def _race(self, store: Store, key: str) -> list[str]:
        won: list[str] = []
        gate = threading.Barrier(8)

        def claim(name: str) -> None:
            gate.wait()
            try:
                store.put(key, name.encode(), if_absent=True)
            except KeyExists:
                return
            won.append(name)

        threads = [threading.Thread(target=claim, args=(f"writer-{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return won

    def test_key_is_replaced_with_a_known_or_a_new_etag(self, store: Store) -> None:
        first = store.replace_json("r.json", {"n": 1}, None)
        assert store.get_json("r.json") == {"n": 1}
        second = store.replace_json("r.json", {"n": 2}, first)
        assert store.get_json("r.json") == {"n": 2}
        assert second in (None, store.etag("r.json"))
        third = store.replace_json("r.json", {"n": 3}, first)  # the second may have been lost
        assert store.get_json("r.json") == {"n": 3}
        store.delete(["r.json"])
        store.replace_json("r.json", {"n": 4}, third)
        assert store.get_json("r.json") == {"n": 4}

    def test_deleting_a_missing_key_is_not_an_error(self, store: Store) -> None:
        store.put("a", b"1")
        store.delete(["a", "missing", "no/such"])
        store.delete([])
        assert not store.exists("a")

    def test_files_are_sorted_and_below_a_folder_of_exactly_that_name(self, store: Store) -> None:
        for key in ("a/b/c", "a/bb/c", "a/b.json", "ab/c", "a-b/c", "a/b/d"):
            store.put(key, b"12")
        assert [key for key, _ in store.files()] == sorted(
            ["a/b/c", "a/bb/c", "a/b.json", "ab/c", "a-b/c", "a/b/d"]
        )
        assert store.files("a/b") == store.files("a/b/") == [("a/b/c", 2), ("a/b/d", 2)]
        assert store.files("a/b/c") == []
        assert store.files("nowhere") == []

    def test_folders_are_the_names_directly_below_a_prefix(self, store: Store) -> None:
        for key in ("towns/run-2/spec.json", "towns/run-1/rv/x", "towns/note", "roads/r/s"):
            store.put(key, b"")
        assert store.folders() == store.folders("") == ["roads", "towns"]
        assert store.folders("towns/") == store.folders("towns") == ["run-1", "run-2"]
        assert store.folders("towns/note") == []
        assert store.folders("nowhere") == []

    def test_an_empty_store_lists_nothing(self, store: Store) -> None:
        assert store.files() == []
        assert store.folders() == []

    def test_get_many_returns_each_error_in_place_of_its_value(self, store: Store) -> None:
        for n in range(40):
            store.put(f"many/{n}", str(n).encode())
        wanted = [f"many/{n}" for n in range(45)]
        found = store.get_many([*wanted, "many/0"])
        assert list(found) == wanted
        assert [found[f"many/{n}"] for n in range(40)] == [str(n).encode() for n in range(40)]
        for n in range(40, 45):
            assert isinstance(found[f"many/{n}"], KeyMissing)
            assert f"'many/{n}'" in str(found[f"many/{n}"])

    def test_a_record_is_read_back_unchanged(self, store: Store) -> None:
        record = {"name": "Straße 日本", "lr": 1e-3, "none": None, "list": [1, "a"]}
        store.put_json("r.json", record)
        assert store.get_json("r.json") == record

    def test_an_incomplete_record_is_broken_and_named(self, store: Store) -> None:
        store.put("towns/end.json", b'{"state": "succ')
        with pytest.raises(RecordBroken, match=r"^towns/end\.json is not whole JSON: "):
            store.get_json("towns/end.json")
        store.put("towns/end.json", b"[1]")
        with pytest.raises(RecordBroken, match=r"^towns/end\.json holds list, not a JSON object"):
            store.get_json("towns/end.json")
        store.put("towns/end.json", b"\xff\xfe\x00")
        with pytest.raises(RecordBroken, match=r"^towns/end\.json is not whole JSON: "):
            store.get_json("towns/end.json")
