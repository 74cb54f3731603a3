"""States of runs according to Kubeflow, with the step and the reason of failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from rvlab.engines.kubeflow.client import KubeflowClient
from rvlab.engines.kubeflow.jobs import Jobs, is_being_submitted, read_failure, recorded_name
from rvlab.engines.kubeflow.workflow import (
    WorkflowReport,
    report_failure,
    report_from_tasks,
    report_waiting,
)
from rvlab.model import ReportedState, Run
from rvlab.store import Store

if TYPE_CHECKING:
    import kfp_server_api as api

STATE_BY_RUNTIME_STATE = {
    "RUNTIME_STATE_UNSPECIFIED": "queued",
    "PENDING": "queued",
    "RUNNING": "running",
    "PAUSED": "running",
    "CANCELING": "cancelled",
    "CANCELED": "cancelled",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "succeeded",
    "FAILED": "failed",
}
RUNTIME_STATES_ENDED = ("CANCELED", "SUCCEEDED", "SKIPPED", "FAILED")

MAX_RUNS_BY_ID = 64
"""Up to this number of runs, one request per run replaces the listing, whose pages of 200 runs are
megabytes."""

MAX_WAITING_REPORTS, WAITING_REPORT_S = 8, 30.0
"""How many waiting runs are explained per query, and for how many seconds a reason is cached."""

DELETED = ReportedState("lost", reason="Kubeflow does not have this run: it was deleted there.")
INTERRUPTED = "Its submission was interrupted; lab.retry starts it."

_T = TypeVar("_T")
_R = TypeVar("_R")


class KubeflowStates:
    """Reads states; those of runs that have ended, or were deleted, are cached.

    Args:
        client: Kubeflow's API.
        jobs: Kubeflow's ids of runs.
        max_parallel: Maximum number of concurrent requests.
    """

    def __init__(self, client: KubeflowClient, jobs: Jobs, max_parallel: int) -> None:
        self._client, self._jobs, self._max_parallel = client, jobs, max_parallel
        self._ended: dict[str, ReportedState] = {}
        self._waiting: dict[str, tuple[float, WorkflowReport]] = {}
        self._absent: set[str] = set()

    def report(self, store: Store, runs: Sequence[Run]) -> dict[Run, ReportedState]:
        """Return the states of runs without an end record.

        Raises:
            EngineError: If Kubeflow does not answer or refuses.
        """
        by_uri = {run.uri: run for run in runs}
        read = store.map_concurrently(lambda uri: self._jobs.find(store, by_uri[uri]), by_uri)
        unsent = [by_uri[uri] for uri, job in read.items() if job is None]
        states: dict[Run, ReportedState] = {}
        for run, answer in self._map(lambda run: self._resolve_unsent(store, run), unsent):
            if isinstance(answer, str):
                read[run.uri] = answer
            else:
                states[run] = answer
        by_job = self._look_up({job for job in read.values() if job is not None})
        self._explain_waiting(by_job)
        return {run: states.get(run) or by_job[str(read[run.uri])] for run in runs}

    def now(self, job: str) -> ReportedState:
        """Return the present state of a run, which may have been retried since.

        Raises:
            EngineError: If Kubeflow does not answer or refuses.
        """
        found = self._client.run(job)
        return DELETED if found is None else self._translate(found)

    def forget(self, job: str) -> None:
        """Forget the end of a run that is retried."""
        self._ended.pop(job, None)

    def find_unrecorded(self, store: Store, run: Run) -> str | None:
        """Return Kubeflow's id of a run by its name; a lost response may have contained it.

        Raises:
            EngineError: If Kubeflow does not answer or refuses.
        """
        job = self._client.find_run(recorded_name(store, run))
        if job is not None:
            self._jobs.remember(run, job)
        return job

    def _resolve_unsent(self, store: Store, run: Run) -> str | ReportedState:
        """Return Kubeflow's id of a run without a record of it, or the run's state."""
        failure, is_new = read_failure(store, run), is_being_submitted(store, run)
        if failure is None and is_new:
            return ReportedState("queued")
        if (failure is None or failure.get("may_have_arrived")) and run.uri not in self._absent:
            job = self.find_unrecorded(store, run)
            if job is not None:
                return job
            if not is_new:
                self._absent.add(run.uri)
        reason = str(failure.get("error")) if failure else INTERRUPTED
        return ReportedState("not submitted", reason=reason)

    def _look_up(self, jobs: set[str]) -> dict[str, ReportedState]:
        """Return the states of runs by Kubeflow's ids."""
        missing = jobs - self._ended.keys()
        listed: list[api.V2beta1Run] = []
        pages = self._client.iter_pages()
        while len(missing) > MAX_RUNS_BY_ID:
            hits = [one for one in next(pages, []) if one.run_id in missing]
            if not hits:  # the others are old or deleted
                break
            listed += hits
            missing -= {one.run_id for one in hits}
        by_id = self._map(
            lambda job: self._client.run(job, patience_s=self._client.read_patience_s), missing
        )
        listed += [one for _, one in by_id if one is not None]
        states = {one.run_id: state for one, state in self._map(self._translate, listed)}
        states |= dict.fromkeys((job for job, one in by_id if one is None), DELETED)
        ended = {one.run_id for one in listed if one.state in RUNTIME_STATES_ENDED}
        for job, state in states.items():
            if state is DELETED or job in ended:
                self._ended[job] = state
        return {job: states[job] if job in states else self._ended[job] for job in jobs}

    def _translate(self, run: api.V2beta1Run) -> ReportedState:
        """Return the state of a run, and the step and the reason of a failure.

        Argo reports a terminated run as failed. Kubeflow's history of its states distinguishes it
        from a failed run, unless it ended before the termination was reported; its workflow always
        does.
        """
        state, report = str(run.state or "PENDING"), WorkflowReport()
        if state == "FAILED":
            before = [
                one.state for one in run.state_history or () if one.state not in (None, state)
            ]
            if before[-1:] == ["CANCELING"]:
                return ReportedState("cancelled")
            workflow = self._client.workflow(run.run_id)
            report = report_from_tasks(run) if workflow is None else report_failure(workflow)
            if report.is_terminated:
                return ReportedState("cancelled")
        return ReportedState(STATE_BY_RUNTIME_STATE.get(state, "lost"), report.step, report.reason)

    def _explain_waiting(self, states: dict[str, ReportedState]) -> None:
        """Add to some unfinished runs why a pod of theirs has not started."""
        now = time.monotonic()
        active = [job for job, one in states.items() if one.state in ("queued", "running")]
        old = [job for job in active if now - self._waiting.get(job, (-1e9,))[0] > WAITING_REPORT_S]
        for job, workflow in self._map(self._client.workflow, old[:MAX_WAITING_REPORTS]):
            self._waiting[job] = (now, report_waiting(workflow or {}))
        for job in active:
            if job in self._waiting:
                found = self._waiting[job][1]
                states[job] = ReportedState(states[job].state, found.step, found.reason)

    def _map(self, call: Callable[[_T], _R], items: Iterable[_T]) -> list[tuple[_T, _R]]:
        """Call a function for items concurrently and return each with its result."""
        wanted = list(items)
        if len(wanted) < 2:
            return [(one, call(one)) for one in wanted]
        with ThreadPoolExecutor(self._max_parallel) as pool:
            return list(zip(wanted, pool.map(call, wanted), strict=True))
