"""What people add to a run later: tags, a note, and whether it is put out of sight."""

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
    """One change that somebody made; it is written once and never rewritten.

    Args:
        at: When, ISO 8601 in UTC.
        by: Who, as ``user@host``.
        tags_added: Tags that the run has from now on.
        tags_removed: Tags that it has no more.
        note: The note from now on, ``""`` for none; None leaves it as it is.
        archived: Whether it is archived from now on; None leaves it as it is.
        schema: The number of this record's form.
    """

    at: str
    by: str
    tags_added: tuple[str, ...] = ()
    tags_removed: tuple[str, ...] = ()
    note: str | None = None
    archived: bool | None = None
    schema: int = field(default=ANNOTATION_SCHEMA)

    def record(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: object, key: str) -> Annotation:
        """Read a record; keys that a later version added are left out.

        Raises:
            RecordBroken: If something it needs is missing or of another type.
        """
        found = read_record(cls, record, key, "an edit")
        require_schema(found.schema, key)
        for tag in found.tags_added:
            try:
                validate_tag(tag)
            except SpecError as exc:
                raise RecordBroken(f"{key} is not an edit: {exc}") from exc
        added, removed = tuple(found.tags_added), tuple(found.tags_removed)
        return replace(found, tags_added=added, tags_removed=removed)


@dataclass(frozen=True)
class RunAnnotations:
    """What the edits of a run come to.

    Args:
        tags: Its tags, sorted.
        note: The latest note; None if there is none.
        archived: Whether it is archived.
    """

    tags: tuple[str, ...] = ()
    note: str | None = None
    archived: bool = False


def merge_annotations(edits: Iterable[Annotation]) -> RunAnnotations:
    """What edits come to, the oldest first."""
    tags: set[str] = set()
    note, archived = "", False
    for edit in edits:
        tags = (tags | set(edit.tags_added)) - set(edit.tags_removed)
        note = note if edit.note is None else edit.note
        archived = archived if edit.archived is None else edit.archived
    return RunAnnotations(tuple(sorted(tags)), note or None, archived)


def validate_tag(tag: Any) -> str:
    """A tag without the blanks around it.

    Raises:
        SpecError: If it is no text of 1 to 100 characters on one line.
    """
    text = tag.strip() if isinstance(tag, str) else ""
    # Control characters, halves of a character, and what ends a line or a paragraph.
    bad = any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text)
    if not text or len(text) > MAX_TAG_CHARS or bad:
        shown = repr(tag) if len(repr(tag)) <= 60 else f"{repr(tag)[:57]}..."
        raise SpecError(
            f"{shown} cannot be a tag. Take text of 1 to {MAX_TAG_CHARS} characters on one line."
        )
    return text
