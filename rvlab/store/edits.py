"""Edits of runs, each a key of its own beside them: ``{experiment}/edits/{run}/{time}-{hex}.json``.

They lie beside the runs and not in them, so that one listing finds those of a whole experiment.
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rvlab.errors import KeyMissing, RvlabError, StoreUnreachable
from rvlab.model import Run, utc_now
from rvlab.model.edit import EDITS, Edit, Edited, folded
from rvlab.store.store import Store, parsed


def prefix(run: Run) -> str:
    """The folder of a run's edits."""
    return f"{run.experiment}/{EDITS}/{run.id}"


def put(store: Store, runs: Sequence[Run], by: str, **changes: Any) -> None:
    """Write one edit of each run.

    Args:
        store: Where the runs lie.
        runs: The runs.
        by: Who makes it.
        **changes: What changes, as `Edit` has it.
    """
    moment = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    record = Edit(utc_now(), by, **changes).record()
    keys = [f"{prefix(run)}/{moment}-{secrets.token_hex(3)}.json" for run in runs]
    store.each(lambda key: store.put_json(key, record, if_absent=True), keys)


def edited(store: Store, runs: Sequence[Run]) -> Mapping[Run, Edited]:
    """What the edits of runs come to, from one listing for each of their experiments.

    Args:
        store: Where the runs lie.
        runs: The runs; those without an edit are not in the answer.

    Warns:
        UserWarning: For an edit that cannot be read; it is left out.

    Raises:
        StoreUnreachable: If nobody answers at the store's address.
    """
    folders = {prefix(run): run for run in runs}
    listed = store.each(store.files, {f"{run.experiment}/{EDITS}" for run in runs})
    keys = [key for files in listed.values() for key, _ in files]
    mine = sorted(key for key in keys if key.rpartition("/")[0] in folders)
    found: dict[Run, list[Edit]] = {}
    for key, data in store.get_many(mine).items():
        try:
            if isinstance(data, RvlabError):
                raise data
            edit = Edit.from_record(parsed(key, data), key)
        except StoreUnreachable:
            raise
        except KeyMissing:
            continue  # its run was deleted after the listing
        except RvlabError as exc:
            warnings.warn(f"An edit is left out of the table: {exc}", stacklevel=3)
            continue
        found.setdefault(folders[key.rpartition("/")[0]], []).append(edit)
    return {run: folded(each) for run, each in found.items()}
