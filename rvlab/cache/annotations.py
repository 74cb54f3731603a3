"""The annotations of runs (tags, notes, archiving), cached and merged for each table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvlab.cache.block import RowBlock
from rvlab.cache.query import Query
from rvlab.cache.row_cache import ANNOTATIONS, read_through
from rvlab.errors import KeyMissing, RecordBroken, RvlabError, StoreBusy, StoreUnreachable
from rvlab.model import ANNOTATIONS_DIR
from rvlab.model.annotation import Annotation, RunAnnotations, merge_annotations
from rvlab.store import Store, parse_record
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    from collections.abc import Mapping


def load_annotations_by_run(store: Store, experiment: str) -> dict[str, RunAnnotations]:
    """Return the merged annotations of each run of an experiment, by run id."""
    with Query(store) as query:
        return read_annotations_by_run(query, experiment)


def read_annotations_by_run(query: Query, experiment: str) -> dict[str, RunAnnotations]:
    """Return the merged annotations of an experiment's runs, by run id.

    Args:
        query: The query that caches them.
        experiment: The experiment.

    Returns:
        One entry for each run that has an annotation.

    Warns:
        UserWarning: For an annotation that cannot be read; it is left out.

    Raises:
        StoreUnreachable: If the store does not answer.
    """
    current = query.annotation_etags(experiment)
    if not current:
        return {}
    start = f"{experiment}/{ANNOTATIONS_DIR}/"

    def read(keys: Sequence[str]) -> RowBlock:
        return _read_annotation_block(query.store, start, keys)

    block = read_through(query, ANNOTATIONS, experiment, current, read, is_complete=True)
    found: dict[str, list[Annotation]] = {}
    texts = block.table.column("text").to_pylist() if len(block) else []
    for key, text in zip(block.keys, texts, strict=True):
        try:
            edit = Annotation.from_record(parse_record(key, str(text).encode()), key)
        except RecordBroken as exc:  # in a shared block that another program wrote
            _warn(exc)
            continue
        found.setdefault(key.partition("/")[0], []).append(edit)
    return {run: merge_annotations(edits) for run, edits in found.items()}


def _validated_json(key: str, data: bytes) -> str:
    return json.dumps(Annotation.from_record(parse_record(key, data), key).record())


def _read_annotation_block(store: Store, prefix: str, keys: Sequence[str]) -> RowBlock:
    import pyarrow as pa

    good: dict[str, tuple[str, str | None]] = {}
    answers: Mapping[str, tuple[str, str | None] | RvlabError]
    answers = store.read_many([f"{prefix}{key}" for key in keys], _validated_json)
    for key, answer in answers.items():
        if isinstance(answer, StoreUnreachable) and not isinstance(answer, StoreBusy):
            raise answer
        if isinstance(answer, KeyMissing):
            continue  # its run was deleted after the listing
        if isinstance(answer, RvlabError):
            _warn(answer)
            continue
        good[key[len(prefix) :]] = answer
    texts, etags = [text for text, _ in good.values()], [etag for _, etag in good.values()]
    return RowBlock(pa.table({"text": pa.array(texts, pa.string())}), list(good), etags)


def _warn(exc: RvlabError) -> None:
    warn_user(f"An annotation is left out of the table: {exc}")
