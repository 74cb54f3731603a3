"""Where the runs of a lab are stored, and where they run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab.engines import Engine, engine_named
from rvlab.errors import EngineError, SpecError
from rvlab.model import Run
from rvlab.store import S3Access, Store, remember
from rvlab.submission import me

if TYPE_CHECKING:
    from rvlab.settings import Profile

EMBEDDED = "embedded"


class Places:
    """What every part of a lab knows; see `rvlab.Lab`."""

    def __init__(
        self,
        store: str | Path | None = None,
        engine: str | Engine = "local",
        *,
        profile: str | None = None,
    ) -> None:
        self.engine = engine_named(engine, profile)
        self.store = remember(
            _store(store, getattr(self.engine, "profile", None), away=self.engine.anywhere)
        )

    def __repr__(self) -> str:
        return f"Lab(store={self.store.uri!r}, engine={self.engine.name!r})"

    @property
    def storage_options(self) -> dict[str, object]:
        """For ``pd.read_parquet(uri, storage_options=…)`` and ``fsspec.open``; holds the secret."""
        return self.store.storage_options

    def _ask(self, rows: Sequence[Mapping[str, Any]]) -> Mapping[Run, str]:
        """A local engine knows of the runs that were submitted to it from here, and no others."""
        mine = [
            row["_run"]
            for row in rows
            if row["engine"] == self.engine.name and (self.engine.anywhere or row["user"] == me())
        ]
        try:
            return self.engine.states(self.store, mine) if mine else {}
        except EngineError as exc:  # a forwarded port that is gone takes no table with it
            warnings.warn(f"States are as the store has them: {exc}", stacklevel=4)
            return {}


def store_text(store: str | Path | None) -> str:
    """What names the store: the argument, else ``$RVLAB_STORE``, else the embedded server."""
    return str(store or os.environ.get("RVLAB_STORE") or EMBEDDED)


def _store(
    store: str | Path | None, profile: Profile | None = None, *, away: bool = False
) -> Store:
    text = store_text(store or (profile.store if profile else None))
    if away and text == EMBEDDED and not store:
        raise SpecError(
            "Where do runs on the cluster write? Name the bucket: `store` in rvlab.toml, "
            "$RVLAB_STORE, or Lab('s3://bucket/prefix', ...)."
        )
    kind, _, folder = text.partition(":")
    if kind != EMBEDDED:
        access = S3Access.from_environ()
        if profile and profile.s3.endpoint:
            access = replace(access, endpoint=profile.s3.endpoint)
        if profile and profile.s3.region:
            access = replace(access, region=profile.s3.region)
        return Store(text, access)
    from rvlab.store import server

    found = server.start(folder or None)
    access = S3Access(found.endpoint, found.access_key, found.secret_key, region=found.region)
    return Store(f"s3://{found.bucket}", access)
