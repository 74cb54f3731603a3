"""Check a store, an engine and this machine before the first run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from rvlab.actions.check_machine import check_engine_machine, check_machine
from rvlab.actions.open_store import EMBEDDED, open_store, store_text
from rvlab.engines import Engine, resolve_engine
from rvlab.errors import RvlabError
from rvlab.model.check_result import CheckResult
from rvlab.store import Store
from rvlab.store.check import check_store

if TYPE_CHECKING:
    import pandas as pd


def run_checks(store: Store, engine: Engine) -> list[CheckResult]:
    """Return the results of all checks of a store and an engine; see `rvlab.Lab.check`."""
    return [*check_store(store), *engine.check(store)]


def check_all(store: str | None, engine: str, profile: str | None) -> list[CheckResult]:
    """Return the results of all checks of a store, an engine and this machine.

    Args:
        store: The address of the store, as `rvlab.Lab` takes it.
        engine: The engine's name.
        profile: The profile of ``rvlab.toml``.
    """
    embedded = store_text(store).partition(":")[0] == EMBEDDED
    try:
        found = resolve_engine(engine, profile)
    except RvlabError as exc:
        remedy = "Correct --engine, --profile or rvlab.toml."
        failure = CheckResult("engine", "settings", "failed", str(exc), remedy)
        return [failure, *check_machine(engine, embedded=embedded)]
    machine = check_engine_machine(found, embedded=embedded and not found.sees_all_runs)
    try:
        opened = open_store(store, getattr(found, "profile", None), remote=found.sees_all_runs)
    except RvlabError as exc:
        remedy = "Correct --store, $RVLAB_STORE or `store` in rvlab.toml."
        return [CheckResult("store", "open", "failed", str(exc), remedy), *machine]
    return [*run_checks(opened, found), *machine]


def check_table(store: Store, engine: Engine) -> pd.DataFrame:
    """Return the results of all checks of a store and an engine as a table."""
    return checks_table(run_checks(store, engine))


def checks_table(results: Sequence[CheckResult]) -> pd.DataFrame:
    """Return the results of checks as a table."""
    import pandas as pd

    rows = [asdict(one) for one in results]
    return pd.DataFrame(rows, columns=[one.name for one in fields(CheckResult)])
