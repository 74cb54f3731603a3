"""Annotations of a run: tags, a note and archiving."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rvlab.errors import RecordBroken, SpecError
from rvlab.model.record import read_record, require_schema

MAX_TAG_CHARS = 100

ANNOTATION_SCHEMA = 1


@dataclass(frozen=True)
class Annotation:
    """One change to a run by a user, which is written once and never rewritten.

    Args:
        at: The time of the change, ISO 8601 in UTC.
        by: The author, as ``user@host``.
        tags_added: Tags added to the run.
        tags_removed: Tags removed from the run.
        note: The new note, ``""`` to delete it; None does not change it.
        archived: Whether the run is archived; None does not change it.
        schema: The schema number of this record.
    """

    at: str
    by: str
    tags_added: tuple[str, ...] = ()
    tags_removed: tuple[str, ...] = ()
    note: str | None = None
    archived: bool | None = None
    schema: int = field(default=ANNOTATION_SCHEMA)

    def record(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: object, key: str) -> Annotation:
        """Parse a record; keys that a later version added are ignored.

        Raises:
            RecordBroken: If a field is missing or has another type, or a tag is invalid.
        """
        found = read_record(cls, record, key, "an annotation")
        require_schema(found.schema, key)
        for tag in found.tags_added:
            try:
                validate_tag(tag)
            except SpecError as exc:
                raise RecordBroken(f"{key} is not an annotation: {exc}") from exc
        added, removed = tuple(found.tags_added), tuple(found.tags_removed)
        return replace(found, tags_added=added, tags_removed=removed)


@dataclass(frozen=True)
class RunAnnotations:
    """The merged annotations of a run.

    Args:
        tags: Its tags, sorted.
        note: The latest note; None without one.
        archived: Whether it is archived.
    """

    tags: tuple[str, ...] = ()
    note: str | None = None
    archived: bool = False


def merge_annotations(edits: Iterable[Annotation]) -> RunAnnotations:
    """Merge the annotations of a run, given the oldest first."""
    tags: set[str] = set()
    note, archived = "", False
    for edit in edits:
        tags = (tags | set(edit.tags_added)) - set(edit.tags_removed)
        note = note if edit.note is None else edit.note
        archived = archived if edit.archived is None else edit.archived
    return RunAnnotations(tuple(sorted(tags)), note or None, archived)


def validate_tag(tag: Any) -> str:
    """Return a tag without surrounding whitespace.

    Raises:
        SpecError: If the tag is not text of 1 to 100 characters on one line.
    """
    text = tag.strip() if isinstance(tag, str) else ""
    # Control characters, surrogates, and line and paragraph separators.
    bad = any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text)
    if not text or len(text) > MAX_TAG_CHARS or bad:
        shown = repr(tag) if len(repr(tag)) <= 60 else f"{repr(tag)[:57]}..."
        raise SpecError(
            f"{shown} is not a valid tag. Use text of 1 to {MAX_TAG_CHARS} characters on one line."
        )
    return text
