"""``python -m tests.faults.cheap_step RUN_URI``: a run whose steps compute nothing.

Each step is `rvlab.worker.step.run_step` with all its records. Only the work of Raster Vision is
replaced by a few small files, so that a run takes a second and not a minute.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rvlab.engines.local import LocalEngine
from rvlab.model import Run, Spec
from rvlab.store import Store
from rvlab.worker import rv_patches, step
from rvlab.worker.commands import StepPlan
from rvlab.worker.records import PLAN
from rvlab.worker.summarize import EndSummary

SOURCE = "def get_config(runner, root_uri: str, value: float = 0.0):\n    return None\n"
"""A recipe whose runs score `value` as their F1."""

EPOCHS = 3


@dataclass(frozen=True)
class CheapEngine(LocalEngine):
    """The local engine with a supervisor, for runs that compute nothing."""

    @property
    def command(self) -> tuple[str, ...]:
        """Return the command of this module."""
        return ("tests.faults.cheap_step",)


def configure(store: Store, run: Run, _spec: Spec, _scratch: Path) -> StepPlan:
    """Write a config and a plan."""
    print("configured")
    store.put_json(run.key("rv", "pipeline-config.json"), {"root_uri": run.rv_uri})
    plan = StepPlan(("train",), {})
    store.put_json(run.key(PLAN), plan.record())
    return plan


def command(store: Store, run: Run, name: str, _scratch: Path, **_split: Any) -> None:
    """Run a step; train writes a log of a few epochs."""
    print(f"{name} has read {len(store.get(run.key('rv', 'pipeline-config.json')))} bytes")
    lines = [f"{epoch},{1 / (epoch + 1)}" for epoch in range(EPOCHS)]
    text = "\n".join(["epoch,train_loss", *lines, ""])
    store.put(run.key("rv", "train", "log.csv"), text.encode())


def summarize(store: Store, run: Run, _kind: str) -> EndSummary:
    """Write the score from the spec, unless the training log was damaged in transfer."""
    rows = store.get(run.key("rv", "train", "log.csv")).decode().splitlines()
    if len(rows) != EPOCHS + 1:
        raise ValueError(f"log.csv has {len(rows)} lines")
    spec = Spec.from_record(store.get_json(run.key("spec.json")), "spec.json")
    print("summarized")
    return EndSummary({"f1": spec.params["value"]}, {})


def main(uri: str) -> int:
    """Run all steps and return the exit status."""
    rv_patches.apply_patches = lambda *_, **__: None
    stubs = {"save_config": configure, "run_command": command, "summarize_outputs": summarize}
    for name, stub in stubs.items():
        setattr(step, name, stub)
    for name in ("configure", "train", "summarize"):
        status, _ = step.run_step(uri, name)
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
