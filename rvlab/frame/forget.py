"""Rows of runs that were deleted go from what is kept of them, here and in the store."""

from __future__ import annotations

from collections.abc import Sequence

from rvlab.frame.edited import KIND as EDITS
from rvlab.frame.gather import forgotten
from rvlab.frame.listing import ENDED
from rvlab.frame.tables import KEPT
from rvlab.model import Run
from rvlab.store import Store


def forget(store: Store, runs: Sequence[Run]) -> None:
    """Take the rows of runs out of every part that has some; their keys are gone already.

    Raises:
        StoreError: If the store refuses.
    """
    ids: dict[str, set[str]] = {}
    for run in runs:
        ids.setdefault(run.experiment, set()).add(run.id)
    for experiment, gone in ids.items():
        for kind in (ENDED, EDITS, *KEPT.values()):
            forgotten(store, experiment, kind, gone)
