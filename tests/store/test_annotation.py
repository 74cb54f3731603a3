"""Annotations, each in a key of its own, and the deletion of runs with all their keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rvlab.model import Run
from rvlab.store import Store, annotation
from rvlab.store.delete import delete_runs
from rvlab.store.run_listing import finish_run, list_runs, write_active_marks


def ended_run(store: Store, number: int, experiment: str = "towns") -> Run:
    run = Run(store.uri, experiment, f"20261123-154201-{number:06x}")
    for name in ("spec.json", "rv/train/log.csv", "steps/train.json"):
        store.put(run.key(*name.split("/")), b"{}")
    write_active_marks(store, [run])
    finish_run(store, run, {})
    return run


def test_each_annotation_is_a_key_of_its_own(store: Store) -> None:
    first, second = ended_run(store, 0), ended_run(store, 1)
    annotation.write_annotations(store, [first, second], "me@here", tags_added=("good",))
    annotation.write_annotations(store, [first], "me@here", tags_added=("final",), note="old")
    annotation.write_annotations(
        store, [first], "me@here", tags_removed=("good",), note="new", archived=True
    )
    keys = [key for key, _ in store.files("towns/annotations")]
    assert len(keys) == 4
    shape = r"towns/annotations/20261123-154201-\d{6}/\d{8}-\d{6}-\d{6}-[0-9a-f]{6}\.json"
    assert all(re.fullmatch(shape, key) for key in keys)


def test_a_deleted_run_leaves_no_key_and_no_folder(store: Store) -> None:
    first, second = ended_run(store, 0), ended_run(store, 1)
    store.put("_data/town/scene.tif", b"it stays")
    annotation.write_annotations(store, [first, second], "me@here", note="x")
    delete_runs(store, [first])
    assert store.folders("towns/") == [second.id, "annotations", "runs"]
    assert list_runs(store, "towns").runs == [second]
    assert store.folders("towns/annotations/") == [second.id]
    assert len(store.files(second.prefix)) == 3
    delete_runs(store, [second])
    assert store.folders() == ["_data"]
    assert [key for key, _ in store.files()] == ["_data/town/scene.tif"]
    delete_runs(store, [second])  # deleted already


def test_the_cache_is_deleted_with_the_last_run_and_other_files_remain(store: Store) -> None:
    first, second = ended_run(store, 0), ended_run(store, 1)
    store.put("towns/cache/events/x.json", b"{}")
    store.put("towns/README.txt", b"mine")
    delete_runs(store, [first])
    assert store.exists("towns/cache/events/x.json")
    delete_runs(store, [second])
    assert [key for key, _ in store.files()] == ["towns/README.txt"]
    assert store.folders("towns/") == []


def test_the_keys_that_list_a_run_are_deleted_last(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended_run(store, 0)
    annotation.write_annotations(store, [run], "me@here", note="x")
    deleted: list[str] = []
    delete = store._objects.delete
    monkeypatch.setattr(store._objects, "delete", lambda key: deleted.append(key) or delete(key))
    delete_runs(store, [run])
    assert deleted[0].startswith("towns/annotations/")
    assert deleted[-4:] == [
        run.step_key("train"),
        run.key("spec.json"),
        run.end_key,
        run.active_key,
    ]


def test_empty_folders_on_the_disk_are_deleted_with_the_run(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    run = ended_run(store, 0)
    folder = tmp_path / "store" / run.prefix
    (folder / "rv" / "predict" / "empty").mkdir(parents=True)
    (folder / "rv" / "model.zip#1").write_bytes(b"an upload that was cut off")
    delete_runs(store, [run])
    assert list((tmp_path / "store").iterdir()) == []
