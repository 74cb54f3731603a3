"""The run of a pipeline run: a submitted one, a clone, or one started in Kubeflow's pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rvlab.model import Run, Spec
from rvlab.pipeline.claim import claim_run
from rvlab.pipeline.inputs import pipeline_inputs
from rvlab.pipeline.start import load_request
from rvlab.recipes import Recipe
from rvlab.store import Store
from rvlab.store.run_listing import list_runs
from rvlab.submission import SubmitOptions, prepare_runs

RECIPE = Recipe(
    "towns",
    "def get_config(runner, root_uri: str, lr: float = 0.1, sizes: list = [1, 2], m=None): pass\n",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def run(store: Store) -> Run:
    asked = SubmitOptions("town", "kubeflow", splits=3, seed=5)
    return prepare_runs(store, RECIPE, [{"lr": 0.5, "sizes": [4]}], asked)[0]


def given(store: Store, run: Run | None, **changed: Any) -> dict[str, Any]:
    """Return the pipeline's inputs as a pod receives them, with defaults, as parameter values."""
    known = pipeline_inputs(RECIPE, store.uri)
    passed = load_request(store, run)[2] if run else {}
    filled = {one.name: passed.get(one.name, one.default) for one in known}
    return {one.name: one.decode({**filled, **changed}[one.name]) for one in known}


def spec(store: Store, run: Run) -> Spec:
    return Spec.from_record(store.get_json(run.key("spec.json")), "spec.json")


def test_a_submitted_run_is_claimed_again_when_its_pod_restarts(store: Store, run: Run) -> None:
    assert claim_run(RECIPE, given(store, run), "job-1") == run
    assert claim_run(RECIPE, given(store, run), "job-1") == run
    assert store.get_json(run.key("claim.json"))["id"] == "job-1"
    assert list_runs(store, "town").ids == [run.id]


def test_a_clone_gets_one_run_with_the_original_as_parent(store: Store, run: Run) -> None:
    claim_run(RECIPE, given(store, run), "job-1")
    clone = claim_run(RECIPE, given(store, run), "job-2")
    assert clone != run
    assert claim_run(RECIPE, given(store, run), "job-2") == clone
    old, new = spec(store, run), spec(store, clone)
    assert (new.parent, new.params, new.seed, new.splits) == (run.id, old.params, 5, 3)
    assert new.source_sha256 == old.source_sha256
    assert len(list_runs(store, "town").ids) == 2


def test_a_clone_with_other_parameters_does_not_claim_an_unstarted_original(
    store: Store, run: Run
) -> None:
    clone = claim_run(RECIPE, given(store, run, lr=0.7, splits=2), "job-2")
    assert clone != run
    assert spec(store, clone).params == {"lr": 0.7, "sizes": [4], "m": None}
    assert spec(store, clone).splits == 2
    assert spec(store, clone).parent == run.id
    assert claim_run(RECIPE, given(store, run), "job-1") == run


@pytest.mark.parametrize("taken", [True, False])
def test_a_clone_is_created_in_the_experiment_of_its_inputs(
    store: Store, run: Run, taken: bool
) -> None:
    if taken:
        claim_run(RECIPE, given(store, run), "job-1")
    clone = claim_run(RECIPE, given(store, run, rvlab_experiment="elsewhere"), "job-2")
    assert (clone.experiment, spec(store, clone).parent) == ("elsewhere", run.id)
    assert list_runs(store, "town").ids == [run.id]


def test_a_clone_with_other_data_does_not_claim_the_original(store: Store) -> None:
    recipe = Recipe("d", "def get_config(runner, root_uri, data_uri: SharedFolder): pass\n")
    run = prepare_runs(
        store, recipe, [{"data_uri": "s3://a/data"}], SubmitOptions("town", "kubeflow")
    )[0]
    known, passed = pipeline_inputs(recipe, store.uri), load_request(store, run)[2]
    values = {one.name: one.decode(passed[one.name]) for one in known}
    clone = claim_run(recipe, {**values, "data_uri": "s3://b/data"}, "job-2")
    assert spec(store, clone).places["data_uri"] == "s3://b/data"
    assert claim_run(recipe, values, "job-1") == run


def test_a_pipeline_started_in_kubeflows_pages_creates_a_run(store: Store) -> None:
    made = claim_run(RECIPE, given(store, None, lr=0.2, rvlab_experiment="pages"), "job-3")
    assert made.experiment == "pages"
    found = spec(store, made)
    assert (found.params["lr"], found.parent, found.engine) == (0.2, None, "kubeflow")
    assert store.get(made.key("recipe.py")).decode() == RECIPE.source
    assert claim_run(RECIPE, given(store, None, lr=0.2, rvlab_experiment="pages"), "job-3") == made


def test_a_clone_of_a_deleted_run_is_created(store: Store, run: Run) -> None:
    inputs = given(store, run)
    store.delete([key for key, _ in store.files(run.prefix)])
    made = claim_run(RECIPE, inputs, "job-4")
    assert spec(store, made).params["lr"] == 0.5
