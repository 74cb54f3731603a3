"""The run listing of an experiment, in pages that are requested concurrently."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

import pytest

from rvlab.cache.query import list_experiment
from rvlab.errors import KeyExists
from rvlab.model import Run
from rvlab.store import Store
from rvlab.store.run_listing import (
    finish_run,
    list_runs,
    listing_of_named_runs,
    reopen_run,
    run_exists,
    write_active_marks,
)


def run(store: Store, number: int) -> Run:
    return Run(store.uri, "towns", f"20261123-154201-{number:06x}")


def end_run(store: Store, number: int) -> Run:
    one = run(store, number)
    write_active_marks(store, [one])
    finish_run(store, one, {"number": number})
    return one


def test_a_run_is_listed_from_its_start_to_its_deletion(store: Store) -> None:
    one = run(store, 1)
    assert list_runs(store, "towns").ids == []
    assert not run_exists(store, one)
    write_active_marks(store, [one])
    assert (list_runs(store, "towns").runs, list_runs(store, "towns").active) == ([one], [one])
    finish_run(store, one, {})
    found = list_runs(store, "towns")
    assert (found.runs, found.active, list(found.end_etags)) == ([one], [], [one.id])
    assert not store.exists(one.active_key)
    assert run_exists(store, one)
    reopen_run(store, one)
    assert list_runs(store, "towns").active == [one]


def test_a_run_ends_once_and_a_mark_beside_its_end_is_ignored(
    store: Store,
) -> None:
    one = end_run(store, 1)
    # As if the process that ended it had been killed before deleting it.
    write_active_marks(store, [one])
    assert list_runs(store, "towns").active == []
    with pytest.raises(KeyExists):
        finish_run(store, one, {"another": True})
    assert store.get_json(one.end_key)["number"] == 1
    assert not store.exists(one.active_key)


def test_a_rewritten_end_record_has_another_etag(store: Store) -> None:
    one, other = end_run(store, 1), end_run(store, 2)
    before = list_runs(store, "towns").end_etags
    store.put_json(one.end_key, {"number": 5})
    after = list_runs(store, "towns").end_etags
    assert before[one.id] != after[one.id] is not None
    assert before[other.id] == after[other.id]
    assert after[one.id] == store.etag(one.end_key) == store.get_with_etag(one.end_key)[1]


def test_named_runs_are_looked_up_one_by_one(store: Store) -> None:
    one, other, missing = end_run(store, 2), run(store, 1), run(store, 9)
    write_active_marks(store, [other])
    found = listing_of_named_runs(store, "towns", [one.id, missing.id, other.id, one.id])
    assert found.ids == [one.id, missing.id, other.id]
    assert list(found.end_etags) == [one.id]
    assert not found.is_complete
    many = listing_of_named_runs(store, "towns", [one.id, *(f"none-{n}" for n in range(40))])
    assert (many.end_etags, len(many.ids), many.is_complete) == (found.end_etags, 41, False)


@pytest.mark.parametrize("deleted", [[], [3, 6], [0, 11], list(range(12))])
def test_a_listing_in_pages_is_complete_after_any_changes(
    store: Store, monkeypatch: pytest.MonkeyPatch, deleted: list[int]
) -> None:
    monkeypatch.setattr("rvlab.store.store.PAGE_KEYS", 3)
    runs = [end_run(store, 10 * n) for n in range(12)]
    near = list_runs(store, "towns").ids
    assert list_runs(store, "towns", near).ids == near
    store.delete([runs[n].end_key for n in deleted])
    new = [end_run(store, number) for number in (1, 31, 35, 500)]
    left = [one for n, one in enumerate(runs) if n not in deleted]
    found = list_runs(store, "towns", near)
    assert found.runs == sorted([*left, *new])
    assert found == list_runs(store, "towns", near[::2])
    assert dict(found.end_etags) == dict(list_runs(store, "towns").end_etags)


@pytest.mark.parametrize("boundaries", [[], [2, 5, 9], [11], [0, 1]])
@pytest.mark.parametrize("active", [0, 1, 3, 8])
@pytest.mark.parametrize("page", [3, 1000])
def test_first_listing_is_complete_for_any_page_boundaries(
    store: Store, monkeypatch: pytest.MonkeyPatch, boundaries: list[int], active: int, page: int
) -> None:
    monkeypatch.setattr("rvlab.store.object_storage.MAX_KEYS_PER_PAGE", page)
    over = [end_run(store, 10 * n) for n in range(12)]
    going = [run(store, 10 * n + 5) for n in range(active)]
    write_active_marks(store, going)
    index = [f"towns/cache/runs-3/000000012-0.pages/{over[n].id}" for n in boundaries]
    for key in index:
        store.put(key, b"")
    found = list_experiment(store, "towns")
    assert found is not None
    assert found.runs == sorted([*over, *going])
    assert found.active == sorted(going)
    assert found.end_etags == list_runs(store, "towns").end_etags
    assert found.cache_keys is not None
    assert sorted(found.cache_keys) == sorted(index)


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_ends_during_the_listing_is_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setattr("rvlab.store.object_storage.MAX_KEYS_PER_PAGE", 2)
    going = [run(store, n) for n in range(9)]
    write_active_marks(store, going)
    left, lock, plain = list(going), Lock(), store._objects.pages

    def slow(prefix: str, after: str | None) -> Iterator[dict[str, str | None]]:
        for page in plain(prefix, after):
            yield page
            with lock:
                if left:
                    finish_run(store, left.pop(0), {})

    monkeypatch.setattr(store._objects, "pages", slow)
    for _ in range(6):
        found = list_experiment(store, "towns") if first else list_runs(store, "towns")
        assert found is not None
        assert found.runs == going
    assert len(left) < 9


def test_other_keys_beside_the_end_records_are_not_runs(store: Store) -> None:
    one = end_run(store, 1)
    for key in (
        "runs/ended/README",
        "runs/ended/a b.json",
        "runs/active/.x",
        "runs/ended/deep/x.json",
        "cache/x",
    ):
        store.put(f"towns/{key}", b"")
    found = list_experiment(store, "towns")
    assert found is not None
    assert found.runs == list_runs(store, "towns").runs == [one]
    assert found.cache_keys == ["towns/cache/x"]
