"""Random SIGKILLs of supervisors, leaders, steps and submitters lose no run.

The times and the processes are drawn from a seed. The runs are cheap (`tests.faults.cheap`), but
everything around their steps is real: queue, supervisor, forks, heartbeats and records.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from rvlab import Lab
from rvlab.engines.job_queue import JobQueue
from rvlab.model import Run
from tests.faults.cheap import ROOT, SOURCE, CheapEngine, alone, find_double_work, supervisors

SEED = 20261130
KINDS = ("supervisor", "leader", "step", "submitter")
BACKLOG = 8
"""Maximum number of queued runs; more are submitted when there are fewer."""

SUBMIT = """
import sys
from rvlab import Lab
from tests.faults.cheap import CheapEngine
lab = Lab(sys.argv[1], CheapEngine(max_parallel=3))
for _ in range(4):
    print(lab.submit(sys.argv[2], experiment="kills", seconds=0.4).uri, flush=True)
"""
SLEEP = "import time; time.sleep(3600)"


@dataclass
class Campaign:
    """A campaign of submissions and kills, with counts."""

    folder: Path
    rng: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    submitters: list[subprocess.Popen[bytes]] = field(default_factory=list)
    bystanders: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "cheap.py").write_text(SOURCE)
        self.lab = Lab(self.folder / "store", CheapEngine(max_parallel=3))
        self.queue = JobQueue.for_store(self.lab.store)

    @property
    def acknowledged(self) -> list[str]:
        """Return the URIs of runs whose submission has returned."""
        text = "".join(file.read_text() for file in sorted(self.folder.glob("*.acknowledged")))
        return [line for line in text.splitlines() if line]

    def submit(self) -> None:
        """Start a process that submits four runs."""
        number = len(self.submitters)
        with (self.folder / f"{number:04d}.acknowledged").open("wb") as out:
            self.submitters.append(
                subprocess.Popen(
                    [sys.executable, "-c", SUBMIT, self.lab.store.uri, self.folder / "cheap.py"],
                    stdout=out,
                )
            )

    def kill_one(self) -> None:
        """Kill a process of a random kind, if there is one."""
        kind = self.rng.choice(KINDS)
        found = sorted(self.victims(kind), key=lambda one: one.pid)
        if not found:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            victim = self.rng.choice(found)
            victim.send_signal(signal.SIGKILL)
            self.killed[kind] += 1

    def victims(self, kind: str) -> list[psutil.Process]:
        if kind == "supervisor":
            return supervisors(self.queue)
        if kind == "submitter":
            return [psutil.Process(one.pid) for one in self.submitters if one.poll() is None]
        families = [job.processes() for _, job in self.queue.running()]
        if kind == "leader":
            return [family[0] for family in families if family]
        return [process for family in families for process in family[1:]]

    def stand_by(self) -> None:
        """Start a process that names a run, as a copy of its folder would."""
        jobs = [*self.queue.running(), *self.queue.waiting()]
        if jobs:
            uri = self.rng.choice(jobs)[1].uri
            command = [sys.executable, "-c", SLEEP, "s3", "sync", uri, "/tmp/copy"]
            own = self.rng.random() < 0.5
            self.bystanders.append(subprocess.Popen(command, start_new_session=own))

    def go(self, kills: int) -> None:
        """Submit and kill until the number of kills is reached."""
        every = max(1, kills // 20)
        while sum(self.killed.values()) < kills:
            busy = sum(one.poll() is None for one in self.submitters)
            if not busy and len(self.queue.waiting()) < BACKLOG:
                self.submit()
            time.sleep(self.rng.uniform(0, 0.4))
            self.kill_one()
            if len(self.bystanders) < sum(self.killed.values()) // every:
                self.stand_by()
            if self.rng.random() < 0.5:  # as a read of the table does
                self.lab.engine.resume(self.lab.store)
        for one in self.submitters:
            one.wait()

    def settle(self) -> None:
        """Wait until the queue is empty; pytest-timeout sets the limit."""
        while self.queue.waiting() or self.queue.running():
            self.lab.engine.resume(self.lab.store)
            time.sleep(0.2)


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Campaign]:
    monkeypatch.setenv("RVLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    one = Campaign(tmp_path, random.Random(SEED))
    yield one
    for process in [*one.bystanders, *one.submitters]:
        process.kill()
        process.wait()
    for process in supervisors(one.queue):
        process.kill()
    for _, job in one.queue.running():
        for process in job.processes():
            process.kill()


def test_two_processes_on_one_run_are_detected(campaign: Campaign) -> None:
    run = Run(campaign.lab.store.uri, "kills", "twice")
    with alone(run):
        assert find_double_work(campaign.lab.store) == []
        with alone(run):
            assert find_double_work(campaign.lab.store) == ["twice"]


@pytest.mark.parametrize(
    "kills", [pytest.param(10, id="few"), pytest.param(250, id="many", marks=pytest.mark.extended)]
)
def test_random_kills_do_not_lose_duplicate_or_block_runs(
    campaign: Campaign, figure: Callable[[str, object], None], kills: int
) -> None:
    campaign.go(kills)
    campaign.settle()
    lab = campaign.lab
    acknowledged = campaign.acknowledged
    table = lab.runs("kills").set_index("uri", drop=False)
    mine = table.loc[[uri for uri in acknowledged if uri in table.index]]
    lost = len(acknowledged) - mine["state"].isin(["succeeded", "failed"]).sum()
    counts = mine["state"].value_counts()
    failed = mine[mine["state"] == "failed"]
    named = failed["error"].str.contains("SIGKILL") | failed["error"].str.contains(
        "ended with an unknown"
    )

    # Runs of a killed submitter that were not queued are not acknowledged, and can be started.
    again = table[table["state"].isin(["failed", "lost"])]
    lab.retry(again)
    campaign.settle()
    after = lab.runs(again)["state"]
    stuck = int((after != "succeeded").sum())
    harmed = sum(one.poll() is not None for one in campaign.bystanders)

    many = f"{sum(campaign.killed.values())} random kills"
    kinds = ", ".join(f"{campaign.killed[kind]} {kind}s" for kind in KINDS)
    figure(f"{many}: of", kinds)
    figure(f"{many}: acknowledged runs", f"{len(acknowledged)} ({counts.to_dict()})")
    figure(f"{many}: acknowledged runs lost", lost)
    figure(f"{many}: runs doubled", len(find_double_work(lab.store)))
    figure(f"{many}: runs stuck after a retry", stuck)
    figure(f"{many}: bystanders harmed", f"{harmed} of {len(campaign.bystanders)}")

    assert lost == 0
    assert failed[~named]["error"].tolist() == []
    assert find_double_work(lab.store) == []
    assert after[after != "succeeded"].to_dict() == {}
    assert harmed == 0
    assert sorted(os.listdir(campaign.folder / "tmp")) == []
