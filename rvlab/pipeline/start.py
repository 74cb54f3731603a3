"""From the records of a run to what is passed to its pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rvlab.model import Run, Spec
from rvlab.pipeline.inputs import EXPERIMENT, RUN, SEED, SPLITS, STORE, arguments, inputs
from rvlab.recipes import Recipe
from rvlab.store import Store
from rvlab.worker.records import SOURCE, SPEC


def checked(recipe: Recipe, points: Sequence[Mapping[str, Any]], store: str) -> None:
    """Refuse what cannot be a pipeline, or its inputs, before a run is recorded.

    Raises:
        SpecError: If a parameter's name, or a value, cannot pass through Kubeflow.
    """
    known = inputs(recipe, store)
    for point in points:
        arguments(known, point)


def asked_of(store: Store, run: Run) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of a run, and the inputs of its pipeline.

    Raises:
        SpecError: If a value cannot pass through Kubeflow unharmed.
        StoreError: If the records cannot be read.
    """
    spec = Spec.from_record(store.get_json(run.key(SPEC)), run.key(SPEC))
    recipe = Recipe(spec.recipe, store.get(run.key(SOURCE)).decode())
    values = {
        **spec.params,
        **{name: uri for name, uri in spec.places.items() if name != "root_uri"},
        SPLITS: spec.splits,
        SEED: spec.seed,
        STORE: store.uri,
        EXPERIMENT: spec.experiment,
        RUN: run.uri,
    }
    return recipe, arguments(inputs(recipe, store.uri), values)
