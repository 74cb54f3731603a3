"""Check a store and an engine before the first run."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from rvlab.engines import Engine
from rvlab.model.check_result import CheckResult
from rvlab.store import Store
from rvlab.store.check import check_store

if TYPE_CHECKING:
    import pandas as pd


def run_checks(store: Store, engine: Engine) -> list[CheckResult]:
    """Return the results of all checks of a store and an engine; see `rvlab.Lab.check`."""
    return [*check_store(store), *engine.check(store)]


def check_table(store: Store, engine: Engine) -> pd.DataFrame:
    """Return the results of all checks as a table."""
    import pandas as pd

    rows = [asdict(one) for one in run_checks(store, engine)]
    return pd.DataFrame(rows, columns=[one.name for one in fields(CheckResult)])
