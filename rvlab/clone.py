"""A run once more: its recorded source and parameters, with what is to be different."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rvlab.errors import KeyMissing, SpecError
from rvlab.model import Run, Spec
from rvlab.recipes import Recipe
from rvlab.store import Store, parse_record
from rvlab.submission import SubmitOptions, resolve_seed
from rvlab.worker.records import SOURCE_FILE, SPEC


def load_recorded(store: Store, run: Run) -> tuple[Spec, Recipe]:
    """What a run was asked for, and its recipe as it was then.

    Raises:
        SpecError: If the run has no recipe.
        RecordBroken: If its spec cannot be read.
    """
    data = {}
    for name in (SPEC, SOURCE_FILE):
        try:
            data[name] = store.get(run.key(name))
        except KeyMissing as exc:
            raise SpecError(
                f"The run {run.id} has no {name}, so it cannot be run again: it was adopted or "
                "imported, or deleted in part. Submit its recipe instead."
            ) from exc
    spec = Spec.from_record(parse_record(run.key(SPEC), data[SPEC]), run.key(SPEC))
    source = data[SOURCE_FILE].decode(errors="replace")
    folder = spec.folder if spec.folder and Path(spec.folder).is_dir() else None
    return spec, Recipe(spec.recipe, source, folder)


def clone_request(
    store: Store,
    run: Run,
    given: Mapping[str, Any],
    *,
    engine: str,
    experiment: str | None = None,
    splits: int | None = None,
    seed: int | None = None,
) -> tuple[Recipe, dict[str, Any], SubmitOptions]:
    """What to submit so that a run is repeated.

    Args:
        store: Where the run lies.
        run: The run.
        given: Parameters, and ``data_uri``, that are to be different.
        engine: The engine's name.
        experiment: Where the new run goes; None is where the run is.
        splits: None is the run's.
        seed: None is the run's.

    Returns:
        The recipe, the point and what is asked for beside it: the run as parent, and as name what
        is different, else the run's own.

    Raises:
        SpecError: If the run has no recipe, or what is given cannot be run.
        RecordBroken: If its spec cannot be read.
    """
    spec, recipe = load_recorded(store, run)
    # A default is left to the recipe, which may have one that its own annotation does not allow.
    usual = {name: one.default for name, one in recipe.signature.parameters.items()}
    kept = {k: v for k, v in spec.params.items() if k not in usual or not _equal(v, usual[k])}
    point = {**kept, **spec.places}
    for filled_in in ("root_uri", "seed"):
        point.pop(filled_in, None)
    point |= given
    asked = SubmitOptions(
        run.experiment if experiment is None else experiment,
        engine,
        spec.splits if splits is None else splits,
        spec.seed if seed is None else seed,
        parent=run.id,
    )
    new_seed, full = resolve_seed(recipe, point, asked)
    params, places = recipe.signature.bind(full)
    now = {**params, **places, "seed": new_seed, "splits": asked.splits}
    then = {**spec.params, **spec.places, "seed": spec.seed, "splits": spec.splits}
    changed = {k: v for k, v in now.items() if k not in then or not _equal(v, then[k])}
    name = " ".join(f"{k}={v}" for k, v in changed.items()) or spec.name
    return recipe, point, replace(asked, name=name)


def _equal(a: object, b: object) -> bool:
    """1 is 1.0, but not True."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)
