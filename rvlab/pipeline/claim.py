"""Whose run is it? A pipeline run started or cloned in Kubeflow's own pages makes its own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from rvlab.errors import KeyMissing
from rvlab.model import Run, Spec, new_run_id
from rvlab.pipeline.inputs import EXPERIMENT, RUN, SEED, SPLITS, STORE
from rvlab.recipes import Recipe
from rvlab.recipes.signature import UNKNOWN_DEFAULT
from rvlab.store import Store
from rvlab.store.run_listing import list_runs
from rvlab.submission import SubmitOptions, prepare_runs
from rvlab.worker.records import SPEC, claim_job

IMAGE_VARIABLE = "RVLAB_IMAGE"
"""The variable that names the image a pod runs."""


def claim_run(recipe: Recipe, given: Mapping[str, Any], job: str) -> Run:
    """The run of a pipeline run, made if need be; the same one when its pod is started again.

    The inputs name the run that was submitted. It is theirs if nobody has claimed it and they ask
    for what its spec says; otherwise this is a clone, with inputs changed or not: it gets a run of
    its own, in the experiment and the store that the inputs name, whose parent the other is.
    Without a name it was started in Kubeflow's own pages.

    Args:
        recipe: The recipe.
        given: The pipeline's inputs, by name, as parameters have them; UNKNOWN is left out.
        job: The pipeline run's own id.
    """
    values = {name: value for name, value in given.items() if value is not UNKNOWN_DEFAULT}
    store = Store(values[STORE]).patient()
    named = Run.from_uri(values[RUN]) if values[RUN] else None
    if named and _matches_spec(store, named, values, recipe) and claim_job(store, named, job):
        return named
    experiment = values[EXPERIMENT]
    mark = hashlib.sha256(job.encode()).hexdigest()[:6]
    for mine in list_runs(store, experiment).runs:
        is_mine = mine.id.endswith(f"-{mark}") and store.exists(mine.key(SPEC))
        if is_mine and claim_job(store, mine, job):
            return mine
    asked = SubmitOptions(
        experiment,
        "kubeflow",
        splits=values[SPLITS],
        seed=values.get(SEED),
        parent=named.id if named else None,
        image=os.environ.get(IMAGE_VARIABLE),
    )
    names = set(recipe.signature.parameters) | set(recipe.signature.places)
    point = {name: value for name, value in values.items() if name in names}
    if named and recipe.signature.accepts_any:  # what it takes beyond its signature is no input
        point = {**_extra_params(store, named, names), **point}
    run = prepare_runs(store, recipe, [point], asked, ids=[f"{new_run_id()[:-6]}{mark}"])[0]
    claim_job(store, run, job)
    return run


def _extra_params(store: Store, run: Run, names: set[str]) -> dict[str, Any]:
    """The parameters of a run that its recipe does not name."""
    try:
        spec = Spec.from_record(store.get_json(run.key(SPEC)), run.key(SPEC))
    except KeyMissing:
        return {}
    return {name: value for name, value in spec.params.items() if name not in names}


def _matches_spec(store: Store, run: Run, values: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether the spec of a run says what the inputs ask for."""
    try:
        spec = Spec.from_record(store.get_json(run.key(SPEC)), run.key(SPEC))
    except KeyMissing:
        return False
    said = {
        **spec.params,
        **spec.places,
        SPLITS: spec.splits,
        SEED: spec.seed,
        EXPERIMENT: spec.experiment,
    }
    asked = {name: value for name, value in values.items() if name in said}
    return spec.source_sha256 == recipe.sha256 and all(said[n] == v for n, v in asked.items())
