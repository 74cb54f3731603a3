"""Delete runs after a confirmation, and remove what interrupted submissions left in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rvlab import frame
from rvlab.actions.control import engine_states_query
from rvlab.actions.promote import require_not_current_version
from rvlab.cache import evict
from rvlab.engines import Engine
from rvlab.errors import SpecError
from rvlab.frame.run_selector import RunSelector, require_existing
from rvlab.model import Run
from rvlab.store import Store
from rvlab.store.delete import delete_runs
from rvlab.store.leftovers import leftovers, remove_leftover

if TYPE_CHECKING:
    import pandas as pd


def confirm_and_delete(
    store: Store, engine: Engine, runs: RunSelector, confirm: str | None
) -> None:
    """Delete every key of some runs; see `rvlab.Lab.delete`."""
    if runs is None:
        raise SpecError("delete needs runs, got None. Name runs or their experiment.")
    wanted = require_existing(store, runs)
    if not wanted:
        return
    experiments = sorted({run.experiment for run in wanted})
    if len(experiments) > 1:
        raise SpecError(
            f"delete accepts runs of one experiment at a time, got {len(experiments)}: "
            f"{', '.join(experiments[:8])}. Nothing has been deleted."
        )
    table = frame.runs_table(store, wanted, engine_states_query(store, engine))
    known = (table["engine"] == engine.name) | table["ended"].notna()
    for id_, row in table[~known].dropna(subset="engine").iterrows():
        spec = store.get_json(Run.from_uri(row["uri"]).key("spec.json"))
        if spec.get("steady_heartbeat"):  # the store alone shows its end
            continue
        raise SpecError(
            f"Only its engine can report whether the run {id_} has ended: open the lab with "
            f"engine={row['engine']!r} to delete it. Nothing has been deleted."
        )
    active = table.loc[table["state"].isin(["queued", "running"]), "state"]
    for id_, state in active.items():
        raise SpecError(f"The run {id_} is {state}: cancel it first. Nothing has been deleted.")
    require_not_current_version(store, wanted)
    alone = len(wanted) == 1
    word = wanted[0].id if alone else experiments[0]
    what = f"the run {word}" if alone else f"{len(wanted)} runs of the experiment {word}"
    typed = _ask_for_name(what, word) if confirm is None else confirm
    if typed != word:
        raise SpecError(
            f"To delete {what}, type or pass {word!r}, got {typed!r}. Nothing has been deleted."
        )
    delete_runs(store, wanted)
    evict(store, wanted)


def clean_store(store: Store, *, older_than_s: float, dry_run: bool) -> pd.DataFrame:
    """Remove what interrupted submissions left; see `rvlab.Lab.clean`."""
    import pandas as pd

    if not older_than_s >= 0:
        raise SpecError(f"older_than_s must be 0 or more seconds, got {older_than_s!r}.")
    found = leftovers(store, older_than_s=older_than_s)
    removed = [not dry_run and remove_leftover(store, one) for one in found]
    return pd.DataFrame(
        {
            "experiment": pd.Series([one.run.experiment for one in found], dtype="object"),
            "run": pd.Series([one.run.id for one in found], dtype="object"),
            "kind": pd.Series([one.kind for one in found], dtype="object"),
            "keys": pd.Series([len(one.keys) for one in found], dtype="int64"),
            "written": pd.Series([one.written for one in found], dtype="datetime64[us, UTC]"),
            "removed": pd.Series(removed, dtype="bool"),
        }
    )


def _ask_for_name(what: str, word: str) -> str:
    try:
        return input(f"This deletes {what} permanently. Type {word} to confirm: ").strip()
    except (EOFError, OSError, RuntimeError) as exc:  # a script, or a notebook without a frontend
        raise SpecError(
            f"delete asks for a name, but a prompt is not available. Pass confirm={word!r}, in a "
            f"shell --yes-delete {word}, to delete {what}. Nothing has been deleted."
        ) from exc
