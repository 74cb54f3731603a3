"""Client of Kubeflow's REST API v2beta1, for the calls that runs need."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab.engines.kubeflow import transport
from rvlab.engines.kubeflow.transport import (
    AlreadyExists,
    InvalidRequest,
    KubeflowTransport,
    RequestTimeout,
    ResourceNotFound,
    TransientError,
    UnknownOutcome,
)
from rvlab.errors import EngineError

if TYPE_CHECKING:
    import kfp_server_api as api

RUNS_PER_PAGE = 200  # the maximum that Kubeflow allows
# States of runs that cannot be terminated.
NOT_CANCELLABLE = ("CANCELING", "CANCELED", "SUCCEEDED", "SKIPPED", "FAILED")


class KubeflowClient(KubeflowTransport):
    """The calls of Kubeflow's API that runs need."""

    def check_access(self) -> None:
        """Raise if Kubeflow cannot be reached, or refuses the token or the namespace.

        Raises:
            EngineError: With a remedy.
        """
        listing = self._service("Experiment")[1].experiment_service_list_experiments
        self.call(listing, page_size=1, **self._namespace_argument())

    def server(self) -> dict[str, Any]:
        """Return Kubeflow's health record, with ``tag_name`` and ``multi_user``."""
        return self._get_json("/apis/v2beta1/healthz")

    def workflow(self, run_id: str) -> dict[str, Any] | None:
        """Return the Argo workflow of a run as Kubeflow has stored it; None if it has none.

        Only the API v1beta1 returns it; a server without that API answers with an error.
        """
        try:
            answer = self._get_json(f"/apis/v1beta1/runs/{run_id}", patience_s=self.read_patience_s)
            manifest = json.loads(answer["pipeline_runtime"]["workflow_manifest"])
        except (TransientError, UnknownOutcome):
            raise
        except (EngineError, KeyError, TypeError, ValueError):
            return None
        return manifest if isinstance(manifest, dict) else None

    def _get_json(self, path: str, *, patience_s: float | None = None) -> dict[str, Any]:
        """Return the answer to a GET request that the generated client lacks or truncates."""
        call = partial(
            self._client.call_api,
            path,
            "GET",
            header_params={"Accept": "application/json"},
            response_type="object",
            auth_settings=["Bearer"],
            _return_http_data_only=True,
        )
        return dict(self.call(call, patience_s=patience_s))

    def ensure_experiment(self, name: str) -> str:
        """Return the id of an experiment; create it if it is missing."""
        api, service = self._service("Experiment")
        new = api.V2beta1Experiment(display_name=name, **self._namespace_argument())
        listing = partial(service.experiment_service_list_experiments, **self._namespace_argument())
        return self._find_or_create(
            f"the experiment {name!r}",
            partial(self._find, "experiments", listing, equals_filter("display_name", name)),
            partial(self.call, service.experiment_service_create_experiment, new),
        )

    def ensure_version(self, name: str, version: str, yaml: str) -> tuple[str, str]:
        """Return the ids of a pipeline and its version; create them if they are missing.

        Args:
            name: The pipeline's name.
            version: The version's name, which identifies its content.
            yaml: The content.
        """
        api, service = self._service("Pipeline")
        new = api.V2beta1Pipeline(name=name, display_name=name, **self._namespace_argument())
        listing = partial(service.pipeline_service_list_pipelines, **self._namespace_argument())
        pipeline = self._find_or_create(
            f"the pipeline {name!r}",
            partial(self._find, "pipelines", listing, equals_filter("name", name)),
            partial(self.call, service.pipeline_service_create_pipeline, new),
        )
        listing = partial(service.pipeline_service_list_pipeline_versions, pipeline)
        return pipeline, self._find_or_create(
            f"the version {version!r} of {name!r}",
            partial(self._find, "pipeline_versions", listing, equals_filter("name", version)),
            partial(self._upload, pipeline, version, yaml),
        )

    def _upload(self, pipeline: str, version: str, yaml: str) -> None:
        _, service = self._service("PipelineUpload")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            path.write_text(yaml, encoding="utf-8")
            upload = partial(service.upload_pipeline_version, str(path))
            self.call(upload, name=version, pipelineid=pipeline)

    def create_run(
        self, name: str, experiment: str, version: tuple[str, str], arguments: Mapping[str, Any]
    ) -> str:
        """Start a run exactly once.

        The run is searched for before each attempt, because an earlier attempt may have succeeded.

        Args:
            name: The run's name in Kubeflow's pages, which must be unique.
            experiment: The experiment's id.
            version: The ids of the pipeline and its version.
            arguments: The pipeline's inputs, by name.
        """
        api, service = self._service("Run")
        run = api.V2beta1Run(
            display_name=name,
            experiment_id=experiment,
            pipeline_version_reference=api.V2beta1PipelineVersionReference(*version),
            runtime_config=api.V2beta1RuntimeConfig(parameters=dict(arguments)),
            service_account=self._profile.service_account,
        )
        listing = partial(service.run_service_list_runs, experiment_id=experiment)
        create = partial(service.run_service_create_run, run)
        name_filter = equals_filter("display_name", name)
        deadline = time.monotonic() + self._profile.api_patience_s
        last_error: UnknownOutcome | None = None
        for pause_s in itertools.chain([0.0], self.pauses(self._profile.api_patience_s), [None]):
            time.sleep(transport.RETRY_DELAY_S if pause_s is None else pause_s)
            left_s = max(0.0, deadline - time.monotonic())
            try:
                found = self._find("runs", listing, name_filter, patience_s=left_s)
            except EngineError as exc:
                if last_error is None:
                    raise
                raise UnknownOutcome(str(exc)) from exc  # an earlier attempt may have succeeded
            if found is not None:
                return found
            if last_error and (pause_s is None or isinstance(last_error, RequestTimeout)):
                raise last_error  # a slow request may still create the run
            try:
                return str(self.call(create, once=True, patience_s=left_s).run_id)
            except UnknownOutcome as exc:
                last_error = exc
        raise AssertionError("the last pass returns or raises")

    def find_run(self, name: str) -> str | None:
        """Return the id of the run with a unique name; None if Kubeflow does not have it."""
        listing = partial(
            self._service("Run")[1].run_service_list_runs, **self._namespace_argument()
        )
        name_filter = equals_filter("display_name", name)
        return self._find("runs", listing, name_filter, patience_s=self.read_patience_s)

    def iter_pages(self) -> Iterator[list[api.V2beta1Run]]:
        """Yield pages of the runs of the namespace, the newest first, requested as needed."""
        _, service = self._service("Run")
        query = {
            **self._namespace_argument(),
            "page_size": RUNS_PER_PAGE,
            "sort_by": "created_at desc",
        }
        token: str | None = ""
        while token is not None:
            listing = partial(service.run_service_list_runs, page_token=token, **query)
            answer = self.call(listing, patience_s=self.read_patience_s)
            yield answer.runs or []
            token = answer.next_page_token or None

    def terminate(self, run_id: str) -> None:
        """Terminate a run; do nothing if it has ended or was deleted."""
        try:
            self.call(self._service("Run")[1].run_service_terminate_run, run_id)
        except ResourceNotFound:
            return
        except InvalidRequest:  # Kubeflow's response for a run that has ended
            if self._run_state(run_id) not in NOT_CANCELLABLE:
                raise

    def retry(self, run_id: str) -> None:
        """Start a failed run again at the failed step."""
        try:
            self.call(self._service("Run")[1].run_service_retry_run, run_id, once=True)
        except UnknownOutcome:
            if self._run_state(run_id) in NOT_CANCELLABLE:
                raise

    def run(self, run_id: str, *, patience_s: float | None = None) -> api.V2beta1Run | None:
        """Return a run in its present state; None if Kubeflow has deleted it."""
        get = partial(self._service("Run")[1].run_service_get_run, run_id)
        try:
            return self.call(get, patience_s=patience_s)
        except ResourceNotFound:
            return None

    def delete_experiment(self, experiment: str) -> None:
        """Delete an experiment without runs."""
        delete = self._service("Experiment")[1].experiment_service_delete_experiment
        self.call(delete, experiment)

    def _run_state(self, run_id: str) -> str:
        return str(self.call(self._service("Run")[1].run_service_get_run, run_id).state)

    def _find_or_create(
        self, what: str, find: Callable[[], str | None], make: Callable[[], object]
    ) -> str:
        patience_s = self._profile.api_patience_s
        for pause_s in itertools.chain([None, 0.0], self.pauses(patience_s)):
            # A resource that another client is creating is listed only when it is complete.
            time.sleep(pause_s or 0.0)
            found = find()
            if found is not None:
                return found
            if pause_s is None:
                with contextlib.suppress(AlreadyExists):  # another client has created it
                    make()
        raise EngineError(f"Kubeflow at {self.host} did not create {what}.")

    def _find(
        self,
        kind: str,
        listing: Callable[..., Any],
        filter_text: str,
        patience_s: float | None = None,
    ) -> str | None:
        answer = self.call(partial(listing, filter=filter_text), patience_s=patience_s)
        listed = getattr(answer, kind) or ()
        return next((str(getattr(item, f"{kind[:-1]}_id")) for item in listed), None)

    def _namespace_argument(self) -> dict[str, Any]:
        return {"namespace": self._profile.namespace} if self._profile.namespace else {}


def equals_filter(key: str, value: str) -> str:
    """Return a filter for Kubeflow; escape ``%`` and ``+``, since Kubeflow URL-decodes it twice."""
    predicate = {"operation": "EQUALS", "key": key, "stringValue": value}
    text = json.dumps({"predicates": [predicate]})
    return text.replace("%", "\\u0025").replace("+", "\\u002b")
