"""Which runs an experiment has: two listings, cut into pieces where many are known."""

from __future__ import annotations

import pytest

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
    assert (roll(store, "towns").runs, roll(store, "towns").going) == ([one], [one])
    close(store, one, {})
    found = roll(store, "towns")
    assert (found.runs, found.going, list(found.ends)) == ([one], [], [one.id])
    assert not store.exists(one.open_key)
    assert is_on(store, one)
    reopen(store, one)
    assert roll(store, "towns").going == [one]


def test_only_one_ends_a_run_and_a_key_that_is_left_open_beside_its_end_counts_nothing(
    store: Store,
) -> None:
    one = ended(store, 1)
    enter(store, [one])  # as if the one who ended it had been killed before he took it away
    assert roll(store, "towns").going == []
    with pytest.raises(KeyExists):
        close(store, one, {"another": True})
    assert store.get_json(one.end_key) == {"number": 1}
    assert not store.exists(one.open_key)


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
    monkeypatch.setattr("rvlab.store.store.PIECE", 3)
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


def test_what_lies_beside_the_ends_is_no_run(store: Store) -> None:
    one = ended(store, 1)
    for key in ("ends/README", "ends/a b.json", "open/.x", "ends/deep/x.json", "index/x"):
        store.put(f"towns/{key}", b"")
    found = roll(store, "towns")
    assert found.runs == [one]
    assert found.parts == ["towns/index/x"]
