"""Runs whose processes and supervisor have died are soon shown as failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab, frame
from rvlab.frame.run_rows import QUERY_AFTER_S
from rvlab.model import HEARTBEAT_TIMEOUT_S, ReportedState, Run
from rvlab.store import Store
from tests.faults.test_bystanders import at_work, kill_supervisor, lab, submit, until
from tests.frame.samples import Made

__all__ = ["lab"]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(Store(tmp_path / "made"))


def asked(made: Made, answer: str | None = None) -> tuple[list[Run], str]:
    """Return the runs for which the engine is queried, and the resulting state."""
    runs: list[Run] = []

    def ask(rows: Sequence[Mapping[str, Any]]) -> Mapping[Run, ReportedState]:
        runs.extend(row["_run"] for row in rows)
        return dict.fromkeys(runs, ReportedState(answer)) if answer else {}

    return runs, str(frame.runs_table(made.store, None, ask)["state"].item())


def test_local_engine_is_queried_after_two_missed_heartbeats(made: Made) -> None:
    run = made.running(beat_ago_s=QUERY_AFTER_S + 1)
    assert asked(made) == ([run], "running")
    assert asked(made, "failed") == ([run], "failed")


def test_recent_run_that_is_missing_in_the_queue_is_not_lost_at_once(made: Made) -> None:
    """Simulate another queue: RVLAB_HOME differed when the run was submitted."""
    run = made.running(beat_ago_s=QUERY_AFTER_S + 1)
    assert asked(made, "lost") == ([run], "running")


def test_cluster_is_queried_after_a_minute(made: Made) -> None:
    made.running(beat_ago_s=HEARTBEAT_TIMEOUT_S - 10, engine="kubeflow")
    assert asked(made) == ([], "running")


@pytest.mark.extended
def test_run_is_failed_soon_after_its_supervisor_and_leader_die(
    lab: Lab,
    tmp_path: Path,
    figure: Callable[[str, object], None],
) -> None:
    run = submit(lab, tmp_path)
    mine = at_work(lab, run)
    kill_supervisor(lab)
    for one in mine:
        one.kill()
    began = time.monotonic()
    until(lambda: lab.runs(run)["state"].item() == "failed")
    seconds = time.monotonic() - began
    figure("supervisor and run killed, failed shows [s]", f"{seconds:.0f}")
    assert lab.runs(run)["error"].item().startswith("The process of chip has ended with an unknown")
