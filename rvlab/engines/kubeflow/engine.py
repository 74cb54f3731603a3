"""The engine that runs pipelines on Kubeflow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

from rvlab.engines.extras import require_extra
from rvlab.engines.kubeflow.check import check_kubeflow
from rvlab.engines.kubeflow.client import NOT_CANCELLABLE, KubeflowClient
from rvlab.engines.kubeflow.jobs import (
    NOT_SUBMITTED_FILE,
    Jobs,
    display_name,
    read_failure,
    record_failure,
)
from rvlab.engines.kubeflow.states import KubeflowStates
from rvlab.errors import EngineError, HasEnded, KeyMissing, RvlabError, SpecError, StoreError
from rvlab.model import ReportedState, Run
from rvlab.model.check_result import CheckResult
from rvlab.pipeline.compile import compile_pipeline, pipeline_name
from rvlab.pipeline.start import load_request, validate_pipeline, warn_of_local_files
from rvlab.recipes import Recipe
from rvlab.settings import Profile, load_profile
from rvlab.store import Store
from rvlab.store.run_listing import reopen_run
from rvlab.worker.records import SPEC, write_end


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
    _jobs: Jobs = field(default_factory=Jobs, init=False, repr=False, compare=False)

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

    @cached_property
    def _states(self) -> KubeflowStates:
        return KubeflowStates(self.client, self._jobs, self.profile.max_parallel)

    def validate(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        """Raise if pods cannot reach the store, or Kubeflow cannot run the points.

        Raises:
            MissingExtra: If kfp is not installed.
            SpecError: If the store is not on S3, its endpoint is for this machine only, or a
                pipeline does not support the recipe or a point.
            EngineError: If Kubeflow cannot be reached, or refuses the token or the namespace.
        """
        require_extra("kubeflow", "Submitting to Kubeflow")
        self._require_reachable(store)
        validate_pipeline(recipe, points, store.uri)
        warn_of_local_files(recipe, points)
        try:
            self.client.check_access()
        except EngineError as exc:
            raise EngineError(f"Nothing was submitted. {exc}") from exc

    def _require_reachable(self, store: Store) -> None:
        if not store.is_s3:
            raise SpecError(
                f"Runs on Kubeflow write to S3, which pods can reach, not to {store.uri!r}."
            )
        if store.access.endpoint and not self.profile.s3.cluster_endpoint:
            raise SpecError(
                f"The store's endpoint {store.access.endpoint} is for this machine only. "
                "Set s3.cluster_endpoint in rvlab.toml to the pods' endpoint."
            )

    def check(self, store: Store) -> list[CheckResult]:
        """Check that Kubeflow can be reached and allows runs, and that pods can reach the store."""
        try:
            self._require_reachable(store)
            store_result = CheckResult("store", "from pods", "not checked", self._pods_endpoint())
        except SpecError as exc:
            remedy = "Set a bucket, and its endpoint for pods, in rvlab.toml."
            store_result = CheckResult("store", "from pods", "failed", str(exc), remedy)
        try:
            client = self.client
        except EngineError as exc:
            remedy = "Set `host` in rvlab.toml, such as http://localhost:8080."
            return [store_result, CheckResult("Kubeflow", "reach", "failed", str(exc), remedy)]
        return [store_result, *check_kubeflow(client, self.profile)]

    def _pods_endpoint(self) -> str:
        endpoint = self.profile.s3.cluster_endpoint or "Amazon S3"
        return f"Pods use {endpoint}, which only a run can check."

    def start(self, store: Store, runs: Sequence[Run], *, folder: str | None = None) -> list[Run]:
        """Upload new pipeline versions, and start a pipeline run per run.

        A run that was started before is not started again. Runs are started concurrently; an error
        is raised after the other runs were started.

        Raises:
            SpecError: If pods cannot reach the store, or Kubeflow would change a value.
            EngineError: If Kubeflow refuses or cannot be reached. The message names the runs that
                were not started; their state is ``not submitted``, and another call starts them.
        """
        self._require_reachable(store)
        client = self.client
        experiment_ids: dict[str, str] = {}
        versions: dict[str, tuple[str, str]] = {}
        jobs = []
        try:
            requests = store.map_concurrently(
                lambda uri: load_request(store, Run.from_uri(uri)), [run.uri for run in runs]
            )
            for run in runs:
                spec, recipe, given = requests[run.uri]
                if recipe.sha256 not in versions:
                    versions[recipe.sha256] = self._ensure_version(client, recipe, store)
                if run.experiment not in experiment_ids:
                    experiment_ids[run.experiment] = client.ensure_experiment(run.experiment)
                name = display_name(spec.name, run)
                jobs.append(
                    (run, name, experiment_ids[run.experiment], versions[recipe.sha256], given)
                )
        except RvlabError as exc:
            for run in runs:
                record_failure(store, run, exc, engine=self.name)
            if not isinstance(exc, EngineError):
                raise
            raise EngineError(
                f"No run was started: {', '.join(run.id for run in runs)}. "
                f"They are recorded as not submitted; start them with lab.retry. {exc}"
            ) from exc

        def begin(job: tuple[Run, str, str, tuple[str, str], Any]) -> RvlabError | None:
            run, name, experiment, version, given = job
            try:
                if self._jobs.find(store, run) is None:
                    job_id = client.create_run(name, experiment, version, given)
                    self._jobs.record(store, run, job_id, engine=self.name, link=self.link(job_id))
            except (EngineError, StoreError) as exc:
                record_failure(store, run, exc, engine=self.name)
                return exc
            return None

        with ThreadPoolExecutor(self.profile.max_parallel) as pool:
            errors = list(pool.map(begin, jobs))
        failed = [job[0].id for job, error in zip(jobs, errors, strict=True) if error]
        if failed:
            first = next(error for error in errors if error)
            raise EngineError(
                f"{len(failed)} of {len(jobs)} runs were not started: {', '.join(failed)}. "
                f"Start them with lab.retry. {first}"
            ) from first
        return [replace(run, link=self._link(store, run)) for run in runs]

    def _link(self, store: Store, run: Run) -> str | None:
        job = self._jobs.find(store, run)
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

    def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, ReportedState]:
        """Return Kubeflow's state of runs without an end record.

        For a run that has failed or whose pod waits, the state has the step and the reason. A run
        that never reached Kubeflow is ``not submitted``, with the error. A run that was deleted in
        Kubeflow is ``lost``. The states of ended and deleted runs are cached.
        """
        return self._states.report(store, runs)

    def cancel(self, store: Store, run: Run) -> None:
        """Cancel a run and terminate its pods, unless it has ended according to Kubeflow.

        If a run is recorded as cancelled but Kubeflow still executes it, this terminates it there.

        Raises:
            HasEnded: If it has ended already, or is being terminated.
            EngineError: If Kubeflow cannot be reached. Nothing is recorded, unless the connection
                is lost after the record was written; in that case cancel the run again.
        """
        try:
            state = str(store.get_json(run.end_key).get("state"))
        except KeyMissing:
            self._cancel(store, run)
            return
        job = self._jobs.find(store, run)
        if state == "cancelled" and job is not None and self._terminate_again(run, job):
            return
        raise HasEnded(f"The run {run.id!r} has ended already ({state}).")

    def _terminate_again(self, run: Run, job: str) -> bool:
        """Terminate a cancelled run if Kubeflow still executes it; return whether it did."""
        try:
            kubeflow_run = self.client.run(job)
            if kubeflow_run is None or kubeflow_run.state in NOT_CANCELLABLE:
                return False
            self.client.terminate(job)
        except EngineError as exc:
            raise _not_terminated(run, exc) from exc
        return True

    def _cancel(self, store: Store, run: Run) -> None:
        spec = store.get_json(run.key(SPEC))
        if spec.get("engine") != self.name:
            raise EngineError(
                f"The run {run.id!r} belongs to the engine {spec.get('engine')!r}. Open the lab "
                "with it to cancel it. Nothing has been recorded."
            )
        try:
            job = self._jobs.find(store, run) or self._find_unrecorded(store, run)
            state = "queued" if job is None else self._states.now(job).state
        except EngineError as exc:
            raise EngineError(
                f"The run {run.id!r} is not cancelled, and nothing has been recorded. {exc}"
            ) from exc
        if state in ("failed", "succeeded"):
            raise HasEnded(f"The run {run.id!r} has ended already ({state}) according to Kubeflow.")
        if not write_end(store, run, spec, "cancelled"):
            state = str(store.get_json(run.end_key).get("state"))
            raise HasEnded(f"The run {run.id!r} has ended already ({state}).")
        if job is None:
            return
        try:
            self.client.terminate(job)
        except EngineError as exc:
            raise _not_terminated(run, exc) from exc

    def _find_unrecorded(self, store: Store, run: Run) -> str | None:
        """Search Kubeflow for a run without a record of its id, if it may have been started."""
        failure = read_failure(store, run)
        if failure is not None and not failure.get("may_have_arrived"):
            return None
        return self._states.find_unrecorded(store, run)

    def cancel_many(self, store: Store, runs: Sequence[Run]) -> dict[Run, RvlabError]:
        """Cancel runs concurrently; see `cancel`.

        Returns:
            An error for each run that was not cancelled, such as `HasEnded`.
        """

        def attempt(run: Run) -> RvlabError | None:
            try:
                self.cancel(store, run)
            except RvlabError as exc:
                return exc
            return None

        with ThreadPoolExecutor(self.profile.max_parallel) as pool:
            results = zip(runs, pool.map(attempt, runs), strict=True)
            return {run: error for run, error in results if error is not None}

    def retry(self, store: Store, run: Run, *, folder: str | None = None) -> None:
        """Start a failed run again at the failed step, or a run that was never started.

        A run that Kubeflow does not have, because it was deleted there, starts at the first step.

        Raises:
            EngineError: If it waits, runs or has succeeded in Kubeflow, or Kubeflow refuses or
                cannot be reached.
        """
        job = self._jobs.find(store, run)
        if job is None:
            self._start_again(store, run)
            return
        state = self._states.now(job).state
        if state == "lost":
            self._jobs.forget(store, run)
            self._start_again(store, run)
            return
        _require_retriable(run, state)
        try:
            self.client.retry(job)
        except EngineError:
            _require_retriable(run, self._states.now(job).state)  # retried by another process
            raise
        self._states.forget(job)
        reopen_run(store, run)

    def _start_again(self, store: Store, run: Run) -> None:
        self.start(store, [run])
        if store.exists(run.end_key):
            reopen_run(store, run)
        store.delete([run.key(NOT_SUBMITTED_FILE)])


def _require_retriable(run: Run, state: str) -> None:
    """Raise if a run cannot be retried in its state in Kubeflow."""
    if state in ("queued", "running"):
        verb = "is waiting for its pods" if state == "queued" else "is running"
        raise EngineError(
            f"The run {run.id!r} {verb} in Kubeflow, so there is nothing to retry. lab.cancel ends "
            "it."
        )
    if state == "succeeded":
        raise EngineError(f"The run {run.id!r} has succeeded according to Kubeflow.")


def _not_terminated(run: Run, exc: EngineError) -> EngineError:
    return EngineError(
        f"The run {run.id!r} is recorded as cancelled, but Kubeflow has not terminated its "
        f"pods. Cancel it again. {exc}"
    )
