"""Leftovers of interrupted submissions and ends are found and removed, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rvlab import Lab
from rvlab.cli import main
from rvlab.errors import SpecError
from rvlab.model import Run
from rvlab.store import Store
from rvlab.store.leftovers import leftovers, remove_leftover
from rvlab.store.run_listing import (
    delete_stale_active_mark,
    finish_run,
    list_runs,
    reopen_run,
    run_exists,
    write_active_marks,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def run(store: Store, number: int, *names: str) -> Run:
    """Return a run with some keys in its folder."""
    found = Run(store.uri, "towns", f"20261123-154201-{number:06x}")
    for name in names:
        store.put(found.key(name), b"{}")
    return found


def kinds(store: Store, older_than_s: float = 0) -> dict[str, str]:
    return {one.run.id: one.kind for one in leftovers(store, older_than_s=older_than_s)}


def aged(store: Store, hours: float = 2) -> None:
    """Set the time of all keys in the store to some hours ago."""
    moment = time.time() - 3600 * hours
    for key, _ in store.files():
        os.utime(Path(store.uri, key), (moment, moment))


def test_only_unlisted_folders_and_stale_marks_are_leftovers(store: Store) -> None:
    early, late = run(store, 1, "recipe.py"), run(store, 2, "recipe.py", "spec.json")
    ran = run(store, 3, "recipe.py", "spec.json", "steps/train.json")
    active, ended, stale = (run(store, n, "recipe.py", "spec.json") for n in (4, 5, 6))
    write_active_marks(store, [active, stale])
    finish_run(store, ended, {})
    finish_run(store, stale, {})
    write_active_marks(store, [stale])
    store.put("towns/annotations/20261123-154201-000004/x.json", b"{}")
    store.put("_data/synthetic_town/recipe.py", b"")
    assert kinds(store) == {
        stale.id: "stale active mark",
        early.id: "unfinished submission",
        late.id: "unfinished submission",
        ran.id: "unlisted folder",
    }
    removed = {one.run.id: remove_leftover(store, one) for one in leftovers(store, older_than_s=0)}
    assert removed == {stale.id: True, early.id: True, late.id: True, ran.id: False}
    assert kinds(store) == {ran.id: "unlisted folder"}
    assert set(list_runs(store, "towns").ids) == {active.id, ended.id, stale.id}
    assert list_runs(store, "towns").active == [active]
    assert early.id not in store.folders("towns/")
    for remaining in (ran, active, ended, stale):
        assert store.exists(remaining.key("spec.json"))


def test_recent_keys_may_belong_to_a_submission_in_progress(store: Store) -> None:
    run(store, 1, "recipe.py")
    assert kinds(store, 3600) == {}
    aged(store)
    assert len(kinds(store, 3600)) == 1
    store.put(run(store, 1).key("spec.json"), b"{}")
    assert kinds(store, 3600) == {}, "the newest key counts"


def test_a_run_that_is_listed_meanwhile_is_not_removed(store: Store) -> None:
    one = run(store, 1, "recipe.py", "spec.json")
    (found,) = leftovers(store, older_than_s=0)
    write_active_marks(store, [one])
    assert not remove_leftover(store, found)
    assert store.exists(one.key("recipe.py"))


@pytest.mark.parametrize("at", range(5))
def test_a_run_that_is_reopened_while_its_mark_is_deleted_remains_listed(
    store: Store, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delete the mark before each request of the reopening in turn."""
    one = run(store, 1, "spec.json")
    finish_run(store, one, {})
    write_active_marks(store, [one])
    calls = 0
    put, delete, get = Store.put, Store.delete, Store.get

    def other(method):
        def call(self, *args, **kwargs):
            nonlocal calls
            number, calls = calls, calls + 1
            if number == at:
                monkeypatch.undo()
                delete_stale_active_mark(self, one)
            return method(self, *args, **kwargs)

        return call

    for name, method in (("put", put), ("delete", delete), ("get", get)):
        monkeypatch.setattr(Store, name, other(method))
    reopen_run(store, one)
    monkeypatch.undo()
    if calls <= at:
        delete_stale_active_mark(store, one)
    assert run_exists(store, one)
    assert not store.exists(one.end_key)
    assert list_runs(store, "towns").active == [one]


@pytest.mark.parametrize("at", range(3))
def test_a_deleted_mark_is_restored_if_its_run_is_reopened_meanwhile(
    store: Store, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reopen the run before each request of the deletion in turn."""
    one = run(store, 1, "spec.json")
    finish_run(store, one, {})
    write_active_marks(store, [one])
    delete, exists = Store.delete, Store.exists

    def between(number, method):
        def call(self, *args):
            if number == at:
                monkeypatch.undo()
                reopen_run(self, one)
            return method(self, *args)

        return call

    monkeypatch.setattr(Store, "delete", between(0, delete))
    monkeypatch.setattr(Store, "exists", between(1, exists))
    delete_stale_active_mark(store, one)
    monkeypatch.undo()
    if at == 2:
        reopen_run(store, one)
    assert list_runs(store, "towns").active == [one]


def test_the_shell_lists_and_removes_leftovers(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    one = run(store, 1, "recipe.py")
    command = ["--store", store.uri, "clean"]
    assert main(command) == 0
    assert capsys.readouterr().out == "Nothing is left over.\n"
    assert main([*command, "--dry-run", "--older-than", "0"]) == 0
    said = capsys.readouterr().out
    assert one.id in said
    assert "unfinished submission" in said
    assert store.exists(one.key("recipe.py"))
    aged(store)
    assert main(command) == 0
    assert "True" in capsys.readouterr().out
    assert store.files() == []


def test_a_negative_age_is_refused(store: Store) -> None:
    with pytest.raises(SpecError, match=r"older_than_s must be 0 or more seconds, got -1"):
        Lab(store.uri).clean(older_than_s=-1)
