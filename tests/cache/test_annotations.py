"""Annotations: one listing per experiment, and one GET for each annotation that is not cached."""

from __future__ import annotations

import pytest

from rvlab.cache.annotations import load_annotations_by_run
from rvlab.errors import StoreUnreachable
from rvlab.model.annotation import RunAnnotations
from rvlab.store import S3Access, Store, annotation
from tests.frame.samples import Made


def test_later_annotation_overrides_earlier_ones(store: Store, made: Made) -> None:
    first, second, other = (made.ended() for _ in range(3))
    annotation.write_annotations(store, [first, second], "me@here", tags_added=("good",))
    annotation.write_annotations(store, [first], "me@here", tags_added=("final",), note="old")
    assert load_annotations_by_run(store, "towns")[first.id] == RunAnnotations(
        ("final", "good"), "old"
    )
    annotation.write_annotations(
        store, [first], "me@here", tags_removed=("good",), note="new", archived=True
    )
    assert load_annotations_by_run(store, "towns") == {
        first.id: RunAnnotations(("final",), "new", True),
        second.id: RunAnnotations(("good",)),
    }
    assert other.id not in load_annotations_by_run(store, "towns")
    assert load_annotations_by_run(store, "nowhere") == {}


def test_annotation_is_read_once_and_ignored_after_its_deletion(
    store: Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [made.ended() for _ in range(3)]
    annotation.write_annotations(store, runs, "me@here", note="x")
    read: list[str] = []
    tagged = store._objects.get_with_etag
    monkeypatch.setattr(store._objects, "get_with_etag", lambda *a: read.append(a[0]) or tagged(*a))
    assert load_annotations_by_run(store, "towns") == {
        run.id: RunAnnotations(note="x") for run in runs
    }
    assert len(read) == 3
    annotation.write_annotations(store, runs[:1], "me@here", note="y")
    assert load_annotations_by_run(store, "towns")[runs[0].id] == RunAnnotations(note="y")
    assert len(read) == 4
    store.delete(key for key, _ in store.files(annotation.annotation_key_prefix(runs[0])))
    assert load_annotations_by_run(store, "towns") == {
        run.id: RunAnnotations(note="x") for run in runs[1:]
    }
    assert len(read) == 4


def test_unreadable_annotation_is_left_out_with_a_warning(store: Store, made: Made) -> None:
    run = made.ended()
    annotation.write_annotations(store, [run], "me@here", note="it stays")
    broken = f"towns/annotations/{run.id}/20991231-000000-000000-ffffff.json"
    store.put(broken, b'{"at": "now"')
    for _ in range(2):
        with pytest.warns(UserWarning, match=f"left out of the table: {broken} is not wh"):
            assert load_annotations_by_run(store, "towns") == {
                run.id: RunAnnotations(note="it stays")
            }


def test_unreachable_store_raises() -> None:
    unreachable = Store("s3://bucket", S3Access("http://127.0.0.1:9", "key", "secret"))
    with pytest.raises(StoreUnreachable):
        load_annotations_by_run(unreachable, "towns")
