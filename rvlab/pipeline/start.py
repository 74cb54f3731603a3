"""Arguments of a run's pipeline, from the records of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rvlab.clone import load_recorded
from rvlab.model import Run, Spec
from rvlab.pipeline.inputs import (
    EXPERIMENT,
    RUN,
    SEED,
    SPLITS,
    STORE,
    check_defaults,
    pack_source,
    pipeline_arguments,
    pipeline_inputs,
)
from rvlab.recipes import Recipe
from rvlab.recipes.signature import ROOT_PARAMETER
from rvlab.store import Store


def validate_pipeline(recipe: Recipe, points: Sequence[Mapping[str, Any]], store: str) -> None:
    """Raise if the recipe or its points cannot be a pipeline; called before a run is recorded.

    Raises:
        SpecError: If a parameter's name, default or value cannot pass through Kubeflow, or the
            source is too long for it.
    """
    known = pipeline_inputs(recipe, store)
    check_defaults(known)
    pack_source(recipe)
    for point in points:
        pipeline_arguments(known, point)


def load_request(store: Store, run: Run) -> tuple[Spec, Recipe, dict[str, Any]]:
    """Read the spec and the recipe of a run, and the inputs of its pipeline.

    Raises:
        SpecError: If the run has no recipe, or Kubeflow would change a value.
        StoreError: If the records cannot be read.
    """
    spec, recipe = load_recorded(store, run)
    values = {
        **spec.params,
        **{name: uri for name, uri in spec.places.items() if name != ROOT_PARAMETER},
        SPLITS: spec.splits,
        SEED: spec.seed,
        STORE: store.uri,
        EXPERIMENT: spec.experiment,
        RUN: run.uri,
    }
    return spec, recipe, pipeline_arguments(pipeline_inputs(recipe, store.uri), values)
