"""Which runs an experiment has: two listings, cut into pieces where many are known."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

import pytest

from rvlab.cache.query import list_experiment
from rvlab.errors import KeyExists
from rvlab.model import Run
from rvlab.store import Store
from rvlab.store.roll import called, close, enter, is_on, reopen, roll


def run(store: Store, number: int) -> Run:
    return Run(store.uri, "towns", f"20261123-154201-{number:06x}")


def ended(store: Store, number: int) -> Run:
    one = run(store, number)
    enter(store, [one])
    close(store, one, {"number": number})
    return one


def test_a_run_is_on_the_roll_from_its_start_to_its_deletion(store: Store) -> None:
    one = run(store, 1)
    assert roll(store, "towns").ids == []
    assert not is_on(store, one)
    enter(store, [one])
    assert (roll(store, "towns").runs, roll(store, "towns").active) == ([one], [one])
    close(store, one, {})
    found = roll(store, "towns")
    assert (found.runs, found.active, list(found.ends)) == ([one], [], [one.id])
    assert not store.exists(one.active_key)
    assert is_on(store, one)
    reopen(store, one)
    assert roll(store, "towns").active == [one]


def test_only_one_ends_a_run_and_a_key_that_is_left_open_beside_its_end_counts_nothing(
    store: Store,
) -> None:
    one = ended(store, 1)
    enter(store, [one])  # as if the one who ended it had been killed before he took it away
    assert roll(store, "towns").active == []
    with pytest.raises(KeyExists):
        close(store, one, {"another": True})
    assert store.get_json(one.end_key)["number"] == 1
    assert not store.exists(one.active_key)


def test_an_end_that_is_written_anew_has_another_tag(store: Store) -> None:
    one, other = ended(store, 1), ended(store, 2)
    before = roll(store, "towns").ends
    store.put_json(one.end_key, {"number": 5})
    after = roll(store, "towns").ends
    assert before[one.id] != after[one.id] is not None
    assert before[other.id] == after[other.id]
    assert after[one.id] == store.tag(one.end_key) == store.tagged(one.end_key)[1]


def test_runs_that_are_named_are_asked_for_one_by_one(store: Store) -> None:
    one, other, gone = ended(store, 2), run(store, 1), run(store, 9)
    enter(store, [other])
    found = called(store, "towns", [one.id, gone.id, other.id, one.id])
    assert found.ids == [one.id, gone.id, other.id]
    assert list(found.ends) == [one.id]
    assert not found.whole
    many = called(store, "towns", [one.id, *(f"none-{n}" for n in range(40))])
    assert (many.ends, len(many.ids), many.whole) == (found.ends, 41, False)


@pytest.mark.parametrize("gone", [[], [3, 6], [0, 11], list(range(12))])
def test_a_listing_in_pieces_is_whole_whatever_has_changed_since(
    store: Store, monkeypatch: pytest.MonkeyPatch, gone: list[int]
) -> None:
    monkeypatch.setattr("rvlab.store.store.PAGE_KEYS", 3)
    runs = [ended(store, 10 * n) for n in range(12)]
    near = roll(store, "towns").ids
    assert roll(store, "towns", near).ids == near
    store.delete([runs[n].end_key for n in gone])
    new = [ended(store, number) for number in (1, 31, 35, 500)]
    left = [one for n, one in enumerate(runs) if n not in gone]
    found = roll(store, "towns", near)
    assert found.runs == sorted([*left, *new])
    assert found == roll(store, "towns", near[::2])
    assert dict(found.ends) == dict(roll(store, "towns").ends)


@pytest.mark.parametrize("boundaries", [[], [2, 5, 9], [11], [0, 1]])
@pytest.mark.parametrize("active", [0, 1, 3, 8])
@pytest.mark.parametrize("page", [3, 1000])
def test_first_listing_is_complete_for_any_page_boundaries(
    store: Store, monkeypatch: pytest.MonkeyPatch, boundaries: list[int], active: int, page: int
) -> None:
    monkeypatch.setattr("rvlab.store.objects.PAGE", page)
    over = [ended(store, 10 * n) for n in range(12)]
    going = [run(store, 10 * n + 5) for n in range(active)]
    enter(store, going)
    index = [f"towns/cache/runs-3/000000012-0.pages/{over[n].id}" for n in boundaries]
    for key in index:
        store.put(key, b"")
    found = list_experiment(store, "towns")
    assert found is not None
    assert found.runs == sorted([*over, *going])
    assert found.active == sorted(going)
    assert found.ends == roll(store, "towns").ends
    assert found.index is not None
    assert sorted(found.index) == sorted(index)


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_ends_while_the_roll_is_listed_is_on_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setattr("rvlab.store.objects.PAGE", 2)
    going = [run(store, n) for n in range(9)]
    enter(store, going)
    left, lock, plain = list(going), Lock(), store._objects.pages

    def slow(prefix: str, after: str | None) -> Iterator[dict[str, str | None]]:
        for page in plain(prefix, after):
            yield page
            with lock:
                if left:
                    close(store, left.pop(0), {})

    monkeypatch.setattr(store._objects, "pages", slow)
    for _ in range(6):
        found = list_experiment(store, "towns") if first else roll(store, "towns")
        assert found is not None
        assert found.runs == going
    assert len(left) < 9


def test_what_lies_beside_the_ends_is_no_run(store: Store) -> None:
    one = ended(store, 1)
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
    assert found.runs == roll(store, "towns").runs == [one]
    assert found.index == ["towns/cache/x"]
