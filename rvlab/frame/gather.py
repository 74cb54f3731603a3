"""Reading what has not been read before, and nothing else.

What a run wrote at its end never changes. So rows that were made of it hold as long as one listing
shows the same ETags, wherever they were kept: first on this machine, then, where many are missing,
in the store, in parts that whoever reads has left there; the rest is read from the runs. Nothing
here can make a table wrong: what is kept is only ever asked for rows whose tag is today's.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rvlab.errors import StoreError
from rvlab.frame.block_file import keys_in
from rvlab.frame.later import Later, settle
from rvlab.frame.part import Part, joined
from rvlab.frame.shelf import LocalShelf, Shelf, StoreShelf
from rvlab.store import Store
from rvlab.store.store import cuts_of

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 32
"""So many keys are read one by one, rather than looked up in the store's parts."""

LEAST, MOST = 500, 100_000
"""Keys of a part in the store: fewer are not worth a part, more are left as they are."""

AT_ONCE = 2000
"""So many keys are read before what they hold is packed."""

Tags = Mapping[str, str | None]
Read = Callable[[Sequence[str]], Part]
"""Reads keys; one that cannot be read is not in the part, one that is not final has no tag."""

_read_only: set[str] = set()
"""Stores in which this process was refused to write."""

_deletions: Counter[str] = Counter()
"""How often this process has taken out of what is kept, by store."""


@dataclass(frozen=True)
class Kind:
    """A table that is kept.

    Args:
        name: What it is called.
        fits: Whether some rows are of this table, as it is made today.
        shared: Whether parts of it are left in the store for others.
        single: Whether it is one file on this machine, rather than some.
        listed: Whether parts in the store tell where a listing of its keys can be cut.
    """

    name: str
    fits: Callable[[pa.Table], bool]
    shared: bool = True
    single: bool = False
    listed: bool = False


def gathered(
    kind: Kind,
    shelf: StoreShelf,
    current: Tags,
    read: Read,
    later: Later,
    *,
    whole: bool,
) -> Part:
    """The rows of keys, of which only those are read that are not kept anywhere.

    Args:
        kind: Which table it is.
        shelf: Where its parts in the store are.
        current: The keys and the tags they have now; one without a tag is always read.
        read: Reads keys.
        later: Takes the keeping of what was read.
        whole: Whether these are all keys there are, so that what was kept of others can go.

    Returns:
        The rows in the order of the keys, those left out that cannot be read.
    """
    settle(shelf.store)
    before = _deletions[shelf.store]
    local = shelf.local()
    kept = _all_of(local, kind)
    if whole and len(kept) == 1 and (only := next(iter(kept.values()))).tagged == current:
        return only.of(list(current))  # no tag is None: such a row is not kept
    pieces = _chosen(reversed(kept.values()), current)
    missing = _missing(current, pieces)
    fresh: list[Part] = []
    if kind.shared and len(missing) > FEW:
        known = {place for piece in pieces for place in piece.places if place}
        wanted = {key: current[key] for key in missing} if pieces else current
        fresh += _chosen(_unseen(shelf, known, kind), wanted)
        missing = _missing(wanted, fresh)
    fresh += [read(missing[i : i + AT_ONCE]) for i in range(0, len(missing), AT_ONCE)]
    new = joined(fresh)
    found = joined([*pieces, new])

    _ignore_damaged(shelf, kind, later)
    final = any(tag is not None for tag in new.tags)

    def keep() -> None:
        if _deletions[shelf.store] != before:
            return  # some of it was deleted meanwhile
        one = _compacted(shelf, kind, found) if final and whole and kind.shared else found
        _keep(local, kept, one, new, kind=kind, whole=whole)

    if final or (whole and kind.single and len(found) < sum(map(len, kept.values()))):
        later.do(keep)
    return found.of([key for key in current if key in found.at])


def known(store: Store, experiment: str, kind: Kind) -> list[Part]:
    """The rows that are kept on this machine, whether they still hold or not."""
    settle(store.uri)
    return list(_all_of(LocalShelf(store, experiment, kind.name), kind).values())


def forgotten(store: Store, experiment: str, kind: Kind, gone: set[str]) -> None:
    """Take rows out of what is kept, after what they were made of was deleted.

    Args:
        store: Where the runs lay.
        experiment: Their experiment.
        kind: The table.
        gone: The ids of the runs.

    Raises:
        StoreError: If the store refuses.
    """
    _deletions[store.uri] += 1
    settle(store.uri)
    shelf = StoreShelf(store, experiment, kind.name)

    def write_there(part: Part) -> None:
        _write(shelf, kind, part)

    local = shelf.local()
    for one, write in ((local, local.write), (shelf, write_there)):
        for name, part in _all_of(one, kind).items():
            left = [key for key in part.keys if key.partition("/")[0] not in gone]
            if len(left) < len(part):
                if left:
                    write(part.of(left))
                one.remove([name])
        one.remove_older()
    if kind.listed:
        shelf.drop_cuts(gone)


def _write(shelf: StoreShelf, kind: Kind, part: Part) -> str | None:
    name = shelf.write(part)
    if kind.listed and name is not None:
        shelf.cut(name, cuts_of(part.keys))
    return name


def _ignore_damaged(shelf: StoreShelf, kind: Kind, later: Later) -> None:
    """Warn of shared blocks that failed a check, and delete them where that is allowed."""
    damaged = list(shelf.damaged)
    for name, reason in (shelf.damaged | shelf.ignored).items():
        warnings.warn(
            f"A shared cache block of {kind.name!r} in {shelf.store} is ignored, and the runs are "
            f"read instead: {name}: {reason}.",
            stacklevel=6,
        )

    def remove() -> None:
        with contextlib.suppress(StoreError):  # this process may only read
            shelf.remove(damaged)

    if damaged and shelf.store not in _read_only:
        later.do(remove)


def _all_of(shelf: Shelf, kind: Kind) -> dict[str, Part]:
    found = {name: shelf.read(name) for name in shelf.names()}
    return {name: part for name, part in found.items() if part and kind.fits(part.table)}


def _missing(current: Tags, pieces: Sequence[Part]) -> list[str]:
    if len(pieces) == 1 and pieces[0].tagged == current:
        return []
    have = {key for piece in pieces for key in piece.keys}
    return [key for key in current if key not in have]


def _chosen(parts: Iterable[Part], current: Tags) -> list[Part]:
    """Of each part the rows that hold, each key once."""
    have: set[str] = set()
    found = []
    for part in parts:
        if not have and part.tagged == current and None not in current.values():
            return [part]
        keys = [key for key in part.valid(current) if key not in have]
        have.update(keys)
        if keys:
            found.append(part.of(keys))
    return found


def _unseen(shelf: StoreShelf, known: set[str], kind: Kind) -> list[Part]:
    """The store's parts that are not known, the largest first."""
    found: dict[str, Part | None] = {}
    for _ in range(3):  # a part that is merged into another meanwhile is gone, and listed no more
        names = [name for name in shelf.names() if name not in known and name not in found]
        found |= shelf.read_many(names)
        if None not in found.values():
            break
        shelf.listed = None
    parts = [(name, part) for name, part in sorted(found.items(), reverse=True) if part]
    others = [name for name, part in parts if not kind.fits(part.table)]
    shelf.ignored |= dict.fromkeys(others, "it has other columns than this version of rvlab writes")
    return [part for name, part in parts if name not in others]


def _keep(
    local: LocalShelf, kept: Mapping[str, Part], found: Part, new: Part, *, kind: Kind, whole: bool
) -> None:
    """Write rows that were not on this machine, and small parts with them, as one part."""

    def holds(key: str, tag: str | None) -> bool:
        return found.tagged[key] == tag if key in found.at else not whole

    start = found if kind.single else new
    batch, size, merged = [start], len(start), []
    taken = set(start.keys)
    for name, part in kept.items():
        if not kind.single and keys_in(name) > size:
            break
        keys = [k for k, tag in part.tagged.items() if k not in taken and holds(k, tag)]
        taken.update(keys)
        batch.append(part.of(keys))
        size += len(keys)
        merged.append(name)
    one = joined(batch)
    one = one.of(sorted(key for key, tag in one.tagged.items() if tag is not None))
    name = local.write(one)
    local.remove(old for old in merged if old != name)


def _compacted(shelf: StoreShelf, kind: Kind, found: Part) -> Part:
    """Leave rows in the store that are in no part there, merged with those of smaller parts.

    Returns:
        The same rows, told in which part they are now.
    """
    if shelf.store in _read_only or _loose(found, found.places) < LEAST:
        return found
    try:
        return _merged(shelf, kind, found)
    except StoreError:  # who may only read takes no harm
        _read_only.add(shelf.store)
        return found


def _merged(shelf: StoreShelf, kind: Kind, found: Part) -> Part:
    names = shelf.names()
    places = [place if place in names else None for place in found.places]
    for name, part in shelf.read_many(n for n in names if n not in set(places)).items():
        for key in part.valid(found.tagged) if part and kind.fits(part.table) else ():
            places[found.at[key]] = places[found.at[key]] or name
    if _loose(found, places) < LEAST:
        return found.placed(places)
    batch = {key for key, place in zip(found.keys, places, strict=True) if place is None}
    batch = {key for key in batch if found.tagged[key] is not None}
    merged = []
    for name in names:
        if keys_in(name) > len(batch) or len(batch) + keys_in(name) > MOST:
            break
        batch |= {key for key, place in zip(found.keys, places, strict=True) if place == name}
        merged.append(name)
    new = _write(shelf, kind, found.of([key for key in found.keys if key in batch]))
    if new is None:  # it would be too large
        return found.placed(places)
    shelf.remove(name for name in merged if name != new)
    if kind.listed:
        shelf.drop_cuts()
    return found.placed([new if k in batch else p for k, p in zip(found.keys, places, strict=True)])


def _loose(found: Part, places: Sequence[str | None]) -> int:
    """Count the keys that could be shared and are in no shared block."""
    pairs = zip(found.tags, places, strict=True)
    return sum(place is None and tag is not None for tag, place in pairs)
