"""Claims, which connect a pipeline run with a run of the store, also for clones in Kubeflow."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from rvlab.errors import KeyMissing
from rvlab.model import Run, new_run_id
from rvlab.pipeline.inputs import EXPERIMENT, RUN, SEED, SPLITS, STORE
from rvlab.recipes import Recipe
from rvlab.recipes.literals import UNKNOWN_DEFAULT
from rvlab.store import Store, read_spec
from rvlab.store.run_listing import list_runs
from rvlab.submission import SubmitOptions, prepare_runs
from rvlab.worker.records import SPEC, claim_job

IMAGE_VARIABLE = "RVLAB_IMAGE"
"""Variable with the name of a pod's image."""


def claim_run(recipe: Recipe, given: Mapping[str, Any], job: str) -> Run:
    """Return the run of a pipeline run, created if necessary; a restarted pod gets the same run.

    The inputs name the submitted run. It belongs to the pipeline run if its spec equals the inputs
    and no other pipeline run has claimed it. Otherwise the pipeline run is a clone, with or without
    changed inputs: a new run is created in the experiment and the store of the inputs, with the
    named run as its parent. If the inputs name no run, the pipeline run was started in Kubeflow's
    own pages; a new run without a parent is created.

    Args:
        recipe: The recipe.
        given: The pipeline's inputs, by name, as parameter values; `UNKNOWN_DEFAULT` is omitted.
        job: The pipeline run's id.
    """
    values = {name: value for name, value in given.items() if value is not UNKNOWN_DEFAULT}
    store = Store(values[STORE]).with_patience()
    named = Run.from_uri(values[RUN]) if values[RUN] else None
    if named and _matches_spec(store, named, values, recipe) and claim_job(store, named, job):
        return named
    experiment = values[EXPERIMENT]
    job_hash = hashlib.sha256(job.encode()).hexdigest()[:6]
    for candidate in list_runs(store, experiment).runs:
        is_own = candidate.id.endswith(f"-{job_hash}") and store.exists(candidate.key(SPEC))
        if is_own and claim_job(store, candidate, job):
            return candidate
    options = SubmitOptions(
        experiment,
        "kubeflow",
        splits=values[SPLITS],
        seed=values.get(SEED),
        parent=named.id if named else None,
        image=os.environ.get(IMAGE_VARIABLE),
    )
    names = set(recipe.signature.parameters) | set(recipe.signature.places)
    point = {name: value for name, value in values.items() if name in names}
    if named and recipe.signature.accepts_any:  # parameters beyond the signature are not inputs
        point = {**_extra_params(store, named, names), **point}
    run = prepare_runs(store, recipe, [point], options, ids=[f"{new_run_id()[:-6]}{job_hash}"])[0]
    claim_job(store, run, job)
    return run


def _extra_params(store: Store, run: Run, names: set[str]) -> dict[str, Any]:
    """Return the parameters of a run that its recipe's signature does not name."""
    try:
        spec = read_spec(store, run)
    except KeyMissing:
        return {}
    return {name: value for name, value in spec.params.items() if name not in names}


def _matches_spec(store: Store, run: Run, values: Mapping[str, Any], recipe: Recipe) -> bool:
    """Return whether the spec of a run equals the inputs."""
    try:
        spec = read_spec(store, run)
    except KeyMissing:
        return False
    recorded = {
        **spec.params,
        **spec.places,
        SPLITS: spec.splits,
        SEED: spec.seed,
        EXPERIMENT: spec.experiment,
    }
    inputs = {name: value for name, value in values.items() if name in recorded}
    return spec.source_sha256 == recipe.sha256 and all(recorded[n] == v for n, v in inputs.items())
