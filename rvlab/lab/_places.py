"""Where the runs of a lab are stored, and where they run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from rvlab.engines import Engine, engine_named
from rvlab.engines.submission import me
from rvlab.model import Run
from rvlab.store import S3Access, Store, remember

if TYPE_CHECKING:
    import pandas as pd

Picked: TypeAlias = Union["pd.DataFrame", "pd.Series[Any]", Run, str, Iterable[Run | str], None]
"""Which runs: a table or a row of it, a run, an id, an experiment, several of these, or all."""

EMBEDDED = "embedded"


class Places:
    """What every part of a lab knows; see `rvlab.Lab`."""

    def __init__(self, store: str | Path | None = None, engine: str | Engine = "local") -> None:
        self.engine = engine_named(engine)
        self.store = remember(_store(store))

    def __repr__(self) -> str:
        return f"Lab(store={self.store.uri!r}, engine={self.engine.name!r})"

    @property
    def storage_options(self) -> dict[str, object]:
        """For ``pd.read_parquet(uri, storage_options=…)`` and ``fsspec.open``; holds the secret."""
        return self.store.storage_options

    def _ask(self, rows: Sequence[Mapping[str, Any]]) -> Mapping[Run, str]:
        """The engine knows of the runs that were submitted to it from here, and of no others."""
        mine = [r["_run"] for r in rows if (r["engine"], r["user"]) == (self.engine.name, me())]
        return self.engine.states(self.store, mine) if mine else {}


def store_text(store: str | Path | None) -> str:
    """What names the store: the argument, else ``$RVLAB_STORE``, else the embedded server."""
    return str(store or os.environ.get("RVLAB_STORE") or EMBEDDED)


def _store(store: str | Path | None) -> Store:
    kind, _, folder = store_text(store).partition(":")
    if kind != EMBEDDED:
        return Store(store_text(store))
    from rvlab.store import server

    found = server.start(folder or None)
    access = S3Access(found.endpoint, found.access_key, found.secret_key, region=found.region)
    return Store(f"s3://{found.bucket}", access)
