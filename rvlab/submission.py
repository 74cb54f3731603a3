"""Submission: from a recipe and its parameters to the records of runs, before they start."""

from __future__ import annotations

import getpass
import itertools
import json
import os
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rvlab.errors import KeyExists, SpecError, StoreError, StoreUnreachable
from rvlab.model import Run, Spec, new_run_id, utc_now, validate_name
from rvlab.recipes import Recipe
from rvlab.recipes.literals import json_value
from rvlab.recipes.signature import ROOT_PARAMETER
from rvlab.store import Store
from rvlab.store.layout import write_layout_number
from rvlab.store.run_listing import write_active_marks
from rvlab.user_warning import warn_user
from rvlab.version import __version__
from rvlab.worker.masking import has_secret, mask_text
from rvlab.worker.records import SOURCE_FILE, SPEC

DATA_FOLDER = "_data"
"""The folder of a store for scenes of recipes; no experiment's name starts with ``_``."""


MAX_SPLITS, MAX_SEED = 10_000, 2**32 - 1  # numpy's largest seed
MAX_PRIORITY = 1000


@dataclass(frozen=True)
class SubmitOptions:
    """The options of one submission, besides the parameters.

    Args:
        experiment: The experiment's name.
        engine: The engine's name.
        splits: Maximum number of parallel pieces of chip and predict.
        seed: The run's seed; None is the default of the recipe's parameter ``seed``, else 0.
        sweep: The sweep's name.
        parent: The id of the run that was cloned, or whose model is used.
        image: The container image of the steps.
        name: The runs' name; None names them after the parameters that differ.
        steady_heartbeat: Whether the engine's runs write heartbeats from start to end.
        priority: Waiting runs with the highest priority start first, of these the oldest.
    """

    experiment: str
    engine: str
    splits: int = 1
    seed: int | None = None
    sweep: str | None = None
    parent: str | None = None
    image: str | None = None
    name: str | None = None
    steady_heartbeat: bool = False
    priority: int = 0

    def __post_init__(self) -> None:
        validate_name("experiment", self.experiment)
        _require_int("splits", self.splits, 1, MAX_SPLITS)
        _require_int("priority", self.priority, -MAX_PRIORITY, MAX_PRIORITY)
        if self.seed is not None:
            _require_int("seed", self.seed, 0, MAX_SEED)


def _require_int(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SpecError(f"{name} must be an integer from {low} to {high}, got {value!r}.")
    return value


def grid(**axes: Any) -> list[dict[str, Any]]:
    """Return every combination of the values of some parameters; the last one varies fastest.

    Args:
        **axes: A list of values for each parameter; a single value is a list of one.

    Returns:
        One dict of parameters for each point.

    Raises:
        SpecError: If a list is empty.
    """
    lists = {}
    for name, values in axes.items():
        several = isinstance(values, Iterable) and not isinstance(values, str | Mapping)
        lists[name] = list(values) if several else [values]
        if not lists[name]:
            raise SpecError(f"grid: {name} has no values. Pass at least one.")
    return [dict(zip(lists, point, strict=True)) for point in itertools.product(*lists.values())]


def prepare_runs(
    store: Store,
    recipe: Recipe,
    points: Sequence[Mapping[str, Any]],
    options: SubmitOptions,
    *,
    ids: Sequence[str] | None = None,
) -> list[Run]:
    """Check every point, then write ``spec.json`` and ``recipe.py`` of one run per point.

    Args:
        store: The store of the runs.
        recipe: The recipe.
        points: Parameters of each run.
        options: The options of the submission.
        ids: The runs' ids; None creates new ones.

    Raises:
        SpecError: If a point is invalid; nothing has been written then.
        StoreError: If the store refuses or does not answer. No run is submitted then, and the
            records that were written are deleted if the store allows it.
    """
    if "://" in store.uri and not store.is_s3:
        raise SpecError(
            f"Raster Vision writes only to local folders and s3://, not to {store.uri!r}."
        )
    seeds_and_points = [resolve_seed(recipe, point, options) for point in points]
    bound = [recipe.signature.bind(given) for _, given in seeds_and_points]
    _warn_of_secrets(store, recipe, [params for params, _ in bound])
    varying = [k for k in _point_keys(points) if len({repr(p.get(k)) for p in points}) > 1]
    commit, dirty = _git_state(recipe.folder)
    specs = []
    for id_, point, (seed, _), (params, places) in zip(
        ids or _new_ids(len(points)), points, seeds_and_points, bound, strict=True
    ):
        run = Run(store.uri, options.experiment, id_)
        shown = " ".join(f"{k}={point[k]}" for k in varying or point if k in point)
        specs.append(
            Spec(
                experiment=options.experiment,
                run=run.id,
                name=mask_text(options.name or shown or recipe.name, store),
                recipe=recipe.name,
                source_sha256=recipe.sha256,
                params=params,
                places=_resolve_locations(recipe, run, places),
                splits=options.splits,
                seed=seed,
                engine=options.engine,
                created=utc_now(),
                user=current_user(),
                commit=commit,
                dirty=dirty,
                image=options.image,
                sweep=options.sweep,
                parent=options.parent,
                kind=recipe.signature.kind,
                folder=recipe.folder,
                file=recipe.file,
                rvlab=__version__,
                steady_heartbeat=options.steady_heartbeat,
                priority=options.priority,
            )
        )
    runs = [Run(store.uri, s.experiment, s.run) for s in specs]
    sources = [run.key(SOURCE_FILE) for run in runs]
    records = {run.key(SPEC): spec.record() for run, spec in zip(runs, specs, strict=True)}
    try:
        write_layout_number(store)
        store.map_concurrently(lambda key: store.put(key, recipe.source.encode()), sources)
        store.map_concurrently(
            lambda key: store.put_json(key, records[key], if_absent=True), records
        )
        write_active_marks(store, runs)
    except KeyExists:  # the existing record belongs to another run
        raise
    except StoreError as exc:
        raise _not_submitted(store, runs, exc) from exc
    except KeyboardInterrupt:
        _delete_records(store, runs)
        raise
    return runs


def _not_submitted(store: Store, runs: Sequence[Run], exc: StoreError) -> StoreError:
    """Delete the records of a submission that failed midway, and return its error."""
    what = "The run was not" if len(runs) == 1 else f"None of the {len(runs)} runs was"
    then = "The records that were written have been deleted."
    if not _delete_records(store, runs):
        ids = ", ".join(run.id for run in runs[:3]) + (", ..." if len(runs) > 3 else "")
        then = (
            f"Records that were written ({ids}) cannot be deleted now: `rvlab clean` deletes them."
        )
    kind = StoreUnreachable if isinstance(exc, StoreUnreachable) else StoreError
    return kind(f"{what} submitted: {exc} {then}")


def _delete_records(store: Store, runs: Sequence[Run]) -> bool:
    """Delete what `prepare_runs` wrote; return whether the store allowed it."""
    try:
        # Active marks first: a run without one is not listed, and `rvlab clean` finds its folder.
        for keys in ([r.active_key for r in runs], [r.key(SPEC) for r in runs]):
            store.delete(keys)
        store.delete(run.key(SOURCE_FILE) for run in runs)
    except StoreError:
        return False
    return True


def _warn_of_secrets(store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
    """Warn of secrets in parameters and source, which are recorded unmasked for the run."""
    found = [
        f"parameter {name!r}"
        for name in _point_keys(points)
        if has_secret("\n".join({_plain(p[name]) for p in points if name in p}), store)
    ]
    if has_secret(recipe.source, store):
        found.append(f"recipe {recipe.name}")
    for what in found:
        warn_user(
            f"The {what} holds a secret, which everyone with read access to the store can see. "
            "Let the recipe read it from an environment variable of the worker instead.",
        )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _new_ids(number: int) -> list[str]:
    """Return distinct ids in the order of the points; random ids of one second may collide."""
    ids: set[str] = set()
    while len(ids) < number:
        ids.add(new_run_id())
    return sorted(ids)


def resolve_seed(
    recipe: Recipe, point: Mapping[str, Any], options: SubmitOptions
) -> tuple[int, dict[str, Any]]:
    """Return a point's seed, and the point with it if the recipe has a parameter ``seed``."""
    given = dict(point)
    own = recipe.signature.parameters.get("seed")
    default = own.default if own and isinstance(own.default, int) else 0
    seed = given.pop("seed", default if options.seed is None else options.seed)
    seed = _require_int("seed", json_value(seed, "seed"), 0, MAX_SEED)
    return seed, {**given, "seed": seed} if own else given


def current_user() -> str:
    """Return the submitter as ``name@host``."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def _resolve_locations(recipe: Recipe, run: Run, given: Mapping[str, str]) -> dict[str, str]:
    places = dict(given)
    for name in recipe.signature.places:
        if name == ROOT_PARAMETER:
            places[name] = run.rv_uri
        elif not places.get(name):  # an empty input of a pipeline
            places[name] = f"{run.store}/{DATA_FOLDER}/{recipe.name}"
    return places


def _point_keys(points: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(k for point in points for k in point))


def _git_state(folder: str | None) -> tuple[str | None, bool | None]:
    """Return the commit of the recipe's folder (else the current one), and if it has changes."""
    where = folder or str(Path.cwd())

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", where, *args], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None, None
    changes = git("status", "--porcelain")
    return commit, bool(changes) if changes is not None else None
