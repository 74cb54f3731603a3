"""Annotations of a run: JSON round trip, merging and validation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab.errors import RecordBroken, SpecError
from rvlab.model.annotation import Annotation, RunAnnotations, merge_annotations, validate_tag

EDIT = Annotation(
    at="2026-11-23T15:42:01.000+00:00",
    by="me@here",
    tags_added=("good", "größer"),
    tags_removed=("odd",),
    note="the one",
    archived=True,
)


def test_annotation_survives_a_json_round_trip() -> None:
    for edit in (EDIT, Annotation(EDIT.at, EDIT.by)):
        record = json.loads(json.dumps(edit.record()))
        assert Annotation.from_record(record, "k") == edit
        assert Annotation.from_record({**record, "new": 1}, "k") == edit
    assert record["schema"] == 1
    assert set(record) == {
        *("schema", "at", "by", "tags_added", "tags_removed", "note", "archived"),
    }


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"tags_added": "good"}, r"tags_added is str, not tuple\[str, \.\.\.\]"),
        ({"tags_removed": ["a", 5]}, "tags_removed.1 is int, not tuple"),
        ({"note": 5}, r"note is int, not str \| None"),
        ({"archived": "yes"}, r"archived is str, not bool \| None"),
        ({"at": None}, "at is NoneType, not str"),
    ],
)
def test_annotation_with_wrong_types_is_broken(change: dict[str, Any], why: str) -> None:
    with pytest.raises(RecordBroken, match=f"^k is not an annotation: {why}"):
        Annotation.from_record({**EDIT.record(), **change}, "k")
    with pytest.raises(RecordBroken, match=r"^k is not an annotation: by is missing\.$"):
        Annotation.from_record({"at": EDIT.at}, "k")


def test_merge_uses_the_latest_value_of_each_field() -> None:
    made = [
        {"tags_added": ("b", "a"), "note": "first"},
        {"archived": True},
        {"tags_added": ("c",), "tags_removed": ("b", "never there")},
        {"note": "second"},
    ]
    edits = [Annotation(EDIT.at, EDIT.by, **one) for one in made]  # type: ignore[arg-type]
    assert merge_annotations(edits) == RunAnnotations(("a", "c"), "second", True)
    edits += [Annotation(EDIT.at, EDIT.by, note="", archived=False)]
    assert merge_annotations(edits) == RunAnnotations(("a", "c"), None, False)
    assert merge_annotations([]) == RunAnnotations()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_tag_is_set_if_its_last_change_added_it(steps: list[tuple[str, bool]]) -> None:
    edits = [
        Annotation("", "", tags_added=(tag,)) if add else Annotation("", "", tags_removed=(tag,))
        for tag, add in steps
    ]
    assert merge_annotations(edits).tags == tuple(
        sorted(tag for tag, add in dict(steps).items() if add)
    )


@pytest.mark.parametrize("tag", ["a", "for the paper", "größer", "x" * 100, "👩‍🌾", " a "])
def test_text_on_one_line_is_a_valid_tag(tag: str) -> None:
    assert validate_tag(tag) == tag.strip()


@pytest.mark.parametrize(
    "tag", ["", "  ", "x" * 101, "a\nb", "a\tb", "a\x00", "a\u2028b", "\ud800", 5, None, ["a"]]
)
def test_invalid_tag_raises(tag: Any) -> None:
    with pytest.raises(SpecError, match=r"is not a valid tag\. Use text of 1 to 100 characters"):
        validate_tag(tag)
