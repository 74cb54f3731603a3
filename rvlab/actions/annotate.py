"""Add tags, notes and archive marks to runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rvlab.errors import SpecError
from rvlab.frame.run_selector import RunSelector, require_existing
from rvlab.model.annotation import validate_tag
from rvlab.store import Store, annotation
from rvlab.submission import current_user


def tag_runs(
    store: Store, runs: RunSelector, tags: Iterable[str], remove: str | Iterable[str]
) -> None:
    """Add and remove tags of runs; see `rvlab.Lab.tag`."""
    added = tuple(dict.fromkeys(map(validate_tag, tags)))
    removed = tuple(
        dict.fromkeys(map(validate_tag, [remove] if isinstance(remove, str) else remove))
    )
    both = sorted({*added} & {*removed})
    if both:
        raise SpecError(f"The tag {both[0]!r} is added and removed at once. Choose one.")
    if not added and not removed:
        raise SpecError("tag needs a tag to add, or remove= with one to remove.")
    annotate_runs(store, runs, "tag", tags_added=added, tags_removed=removed)


def note_runs(store: Store, runs: RunSelector, text: str) -> None:
    """Set the note of runs; see `rvlab.Lab.note`."""
    if not isinstance(text, str) or any("\ud800" <= char <= "\udfff" for char in text):
        raise SpecError(f"{text!r} cannot be a note. Pass text, or '' for no note.")
    annotate_runs(store, runs, "note", note=text)


def annotate_runs(store: Store, runs: RunSelector, verb: str, **changes: Any) -> None:
    """Write one annotation per run.

    Raises:
        SpecError: If `runs` is None, so that a forgotten argument does not change every run.
        NotFound: If a run does not exist.
    """
    if runs is None:
        raise SpecError(f"{verb} needs runs, got None. Name runs or their experiment.")
    annotation.write_annotations(store, require_existing(store, runs), current_user(), **changes)
