"""``python -m tests.engines.quick_train RUN_URI``: a run of real processes with little work.

The process forks for each step, as `rvlab.worker.run_all` does, and each step is
`rvlab.worker.step.run_step` with all its records. Only the work of Raster Vision is replaced, whose
import alone takes ten seconds of CPU time: the training sleeps and logs epochs.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rvlab.engines.local import LocalEngine
from rvlab.model import Run, Spec
from rvlab.store import Store
from rvlab.worker import run_all, rv_patches, step
from rvlab.worker.commands import StepPlan
from rvlab.worker.records import PLAN, SPEC
from rvlab.worker.summarize import EndSummary

ROOT = Path(__file__).parents[2]
EPOCH_S = 0.2


@dataclass(frozen=True)
class QuickLocal(LocalEngine):
    """The local engine with this module's runs."""

    @property
    def command(self) -> tuple[str, ...]:
        """Return the command of this module."""
        return ("tests.engines.quick_train",)

    def resume(self, store: Store) -> None:
        """Start a supervisor whose runs can import this module."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            super().resume(store)


def configure(store: Store, run: Run, _spec: Spec, _scratch: Path) -> StepPlan:
    """Write a config and a plan."""
    store.put_json(run.key("rv", "pipeline-config.json"), {"root_uri": run.rv_uri})
    plan = StepPlan(("train",), {})
    store.put_json(run.key(PLAN), plan.record())
    return plan


def train(store: Store, run: Run, _step: str, _scratch: Path, **_split: Any) -> None:
    """Sleep for each epoch of the run's parameter; log the first, and all of them at the end."""
    epochs = Spec.from_record(store.get_json(run.key(SPEC)), SPEC).params["epochs"]
    for epoch in range(epochs):
        time.sleep(EPOCH_S)
        if epoch in (0, epochs - 1):
            rows = [f"{number},{1 / (number + 1)}" for number in range(epoch + 1)]
            log = "\n".join(["epoch,train_loss", *rows, ""])
            store.put(run.key("rv", "train", "log.csv"), log.encode())


def summarize(_store: Store, _run: Run, _kind: str) -> EndSummary:
    """Return a score."""
    return EndSummary({"f1": 0.5}, {})


def main(uri: str) -> int:
    """Run all steps and return the exit status."""
    rv_patches.apply_patches = lambda *_, **__: None
    stubs = {"save_config": configure, "run_command": train, "summarize_outputs": summarize}
    for name, stub in stubs.items():
        setattr(step, name, stub)
    for name in ("configure", "train", "summarize"):
        status, _ = run_all._run_forked(uri, name, None, None)
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
