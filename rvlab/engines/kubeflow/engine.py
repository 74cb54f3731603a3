"""The engine that runs pipelines on Kubeflow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from rvlab.engines.kubeflow.client import KubeflowClient
from rvlab.errors import EngineError, HasEnded, KeyMissing, RvlabError, SpecError, StoreError
from rvlab.model import Run
from rvlab.pipeline.compile import compile_pipeline, pipeline_name
from rvlab.pipeline.start import load_request, validate_pipeline
from rvlab.recipes import Recipe
from rvlab.settings import Profile, load_profile
from rvlab.store import Store
from rvlab.store.run_listing import reopen_run
from rvlab.worker.records import CLAIM, SPEC, write_end

if TYPE_CHECKING:
    import kfp_server_api as api

JOB_FILE = "job.json"
"""The record of Kubeflow's id of a run and the URL of its page; written by `start`."""

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
MAX_RUN_NAME_CHARS = 150
"""Kubeflow's older databases store 255 bytes of a run's name."""

RUNTIME_STATES_ENDED = ("CANCELED", "SUCCEEDED", "SKIPPED", "FAILED")


@dataclass(frozen=True)
class KubeflowEngine:
    """Runs as pipelines on a cluster.

    Args:
        profile: The cluster, see `rvlab.settings`; by default from ``rvlab.toml``.
    """

    profile: Profile = field(default_factory=load_profile)
    name: str = field(default="kubeflow", init=False)
    sees_all_runs: ClassVar[bool] = True
    steady_heartbeat: ClassVar[bool] = False
    _jobs: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _ended: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_profile(cls, profile: str | None) -> KubeflowEngine:
        """Return an engine for a profile of ``rvlab.toml``; see `rvlab.settings.load_profile`."""
        return cls(load_profile(profile))

    @property
    def image(self) -> str | None:
        """The image of the steps."""
        return self.profile.image

    @cached_property
    def client(self) -> KubeflowClient:
        """Kubeflow's API."""
        return KubeflowClient(self.profile)

    def validate(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        """Raise if pods cannot reach the store, or a pipeline cannot run the points.

        Raises:
            SpecError: If the store is not on S3, or its endpoint is for this machine only; or the
                recipe, or a point, cannot be a pipeline's.
            EngineError: If Kubeflow's address is unknown.
        """
        self.client.host  # noqa: B018  raises if Kubeflow's address is unknown
        self._require_reachable(store)
        validate_pipeline(recipe, points, store.uri)

    def _require_reachable(self, store: Store) -> None:
        if not store.is_s3:
            raise SpecError(
                f"Runs on Kubeflow write to S3, which pods can reach, not to {store.uri!r}."
            )
        if store.access.endpoint and not self.profile.s3.cluster_endpoint:
            raise SpecError(
                f"The store's endpoint {store.access.endpoint} is that of this machine. "
                "Set s3.cluster_endpoint in rvlab.toml to the pods' endpoint."
            )

    def start(self, store: Store, runs: Sequence[Run], *, folder: str | None = None) -> list[Run]:
        """Upload pipeline versions that are new, and start one pipeline run per run.

        A run that has been started is not started again. Runs are started concurrently; an error is
        raised after the others have been started.

        Raises:
            SpecError: If pods cannot reach the store, or Kubeflow would change a value.
            EngineError: If Kubeflow refuses or cannot be reached. The message names the runs that
                were not started; they are recorded, and another call starts them.
        """
        self._require_reachable(store)
        client = self.client
        ids: dict[str, str] = {}
        versions: dict[str, tuple[str, str]] = {}
        jobs = []
        requests = store.map_concurrently(
            lambda uri: load_request(store, Run.from_uri(uri)), [r.uri for r in runs]
        )
        try:
            for run in runs:
                spec, recipe, given = requests[run.uri]
                if recipe.sha256 not in versions:
                    versions[recipe.sha256] = self._ensure_version(client, recipe, store)
                if run.experiment not in ids:
                    ids[run.experiment] = client.ensure_experiment(run.experiment)
                name = f"{spec.name[:MAX_RUN_NAME_CHARS]} · {run.id}"
                jobs.append((run, name, ids[run.experiment], versions[recipe.sha256], given))
        except EngineError as exc:
            raise EngineError(
                f"No run was started: {', '.join(run.id for run in runs)}. "
                f"They are recorded; start them with lab.retry. {exc}"
            ) from exc

        def begin(job: tuple[Run, str, str, tuple[str, str], Any]) -> RvlabError | None:
            run, name, experiment, version, given = job
            if store.exists(run.key(JOB_FILE)):
                return None
            try:
                made = client.create_run(name, experiment, version, given)
                record = {"schema": 1, "engine": self.name, "id": made, "link": self.link(made)}
                store.put_json(run.key(JOB_FILE), record)
                self._jobs[run.uri] = made
            except (EngineError, StoreError) as exc:
                return exc
            return None

        with ThreadPoolExecutor(self.profile.max_parallel) as pool:
            troubles = list(pool.map(begin, jobs))
        failed = [job[0].id for job, trouble in zip(jobs, troubles, strict=True) if trouble]
        if failed:
            first = next(trouble for trouble in troubles if trouble)
            raise EngineError(
                f"{len(failed)} of {len(jobs)} runs were not started: {', '.join(failed)}. "
                f"Start them with lab.retry. {first}"
            ) from first
        return [replace(run, link=self._link(store, run)) for run in runs]

    def _link(self, store: Store, run: Run) -> str | None:
        job = self._job_id(store, run)
        return None if job is None else self.link(job)

    def _ensure_version(
        self, client: KubeflowClient, recipe: Recipe, store: Store
    ) -> tuple[str, str]:
        yaml = compile_pipeline(recipe, self.profile, store=store.uri)
        digest = hashlib.sha256(yaml.encode()).hexdigest()[:12]
        name = pipeline_name(recipe)
        return client.ensure_version(name, f"{name}-{digest}", yaml)

    def link(self, run_id: str) -> str:
        """Return the URL of a run's page."""
        base = (self.profile.ui or self.client.host).rstrip("/")
        return f"{base}/#/runs/details/{run_id}"

    def resume(self, store: Store) -> None:
        """Do nothing: the cluster needs no supervisor on this machine."""

    def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, str]:
        """Return Kubeflow's state of runs without an end record.

        Reads one listing, the newest first, until all are found; runs that have ended or were
        deleted are not looked up again. A run that Kubeflow does not have is ``queued`` if it was
        never started there, else ``lost``.
        """
        named = store.map_concurrently(
            lambda uri: self._job_id(store, Run.from_uri(uri)), [r.uri for r in runs]
        )
        jobs = {run: named[run.uri] for run in runs}
        missing = {job for job in jobs.values() if job and job not in self._ended}
        states = dict(self._ended)
        if missing:
            for one in self.client.iter_runs():
                state = _rvlab_state(one)
                states[one.run_id] = state
                if state in RUNTIME_STATES_ENDED:
                    self._ended[one.run_id] = state
                missing.discard(one.run_id)
                if not missing:
                    break
            self._ended.update(dict.fromkeys(missing, "GONE"))  # a deleted run never returns
        return {
            run: "queued"
            if job is None
            else STATE_BY_RUNTIME_STATE.get(states.get(job, ""), "lost")
            for run, job in jobs.items()
        }

    def cancel(self, store: Store, run: Run) -> None:
        """Cancel a run and terminate its pods, unless it has ended according to Kubeflow.

        Raises:
            HasEnded: If it has ended already; a cancelled one is terminated in Kubeflow again.
            EngineError: If Kubeflow cannot be reached. Nothing is recorded then, unless the
                connection is lost after the record was written; then cancel the run again.
        """
        try:
            state = _state_in(store.get_json(run.end_key))
        except KeyMissing:
            self._cancel(store, run)
            return
        job = self._job_id(store, run)
        if job is not None and state == "cancelled" and self._ended.get(job) is None:
            self.client.terminate(job)
        raise HasEnded(f"The run {run.id!r} has ended already ({state}).")

    def _cancel(self, store: Store, run: Run) -> None:
        spec = store.get_json(run.key(SPEC))
        job = self._job_id(store, run)
        if spec.get("engine") != self.name:
            raise EngineError(
                f"The run {run.id!r} belongs to the engine {spec.get('engine')!r}. Open the lab "
                "with it to cancel it. Nothing has been recorded."
            )
        state = "queued" if job is None else self._state_now(run, job)
        if state in ("failed", "succeeded"):
            raise HasEnded(f"The run {run.id!r} has ended already ({state}) according to Kubeflow.")
        if not write_end(store, run, spec, "cancelled"):
            state = _state_in(store.get_json(run.end_key))
            raise HasEnded(f"The run {run.id!r} has ended already ({state}).")
        if job is None:
            return
        try:
            self.client.terminate(job)
        except EngineError as exc:
            raise EngineError(
                f"The run {run.id!r} is recorded as cancelled, but Kubeflow has not terminated its "
                f"pods. Cancel it again. {exc}"
            ) from exc

    def _state_now(self, run: Run, job: str) -> str:
        """Return Kubeflow's present state of a run, which may have been retried since."""
        try:
            found = self.client.run(job)
        except EngineError as exc:
            raise EngineError(
                f"The run {run.id!r} is not cancelled, and nothing has been recorded. {exc}"
            ) from exc
        return "lost" if found is None else STATE_BY_RUNTIME_STATE.get(_rvlab_state(found), "lost")

    def cancel_many(self, store: Store, runs: Sequence[Run]) -> dict[Run, RvlabError]:
        """Cancel runs concurrently; see `cancel`.

        Returns:
            An error for each run that was not cancelled: `HasEnded` or another one.
        """

        def attempt(run: Run) -> RvlabError | None:
            try:
                self.cancel(store, run)
            except RvlabError as exc:
                return exc
            return None

        with ThreadPoolExecutor(self.profile.max_parallel) as pool:
            found = zip(runs, pool.map(attempt, runs), strict=True)
            return {run: trouble for run, trouble in found if trouble is not None}

    def retry(self, store: Store, run: Run, *, folder: str | None = None) -> None:
        """Start a failed run again at the failed step, or a run that was never started."""
        job = self._job_id(store, run)
        if job is None:
            self.start(store, [run])
        else:
            self.client.retry(job)
            self._ended.pop(job, None)
            reopen_run(store, run)

    def _job_id(self, store: Store, run: Run) -> str | None:
        """Return Kubeflow's id of a run; it never changes, so it is read once."""
        if run.uri not in self._jobs:
            for key in (JOB_FILE, CLAIM):
                try:
                    self._jobs[run.uri] = str(store.get_json(run.key(key)).get("id"))
                    break
                except KeyMissing:
                    continue
        return self._jobs.get(run.uri)


def _state_in(record: Mapping[str, Any]) -> str:
    """Return the state in an end record."""
    return str(record.get("state"))


def _rvlab_state(run: api.V2beta1Run) -> str:
    """Return Kubeflow's state of a run.

    A terminated run is CANCELING first and FAILED in the end, because Argo reports it so. Only its
    history distinguishes it from a failed run.
    """
    state = str(run.state or "PENDING")
    before = [one.state for one in run.state_history or () if one.state not in (None, state)]
    return "CANCELED" if state == "FAILED" and before[-1:] == ["CANCELING"] else state
