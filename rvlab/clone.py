"""Clones: a run's recorded source and parameters, with changes."""

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
    """Read the spec of a run and its recipe as they were submitted.

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
                f"The run {run.id} has no {name}, so it cannot be repeated: it was adopted, "
                "imported or partly deleted. Submit its recipe instead."
            ) from exc
    spec = Spec.from_record(parse_record(run.key(SPEC), data[SPEC]), run.key(SPEC))
    source = data[SOURCE_FILE].decode(errors="replace")
    folder = spec.folder if spec.folder and Path(spec.folder).is_dir() else None
    return spec, Recipe(spec.recipe, source, folder, spec.file)


def clone_request(
    store: Store,
    run: Run,
    given: Mapping[str, Any],
    *,
    engine: str,
    experiment: str | None = None,
    splits: int | None = None,
    seed: int | None = None,
    priority: int = 0,
) -> tuple[Recipe, dict[str, Any], SubmitOptions]:
    """Build the submission that repeats a run, with changes.

    Args:
        store: The store of the run.
        run: The run.
        given: Changed parameters, and a changed ``data_uri``.
        engine: The engine's name.
        experiment: The new run's experiment; None uses the run's.
        splits: Number of parallel pieces; None uses the run's.
        seed: The seed; None uses the run's.
        priority: The new run's priority.

    Returns:
        The recipe, the point and the options, which have the run as parent. The name lists the
        changes; without changes, it is the name of the run.

    Raises:
        SpecError: If the run has no recipe, or the changes are invalid.
        RecordBroken: If its spec cannot be read.
    """
    spec, recipe = load_recorded(store, run)
    # Defaults are left to the recipe, whose own annotation may not allow them.
    defaults = {name: one.default for name, one in recipe.signature.parameters.items()}
    explicit = {
        k: v for k, v in spec.params.items() if k not in defaults or not _equal(v, defaults[k])
    }
    point = {**explicit, **spec.places}
    for filled_in in ("root_uri", "seed"):
        point.pop(filled_in, None)
    point |= given
    options = SubmitOptions(
        run.experiment if experiment is None else experiment,
        engine,
        spec.splits if splits is None else splits,
        spec.seed if seed is None else seed,
        parent=run.id,
        priority=priority,
    )
    new_seed, full = resolve_seed(recipe, point, options)
    params, places = recipe.signature.bind(full)
    new_values = {**params, **places, "seed": new_seed, "splits": options.splits}
    old_values = {**spec.params, **spec.places, "seed": spec.seed, "splits": spec.splits}
    changed = {
        k: v for k, v in new_values.items() if k not in old_values or not _equal(v, old_values[k])
    }
    name = " ".join(f"{k}={v}" for k, v in changed.items()) or spec.name
    return recipe, point, replace(options, name=name)


def _equal(a: object, b: object) -> bool:
    """Return whether values are equal; 1 equals 1.0, but not True."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)
