"""Engines whose steps are forks of one process that has imported torch and Raster Vision.

Importing them takes ten seconds of CPU time, for each run of the local engine and for each step of
a rehearsal. ``python -m tests.engines.warm_engines KIND PYTHON … RUN_URI`` is the command of a run;
PYTHON is the one of `tests.kubeflow.warm`. Everything else is that of the engines.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rvlab.engines.local import LocalEngine
from rvlab.engines.rehearse import RehearseEngine
from rvlab.store import Store

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class WarmLocal(LocalEngine):
    """The local engine with another Python for the runs.

    Args:
        python: The command that executes a run.
    """

    python: str = ""

    @property
    def command(self) -> tuple[str, ...]:
        """Return the command of this module."""
        return ("tests.engines.warm_engines", "local", self.python)

    def resume(self, store: Store) -> None:
        """Start a supervisor whose runs can import this module."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            super().resume(store)


@dataclass(frozen=True)
class WarmRehearsal(RehearseEngine):
    """The rehearsal engine with another Python for the steps.

    Args:
        python: The command that executes a step.
    """

    python: str = ""

    @property
    def command(self) -> tuple[str, ...]:
        """Return the command of this module."""
        return ("tests.engines.warm_engines", "rehearse", self.python, *super().command[1:])

    def resume(self, store: Store) -> None:
        """Start a supervisor whose runs can import this module."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            super().resume(store)


def main(kind: str, python: str, *args: str) -> None:
    """Execute a run."""
    if kind == "local":
        os.execv(python, [python, "-m", "rvlab.worker", "run", *args])  # noqa: S606
    from rvlab.engines import kfp_local

    sys.executable = python  # kfp runs steps with this Python
    sys.exit(kfp_local.main(args))


if __name__ == "__main__":
    main(*sys.argv[1:])
