"""Start, retry and cancel runs, and query their engine for states without an end record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rvlab import frame
from rvlab.clone import load_recorded
from rvlab.engines import Engine
from rvlab.errors import EngineError, HasEnded, RvlabError, SpecError, StoreError
from rvlab.frame.run_selector import RunSelector, require_existing, resolve_runs
from rvlab.frame.runs import StateQuery
from rvlab.model import ReportedState, Run, Sweep, new_run_id
from rvlab.store import Store
from rvlab.store.patience import patience_s
from rvlab.store.run_listing import ended_runs
from rvlab.submission import SubmitOptions, current_user, prepare_runs
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    from rvlab.recipes import Recipe

RETRIABLE = ("failed", "lost", "queued", "not submitted")
MAX_RETRIES_IN_FLIGHT = 8


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
    if options.priority and not getattr(engine, "has_priorities", False):
        raise SpecError(
            f"The engine {engine.name!r} starts runs in an order of its own. Omit "
            f"priority={options.priority}."
        )
    engine_patience_s(engine)  # an invalid setting fails here, not in the run
    engine.validate(store, recipe, points)
    options = replace(options, image=engine.image, steady_heartbeat=engine.steady_heartbeat)
    runs = prepare_runs(store, recipe, points, options)
    priority_argument: dict[str, Any] = {"priority": options.priority} if options.priority else {}
    return engine.start(store, runs, folder=recipe.folder, **priority_argument)


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
    priority: int,
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
    options = SubmitOptions(
        experiment, engine.name, splits, seed, sweep=new_run_id(), priority=priority
    )
    complete_points = [{**fixed, **point} for point in points]
    return Sweep(start_runs(store, engine, recipe, complete_points, options))


def retry_runs(store: Store, engine: Engine, runs: RunSelector) -> None:
    """Start runs again that failed, were lost or not submitted; see `rvlab.Lab.retry`."""
    if runs is None:
        raise SpecError("retry needs runs, got None. Name runs or their experiment.")
    table = frame.runs_table(
        store, require_existing(store, runs), engine_states_query(store, engine)
    )
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

    def attempt(uri: str) -> RvlabError | None:
        run = Run.from_uri(uri)
        try:
            engine.retry(store, run, folder=load_recorded(store, run)[1].folder)
        except RvlabError as exc:
            return exc
        return None

    uris = list(table["uri"])
    with ThreadPoolExecutor(MAX_RETRIES_IN_FLIGHT) as pool:
        troubles = dict(zip(uris, pool.map(attempt, uris), strict=True))
    failures = {Run.from_uri(uri): exc for uri, exc in troubles.items() if exc is not None}
    _raise_failures("retried", failures, len(uris))


def cancel_runs(store: Store, engine: Engine, runs: RunSelector) -> None:
    """Cancel runs; see `rvlab.Lab.cancel`."""
    if runs is None:
        raise SpecError("cancel needs runs, got None. Name runs or their experiment.")
    wanted = resolve_runs(store, runs)
    problems = engine.cancel_many(store, wanted)
    others = {run: exc for run, exc in problems.items() if not isinstance(exc, HasEnded)}
    _raise_failures("cancelled", others, len(wanted))
    if problems and len(problems) == len(wanted):
        raise next(iter(problems.values()))


def _raise_failures(what: str, failures: Mapping[Run, RvlabError], number: int) -> None:
    """Raise the error of a single run, or one error that names each run with its own error."""
    if not failures:
        return
    first = next(iter(failures.values()))
    if number == 1:
        raise first
    by_text: dict[str, list[str]] = {}
    for run, exc in failures.items():
        text = str(exc).replace(f"The run {run.id!r}", "The run")
        by_text.setdefault(text, []).append(run.id)
    each = " ".join(f"{', '.join(ids)}: {text}" for text, ids in by_text.items())
    only_store = all(isinstance(exc, StoreError) for exc in failures.values())
    kind = StoreError if only_store else EngineError
    raise kind(f"{len(failures)} of {number} runs were not {what}. {each}") from first


def engine_states_query(
    store: Store, engine: Engine, unreachable: Callable[[EngineError], None] | None = None
) -> StateQuery:
    """Return a function that queries an engine for the states of runs without an end record.

    A local engine is queried only for runs that this user submitted on this machine.

    Args:
        store: The store of the runs.
        engine: The engine.
        unreachable: Called with the error of an engine that does not answer. Default: a warning.
    """

    def ask(rows: Sequence[Mapping[str, Any]]) -> Mapping[Run, ReportedState]:
        visible = [
            row["_run"]
            for row in rows
            if row["engine"] == engine.name
            and (engine.sees_all_runs or row["user"] == current_user())
        ]
        try:
            return _without_ended(store, engine.states(store, visible) if visible else {})
        except EngineError as exc:  # the table is returned without the engine's states
            if unreachable is not None:
                unreachable(exc)
            else:
                warn_user(f"States are as the store has them: {exc}")
            return {}

    return ask


def _without_ended(
    store: Store, states: Mapping[Run, ReportedState]
) -> Mapping[Run, ReportedState]:
    """Leave out the lost runs that have an end record by now.

    A run may end after its records are listed and before the engine is queried. The engine no
    longer has it then, and reports it as lost.
    """
    ended = ended_runs(store, [run for run, found in states.items() if found.state == "lost"])
    return {run: found for run, found in states.items() if run.uri not in ended}


def engine_patience_s(engine: Engine) -> float:
    """Return how many seconds the runs of an engine wait for a store that does not answer."""
    profile = getattr(engine, "profile", None)
    return patience_s() if profile is None else float(profile.patience_s)
