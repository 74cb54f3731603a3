"""What people have added to runs: edits are read once, and folded each time."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence

from rvlab.errors import KeyMissing, RecordBroken, RvlabError, StoreUnreachable
from rvlab.frame.gather import Kind, gathered, known
from rvlab.frame.later import Later
from rvlab.frame.part import Part
from rvlab.frame.shelf import StoreShelf
from rvlab.model import EDITS
from rvlab.model.edit import Edit, Edited, folded
from rvlab.store import Store, parsed
from rvlab.store.store import cuts_of

COLUMNS = [("text", "string")]

KIND = Kind("edits", lambda table: [(one.name, str(one.type)) for one in table.schema] == COLUMNS)


def listed(store: Store, experiment: str) -> dict[str, str | None]:
    """The edits of an experiment's runs, ``{run}/{edit}.json``, each with its ETag."""
    start = f"{experiment}/{EDITS}/"
    near = (key for part in known(store, experiment, KIND) for key in part.keys)
    cuts = [f"{start}{key}" for key in cuts_of(near)]
    return {key[len(start) :]: tag for key, tag in sorted(store.tags(start, cuts).items())}


def edited(store: Store, experiment: str) -> dict[str, Edited]:
    """What the edits of an experiment's runs come to, by the id of the run; see `edits_of`."""
    with Later(store) as later:
        return edits_of(store, experiment, listed(store, experiment), later)


def edits_of(
    store: Store, experiment: str, current: Mapping[str, str | None], later: Later
) -> dict[str, Edited]:
    """What the edits of an experiment's runs come to, by the id of the run.

    Args:
        store: Where the runs lie.
        experiment: Their experiment.
        current: What `listed` says.
        later: Takes the keeping of what was read.

    Returns:
        Those of runs that have an edit.

    Warns:
        UserWarning: For an edit that cannot be read; it is left out.

    Raises:
        StoreUnreachable: If nobody answers at the store's address.
    """
    start = f"{experiment}/{EDITS}/"
    mine = {key: tag for key, tag in current.items() if key.count("/") == 1}

    def read(keys: Sequence[str]) -> Part:
        return _read(store, start, keys)

    shelf = StoreShelf(store, experiment, KIND.name)
    part = gathered(KIND, shelf, mine, read, later, whole=True)
    found: dict[str, list[Edit]] = {}
    texts = part.table.column("text").to_pylist() if len(part) else []
    for key, text in zip(part.keys, texts, strict=True):
        try:
            edit = Edit.from_record(parsed(key, (text or "").encode()), key)
        except RecordBroken as exc:  # in a shared block that another program wrote
            warnings.warn(f"An edit is left out of the table: {exc}", stacklevel=5)
            continue
        found.setdefault(key.partition("/")[0], []).append(edit)
    return {run: folded(edits) for run, edits in found.items()}


def _record(key: str, data: bytes) -> str:
    return json.dumps(Edit.from_record(parsed(key, data), key).record())


def _read(store: Store, start: str, keys: Sequence[str]) -> Part:
    import pyarrow as pa

    good: dict[str, tuple[str, str | None]] = {}
    for key, answer in store.read_many([f"{start}{key}" for key in keys], _record).items():
        if isinstance(answer, StoreUnreachable):
            raise answer
        if isinstance(answer, KeyMissing):
            continue  # its run was deleted after the listing
        if isinstance(answer, RvlabError):
            warnings.warn(f"An edit is left out of the table: {answer}", stacklevel=6)
            continue
        good[key[len(start) :]] = answer
    texts, tags = [text for text, _ in good.values()], [tag for _, tag in good.values()]
    return Part(pa.table({"text": pa.array(texts, pa.string())}), list(good), tags)
