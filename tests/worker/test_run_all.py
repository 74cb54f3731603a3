"""Tests of steps that run as forks of one process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="steps are forks on Linux only")


def forked(body: str) -> str:
    """Return the printed result of a fork whose step has the given body."""
    script = (
        "import os, sys, time\n"
        "from rvlab.worker import run_all, step\n"
        "from rvlab.worker.commands import StepPlan\n"
        "def run_step(uri, name, **split):\n"
        f"{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "step.run_step = run_step\n"
        "print(run_all._run_forked('uri', 'configure', None, None))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def test_child_process_that_outlives_its_step_does_not_block(tmp_path: Path) -> None:
    """A data loader that is not stopped behaves so."""
    over = tmp_path / "over"
    answer = forked(
        f"""
        if os.fork() == 0:
            os.close(1)
            while not os.path.exists({str(over)!r}):
                time.sleep(0.1)
            os._exit(0)
        return 0, StepPlan(("train",), {{"predict": 2}})
        """
    )
    over.touch()
    assert answer == "(0, StepPlan(steps=('train',), splits={'predict': 2}))"


def test_fork_never_returns_to_its_parents_code() -> None:
    """This holds even if its output cannot be flushed."""
    answer = forked(
        """
        class Full:
            def flush(self):
                raise OSError("No space left on device")
        sys.stdout = Full()
        return 3, None
        """
    )
    assert answer == "(3, None)"
