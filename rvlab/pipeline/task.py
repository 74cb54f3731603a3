"""What a pod of a pipeline does: find its run, and execute one step of it.

`rvlab.pipeline.components` calls these functions from compiled pipelines, so their names and
arguments must not change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rvlab.model import Run
from rvlab.pipeline.claim import claimed
from rvlab.pipeline.inputs import inputs, unpacked
from rvlab.recipes import Recipe
from rvlab.store import Store
from rvlab.worker.commands import Plan
from rvlab.worker.records import PLAN
from rvlab.worker.threads import limit_threads


def configure(recipe: str, source: str, job: str, given: Mapping[str, Any]) -> list[str]:
    """Find or create the run for these inputs, write its config, and say how it is split.

    Args:
        recipe: The recipe's name.
        source: The recipe's source as `rvlab.pipeline.inputs.packed` returns it.
        job: Kubeflow's id of the pipeline run.
        given: The pipeline's inputs, by name.

    Returns:
        One item per split, at least one, which the other steps take.
    """
    from rvlab.worker.step import run_step

    limit_threads()
    found = Recipe(recipe, unpacked(source))
    known = inputs(found, str(given["rvlab_store"]))
    run = claimed(found, {one.name: one.value(given[one.name]) for one in known}, job)
    status, plan = run_step(run.uri, "configure")
    if status or plan is None:
        sys.exit(status or 1)
    return [json.dumps({"run": run.uri, "split": i}) for i in range(_pieces(plan))]


def step(name: str, item: str) -> str:
    """Run a step that is not split, if the run's config needs it.

    Args:
        name: The step.
        item: What configure returned for any split.

    Returns:
        The item.
    """
    run = Run.from_uri(json.loads(item)["run"])
    if name == "summarize" or name in _plan(run).steps:
        _run(run, name, None, None)
    return item


def split(name: str, item: str) -> str:
    """Run one split of a step, if the run's config has so many.

    Args:
        name: The step.
        item: What configure returned for this split.

    Returns:
        The item.
    """
    told = json.loads(item)
    run, index = Run.from_uri(told["run"]), int(told["split"])
    plan = _plan(run)
    pieces = plan.splits.get(name, 1)
    if name in plan.steps and index < pieces:
        _run(run, name, *((index, pieces) if pieces > 1 else (None, None)))
    return item


def _run(run: Run, name: str, index: int | None, of: int | None) -> None:
    from rvlab.worker.step import run_step

    limit_threads()
    status, _ = run_step(run.uri, name, split=index, of=of)
    if status:
        sys.exit(status)


def _plan(run: Run) -> Plan:
    return Plan.from_record(Store(run.store).patient().get_json(run.key(PLAN)))


def _pieces(plan: Plan) -> int:
    return max([1, *(n for step, n in plan.splits.items() if step in plan.steps)])
