"""The work of a pod: find its run and execute one step of it.

`rvlab.pipeline.components` calls these functions from compiled pipelines, so their names and
arguments must not change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rvlab.model import Run
from rvlab.pipeline.claim import claim_run
from rvlab.pipeline.inputs import pipeline_inputs, unpack_source
from rvlab.recipes import Recipe
from rvlab.store import Store
from rvlab.worker.commands import StepPlan
from rvlab.worker.records import PLAN
from rvlab.worker.threads import limit_threads


def run_configure(recipe: str, source: str, job: str, given: Mapping[str, Any]) -> list[str]:
    """Find or create the run for these inputs, write its config, and return its splits.

    Args:
        recipe: The recipe's name.
        source: The recipe's source as `rvlab.pipeline.inputs.pack_source` returns it.
        job: Kubeflow's id of the pipeline run.
        given: The pipeline's inputs, by name.

    Returns:
        JSON items for the other steps: one per split, at least one.
    """
    from rvlab.worker.step import run_step

    limit_threads()
    found = Recipe(recipe, unpack_source(source))
    known = pipeline_inputs(found, str(given["rvlab_store"]))
    run = claim_run(found, {one.name: one.decode(given[one.name]) for one in known}, job)
    status, plan = run_step(run.uri, "configure")
    if status or plan is None:
        sys.exit(status or 1)
    return [json.dumps({"run": run.uri, "split": i}) for i in range(_split_count(plan))]


def run_whole_step(name: str, item: str) -> str:
    """Run a step that is not split, if the run's config needs it.

    Args:
        name: The step.
        item: An item that `run_configure` returned, for any split.

    Returns:
        The item.
    """
    run = Run.from_uri(json.loads(item)["run"])
    if name == "summarize" or name in _read_plan(run).steps:
        _run_step(run, name, None, None)
    return item


def run_split(name: str, item: str) -> str:
    """Run a split of a step, if the run's config has that many splits.

    Args:
        name: The step.
        item: The item that `run_configure` returned for this split.

    Returns:
        The item.
    """
    fields = json.loads(item)
    run, index = Run.from_uri(fields["run"]), int(fields["split"])
    plan = _read_plan(run)
    pieces = plan.splits.get(name, 1)
    if name in plan.steps and index < pieces:
        _run_step(run, name, *((index, pieces) if pieces > 1 else (None, None)))
    return item


def _run_step(run: Run, name: str, index: int | None, of: int | None) -> None:
    from rvlab.worker.step import run_step

    limit_threads()
    status, _ = run_step(run.uri, name, split=index, of=of)
    if status:
        sys.exit(status)


def _read_plan(run: Run) -> StepPlan:
    return StepPlan.from_record(Store(run.store).with_patience().get_json(run.key(PLAN)))


def _split_count(plan: StepPlan) -> int:
    return max([1, *(n for step, n in plan.splits.items() if step in plan.steps)])
