"""A run in a local store with a spec and a recipe, not submitted to any engine."""

from __future__ import annotations

from pathlib import Path

from rvlab.model import Run, Spec, utc_now
from rvlab.store import Store


def made(folder: Path, recipe: str = "") -> tuple[Store, Run]:
    """Write the records of a run and return it with its store."""
    store = Store(folder)
    run = Run(store.uri, "made", "20261123-154201-4f2a9c")
    spec = Spec(
        experiment=run.experiment,
        run=run.id,
        name="made",
        recipe="made",
        source_sha256="0" * 64,
        params={},
        places={"root_uri": run.rv_uri} if "root_uri" in recipe else {},
        splits=1,
        seed=0,
        engine="none",
        created=utc_now(),
        steady_heartbeat=True,
    )
    store.put_json(run.key("spec.json"), spec.record())
    store.put(run.key("recipe.py"), recipe.encode())
    return store, run


def record(store: Store, run: Run, *key: str) -> dict[str, object]:
    """Return one record of a run."""
    return store.get_json(run.key(*key))
