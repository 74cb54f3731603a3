"""From the records of a run to what is passed to its pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rvlab.model import Run, Spec
from rvlab.pipeline.inputs import EXPERIMENT, RUN, SEED, SPLITS, STORE, arguments, inputs, packed
from rvlab.recipes import Recipe
from rvlab.repeat import recorded
from rvlab.store import Store


def checked(recipe: Recipe, points: Sequence[Mapping[str, Any]], store: str) -> None:
    """Refuse what cannot be a pipeline, or its inputs, before a run is recorded.

    Raises:
        SpecError: If a parameter's name, or a value, cannot pass through Kubeflow, or the source
            is too long for it.
    """
    known = inputs(recipe, store)
    packed(recipe)
    for point in points:
        arguments(known, point)


def asked_of(store: Store, run: Run) -> tuple[Spec, Recipe, dict[str, Any]]:
    """What a run was asked for, its recipe, and the inputs of its pipeline.

    Raises:
        SpecError: If the run has no recipe, or a value cannot pass through Kubeflow unharmed.
        StoreError: If the records cannot be read.
    """
    spec, recipe = recorded(store, run)
    values = {
        **spec.params,
        **{name: uri for name, uri in spec.places.items() if name != "root_uri"},
        SPLITS: spec.splits,
        SEED: spec.seed,
        STORE: store.uri,
        EXPERIMENT: spec.experiment,
        RUN: run.uri,
    }
    return spec, recipe, arguments(inputs(recipe, store.uri), values)
