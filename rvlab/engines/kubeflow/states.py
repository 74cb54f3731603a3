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
"""For at most this number of runs, a request per run replaces the listing, whose pages of 200 runs
have megabytes."""

MAX_WAITING_REPORTS, WAITING_REPORT_S = 8, 30.0
"""Maximum number of waiting runs whose reason is read per query, and seconds that it is cached."""

DELETED = ReportedState("lost", reason="Kubeflow does not have this run: it was deleted there.")
INTERRUPTED = "Its submission was interrupted; lab.retry starts it."

_T = TypeVar("_T")
_R = TypeVar("_R")


class KubeflowStates:
    """Reads states of runs, and caches the states of runs that have ended or were deleted.

    Args:
        client: Kubeflow's API.
        jobs: Kubeflow's ids of runs.
        max_parallel: Maximum number of concurrent requests.
    """

    def __init__(self, client: KubeflowClient, jobs: Jobs, max_parallel: int) -> None:
        self._client, self._jobs, self._max_parallel = client, jobs, max_parallel
        self._ended: dict[str, ReportedState] = {}
        self._waiting_reports: dict[str, tuple[float, WorkflowReport]] = {}
        self._not_in_kubeflow: set[str] = set()

    def report(self, store: Store, runs: Sequence[Run]) -> dict[Run, ReportedState]:
        """Return the states of runs without an end record.

        Raises:
            EngineError: If Kubeflow does not answer or refuses.
        """
        by_uri = {run.uri: run for run in runs}
        job_ids = store.map_concurrently(lambda uri: self._jobs.find(store, by_uri[uri]), by_uri)
        unsubmitted = [by_uri[uri] for uri, job in job_ids.items() if job is None]
        states: dict[Run, ReportedState] = {}
        for run, answer in self._map(
            lambda run: self._resolve_unsubmitted(store, run), unsubmitted
        ):
            if isinstance(answer, str):
                job_ids[run.uri] = answer
            else:
                states[run] = answer
        by_job = self._look_up({job for job in job_ids.values() if job is not None})
        self._explain_waiting(by_job)
        return {run: states.get(run) or by_job[str(job_ids[run.uri])] for run in runs}

    def now(self, job: str) -> ReportedState:
        """Return the present state of a run, without the cache: it may have been retried.

        Raises:
            EngineError: If Kubeflow does not answer or refuses.
        """
        run = self._client.run(job)
        return DELETED if run is None else self._translate(run)

    def forget(self, job: str) -> None:
        """Delete the cached state of a run that is retried."""
        self._ended.pop(job, None)

    def find_unrecorded(self, store: Store, run: Run) -> str | None:
        """Search Kubeflow for a run by its name, and return its id; its response may be lost.

        Raises:
            EngineError: If Kubeflow does not answer or refuses.
        """
        job = self._client.find_run(recorded_name(store, run))
        if job is not None:
            self._jobs.remember(run, job)
        return job

    def _resolve_unsubmitted(self, store: Store, run: Run) -> str | ReportedState:
        """Return Kubeflow's id of a run without a record of it, or the run's state."""
        failure, is_new = read_failure(store, run), is_being_submitted(store, run)
        if failure is None and is_new:
            return ReportedState("queued")
        if (
            failure is None or failure.get("may_have_arrived")
        ) and run.uri not in self._not_in_kubeflow:
            job = self.find_unrecorded(store, run)
            if job is not None:
                return job
            if not is_new:
                self._not_in_kubeflow.add(run.uri)
        reason = str(failure.get("error")) if failure else INTERRUPTED
        return ReportedState("not submitted", reason=reason)

    def _look_up(self, jobs: set[str]) -> dict[str, ReportedState]:
        """Return the states of runs by Kubeflow's ids."""
        missing = jobs - self._ended.keys()
        found: list[api.V2beta1Run] = []
        pages = self._client.iter_pages()
        while len(missing) > MAX_RUNS_BY_ID:
            page_runs = [run for run in next(pages, []) if run.run_id in missing]
            if not page_runs:  # the other runs are old or deleted
                break
            found += page_runs
            missing -= {run.run_id for run in page_runs}
        by_id = self._map(
            lambda job: self._client.run(job, patience_s=self._client.read_patience_s), missing
        )
        found += [run for _, run in by_id if run is not None]
        states = {run.run_id: state for run, state in self._map(self._translate, found)}
        states |= dict.fromkeys((job for job, run in by_id if run is None), DELETED)
        ended = {run.run_id for run in found if run.state in RUNTIME_STATES_ENDED}
        for job, state in states.items():
            if state is DELETED or job in ended:
                self._ended[job] = state
        return {job: states[job] if job in states else self._ended[job] for job in jobs}

    def _translate(self, run: api.V2beta1Run) -> ReportedState:
        """Return the state of a run, and the step and the reason of a failure.

        Argo reports a terminated run as failed. Kubeflow's history of states shows the termination,
        unless the run ended before the termination was reported. The workflow always shows it.
        """
        state, report = str(run.state or "PENDING"), WorkflowReport()
        if state == "FAILED":
            earlier_states = [
                status.state
                for status in run.state_history or ()
                if status.state not in (None, state)
            ]
            if earlier_states[-1:] == ["CANCELING"]:
                return ReportedState("cancelled")
            workflow = self._client.workflow(run.run_id)
            report = report_from_tasks(run) if workflow is None else report_failure(workflow)
            if report.is_terminated:
                return ReportedState("cancelled")
        return ReportedState(STATE_BY_RUNTIME_STATE.get(state, "lost"), report.step, report.reason)

    def _explain_waiting(self, states: dict[str, ReportedState]) -> None:
        """Add the reason why a pod has not started to the states of unfinished runs."""
        now = time.monotonic()
        active = [job for job, state in states.items() if state.state in ("queued", "running")]
        outdated = [
            job
            for job in active
            if now - self._waiting_reports.get(job, (-1e9,))[0] > WAITING_REPORT_S
        ]
        for job, workflow in self._map(self._client.workflow, outdated[:MAX_WAITING_REPORTS]):
            self._waiting_reports[job] = (now, report_waiting(workflow or {}))
        for job in active:
            if job in self._waiting_reports:
                report = self._waiting_reports[job][1]
                states[job] = ReportedState(states[job].state, report.step, report.reason)

    def _map(self, call: Callable[[_T], _R], items: Iterable[_T]) -> list[tuple[_T, _R]]:
        """Call a function for items concurrently, and return pairs of item and result."""
        inputs = list(items)
        if len(inputs) < 2:
            return [(item, call(item)) for item in inputs]
        with ThreadPoolExecutor(self._max_parallel) as pool:
            return list(zip(inputs, pool.map(call, inputs), strict=True))
