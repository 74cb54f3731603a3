"""What the table of runs will need, begun while the store is still listing."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from time import sleep
from typing import TYPE_CHECKING, Any

from rvlab.frame.edited import listed
from rvlab.frame.flat import columns_of, is_packed, packed
from rvlab.frame.part import Part
from rvlab.frame.shelf import StoreShelf
from rvlab.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

THREADS = 16

HEAD_START_S = 0.005


@cache
def _ready() -> None:
    """What libraries do the first time only, while requests are under way."""
    sleep(HEAD_START_S)
    import pydantic_core  # noqa: F401  # with which records are parsed

    columns_of(packed([{}]))


class Ahead:
    """Guesses, none of which can make a table wrong: what is not asked for is left.

    Args:
        store: Where the runs lie.
    """

    def __init__(self, store: Store) -> None:
        import pandas  # noqa: F401  # here, not in several threads at once
        import pyarrow.parquet  # noqa: F401

        self._store = store
        self._pool = ThreadPoolExecutor(THREADS)
        self._pool.submit(_ready)
        self._edits: dict[str, Future[dict[str, str | None]]] = {}
        self._shelves: dict[str, Future[StoreShelf]] = {}
        self._columns: list[tuple[pa.Table, Future[dict[str, Any]]]] = []

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def named(self, experiment: str) -> None:
        """The runs of an experiment are in the table."""
        if experiment not in self._edits:
            self._edits[experiment] = self._pool.submit(listed, self._store, experiment)

    def kept(self, parts: list[Part]) -> None:
        """These parts are likely to be the table, where no other experiment is."""
        if len(parts) == 1 and len(self._edits) < 2 and is_packed(parts[0].table):
            table = parts[0].table
            self._columns.append((table, self._pool.submit(columns_of, table)))

    def there(self, experiment: str, shelf: StoreShelf) -> None:
        """The parts of this shelf are likely to be the table."""

        def read() -> StoreShelf:
            self.kept(shelf.read_ahead())
            return shelf

        self._shelves[experiment] = self._pool.submit(read)

    def edits(self, experiment: str) -> dict[str, str | None]:
        """The edits of an experiment; see `rvlab.frame.edited.listed`."""
        return self._edits[experiment].result()

    def shelf(self, experiment: str) -> StoreShelf | None:
        """The shelf of an experiment with its parts, if it was there."""
        found = self._shelves.get(experiment)
        return found.result() if found else None

    def columns(self, table: pa.Table) -> dict[str, Any]:
        """The columns of a DataFrame; see `rvlab.frame.flat.columns_of`."""
        mine = [future for other, future in self._columns if other is table]
        return mine[0].result() if mine else columns_of(table)
