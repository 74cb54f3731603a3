"""Steps as forks of one process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="steps are forks on Linux only")


def forked(body: str) -> tuple[str, float]:
    """What a fork answers whose step is this; and how long that took, in seconds."""
    script = (
        "import os, sys, time\n"
        "from rvlab.worker import step, whole\n"
        "from rvlab.worker.commands import Plan\n"
        "def run_step(uri, name, **split):\n"
        f"{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "step.run_step = run_step\n"
        "print(whole._forked('uri', 'configure', None, None))\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout.strip(), time.monotonic() - began


def test_a_process_that_outlives_its_step_holds_nothing_up(tmp_path: Path) -> None:
    """As a data loader does that nobody told to end."""
    answer, took_s = forked(
        """
        if os.fork() == 0:
            os.close(1)
            time.sleep(20)
            os._exit(0)
        return 0, Plan(("train",), {"predict": 2})
        """
    )
    assert answer == "(0, Plan(steps=('train',), splits={'predict': 2}))"
    assert took_s < 15


def test_a_fork_never_returns_into_its_parents_code() -> None:
    """Not even when its last words cannot be written."""
    answer, _ = forked(
        """
        class Full:
            def flush(self):
                raise OSError("No space left on device")
        sys.stdout = Full()
        return 3, None
        """
    )
    assert answer == "(3, None)"
