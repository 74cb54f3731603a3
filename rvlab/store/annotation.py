"""Annotations of runs, one key each: ``{experiment}/annotations/{run}/{time}-{hex}.json``.

They are stored beside the runs, so that one listing finds those of a whole experiment.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rvlab.model import ANNOTATIONS_DIR, Run, utc_now
from rvlab.model.annotation import Annotation
from rvlab.store.store import Store


def annotation_key_prefix(run: Run) -> str:
    """Return the folder of a run's annotations."""
    return f"{run.experiment}/{ANNOTATIONS_DIR}/{run.id}"


def write_annotations(store: Store, runs: Sequence[Run], author: str, **changes: Any) -> None:
    """Write one annotation for each run.

    Args:
        store: The store of the runs.
        runs: The runs.
        author: Name of the author.
        **changes: Fields of `Annotation`.
    """
    moment = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    record = Annotation(utc_now(), author, **changes).record()
    keys = [f"{annotation_key_prefix(run)}/{moment}-{secrets.token_hex(3)}.json" for run in runs]
    store.map_concurrently(lambda key: store.put_json(key, record, if_absent=True), keys)
