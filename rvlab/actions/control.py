"""Start, retry and cancel runs, and query their engine for states without an end record."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rvlab import frame
from rvlab.clone import load_recorded
from rvlab.engines import Engine
from rvlab.errors import EngineError, HasEnded, SpecError
from rvlab.frame.runs import StateQuery
from rvlab.frame.select import RunSelector, require_existing, resolve_runs
from rvlab.model import Run, Sweep, new_run_id
from rvlab.store import Store
from rvlab.store.patience import patience_s
from rvlab.submission import SubmitOptions, current_user, prepare_runs

if TYPE_CHECKING:
    from rvlab.recipes import Recipe

RETRIABLE = ("failed", "lost", "queued")


def start_runs(
    store: Store,
    engine: Engine,
    recipe: Recipe,
    points: Sequence[Mapping[str, Any]],
    options: SubmitOptions,
) -> list[Run]:
    """Validate every point, write the runs' records and start them on the engine.

    Raises:
        SpecError: If a point or a setting is invalid; nothing has been written.
        StoreError: If the store cannot be written.
        EngineError: If the engine does not accept the runs.
    """
    engine_patience_s(engine)  # an invalid setting fails here, not in the run
    engine.validate(store, recipe, points)
    options = replace(options, image=engine.image, steady_heartbeat=engine.steady_heartbeat)
    runs = prepare_runs(store, recipe, points, options)
    return engine.start(store, runs, folder=recipe.folder)


def sweep_runs(
    store: Store,
    engine: Engine,
    recipe: Recipe,
    points: Sequence[Mapping[str, Any]],
    fixed: Mapping[str, Any],
    *,
    experiment: str,
    splits: int,
    seed: int | None,
) -> Sweep:
    """Start one run per point; see `rvlab.Lab.sweep`."""
    if not isinstance(points, Sequence) or not all(isinstance(p, Mapping) for p in points):
        raise SpecError("The points of a sweep must be a list of dicts; rvlab.grid() returns one.")
    if not points:
        raise SpecError("The sweep has no points. Pass one or more, such as rvlab.grid() returns.")
    for point in points:
        twice = sorted(set(point) & set(fixed))
        if twice:
            raise SpecError(f"{twice[0]!r} is given for the sweep and in its points. Remove one.")
    options = SubmitOptions(experiment, engine.name, splits, seed, sweep=new_run_id())
    everything = [{**fixed, **point} for point in points]
    return Sweep(start_runs(store, engine, recipe, everything, options))


def retry_runs(store: Store, engine: Engine, runs: RunSelector) -> None:
    """Start failed, lost or queued runs again; see `rvlab.Lab.retry`."""
    if runs is None:
        raise SpecError("retry needs runs, got None. Name runs or their experiment.")
    table = frame.runs_table(store, require_existing(store, runs), states_from(store, engine))
    for run, row in table.iterrows():
        if row["state"] != "broken" and row["engine"] != engine.name:
            raise SpecError(
                f"The run {run} belongs to the engine {row['engine']!r}. Open the lab with it."
            )
        if row["state"] not in RETRIABLE:
            raise SpecError(
                f"The run {run} is {row['state']}, so there is nothing to retry. "
                "lab.clone starts a new run from it."
            )
    for uri in table["uri"]:
        run = Run.from_uri(uri)
        engine.retry(store, run, folder=load_recorded(store, run)[1].folder)


def cancel_runs(store: Store, engine: Engine, runs: RunSelector) -> None:
    """Cancel runs; see `rvlab.Lab.cancel`."""
    if runs is None:
        raise SpecError("cancel needs runs, got None. Name runs or their experiment.")
    wanted = resolve_runs(store, runs)
    problems = list(engine.cancel_many(store, wanted).values())
    others = [exc for exc in problems if not isinstance(exc, HasEnded)]
    if others:
        raise others[0]
    if problems and len(problems) == len(wanted):
        raise problems[0]


def states_from(store: Store, engine: Engine) -> StateQuery:
    """Return a function that queries an engine for the states of runs without an end record.

    A local engine is queried only for runs that this user submitted on this machine.
    """

    def ask(rows: Sequence[Mapping[str, Any]]) -> Mapping[Run, str]:
        visible = [
            row["_run"]
            for row in rows
            if row["engine"] == engine.name
            and (engine.sees_all_runs or row["user"] == current_user())
        ]
        try:
            return engine.states(store, visible) if visible else {}
        except EngineError as exc:  # the table is returned without the engine's states
            warnings.warn(f"States are as the store has them: {exc}", stacklevel=5)
            return {}

    return ask


def engine_patience_s(engine: Engine) -> float:
    """Return how many seconds the runs of an engine wait for a store that does not answer."""
    profile = getattr(engine, "profile", None)
    return patience_s() if profile is None else float(profile.patience_s)
