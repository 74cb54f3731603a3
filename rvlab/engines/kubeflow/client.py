"""Client of Kubeflow's REST API v2beta1, for the calls that runs need, with rvlab's errors."""

from __future__ import annotations

import contextlib
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab.errors import EngineError, MissingExtra
from rvlab.settings import Profile

if TYPE_CHECKING:
    import kfp_server_api as api

RUNS_PER_PAGE = 200  # the maximum that Kubeflow allows
CONNECT_TIMEOUT_S, RESPONSE_TIMEOUT_S = 5.0, 60.0
MAX_TRIES, RETRY_DELAY_S, RETRY_BUDGET_S = 4, 0.5, 10.0
# Cannot be terminated.
NOT_CANCELLABLE = ("CANCELING", "CANCELED", "SUCCEEDED", "SKIPPED", "FAILED")
SERVICE_URL = "http://ml-pipeline.{namespace}.svc.cluster.local:8888"
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")  # additional certificate authorities
TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105  a path


class TransientError(EngineError):
    """The call was not executed; it may succeed when it is repeated."""


class UnknownOutcome(EngineError):
    """The call may have been executed: its response was lost."""


class RequestTimeout(UnknownOutcome):
    """The call may still be executing."""


class ResourceNotFound(EngineError):
    """Kubeflow has no such resource."""


class AlreadyExists(EngineError):
    """The resource exists already."""


class InvalidRequest(EngineError):
    """Kubeflow does not support the request, or not in the state of the run."""


class KubeflowClient:
    """Calls Kubeflow and retries what is safe to repeat.

    Args:
        profile: Its address and token.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.host = profile.host or _in_cluster_host()

    def __getstate__(self) -> dict[str, Any]:
        # The generated client holds the token.
        return {name: value for name, value in vars(self).items() if name != "_client"}

    @cached_property
    def _client(self) -> Any:
        try:
            import kfp_server_api as api
        except ImportError as exc:
            text = "Kubeflow needs another package: pip install 'rvlab[kubeflow]'"
            raise MissingExtra(text) from exc

        class Checked(api.ApiClient):  # type: ignore[misc]
            # The generated client parses a login page as a list without runs.
            def deserialize(self, response: Any, response_type: Any) -> Any:
                if not response.data.lstrip().startswith("{"):
                    raise api.ApiException(reason="it does not send JSON")
                return super().deserialize(response, response_type)

        settings = api.Configuration(host=self.host)
        settings.retries = False  # `_call` retries: it knows which calls are safe to repeat
        settings.ssl_ca_cert = next(
            (f for n in CA_VARIABLES if Path(f := os.environ.get(n, "")).is_file()), None
        )
        if _token(self._profile):
            settings.api_key_prefix["authorization"] = "Bearer"
            # Read for each request: Kubernetes replaces the token in its file every hour.
            settings.refresh_api_key_hook = lambda made: made.api_key.update(
                authorization=_token(self._profile)
            )
            settings.refresh_api_key_hook(settings)
        return Checked(settings)

    def _service(self, name: str) -> tuple[Any, Any]:
        client = self._client  # raises MissingExtra
        import kfp_server_api as api

        return api, getattr(api, f"{name}ServiceApi")(client)

    def ensure_experiment(self, name: str) -> str:
        """Return the id of an experiment; create it if it is missing."""
        api, service = self._service("Experiment")
        new = api.V2beta1Experiment(display_name=name, **self._namespace_argument())
        listing = partial(service.experiment_service_list_experiments, **self._namespace_argument())
        return self._find_or_create(
            f"the experiment {name!r}",
            partial(self._find, "experiments", listing, equals_filter("display_name", name)),
            partial(self._call, service.experiment_service_create_experiment, new),
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
            partial(self._call, service.pipeline_service_create_pipeline, new),
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
            self._call(upload, name=version, pipelineid=pipeline)

    def create_run(
        self, name: str, experiment: str, version: tuple[str, str], arguments: Mapping[str, Any]
    ) -> str:
        """Start a run exactly once.

        It is searched for before each attempt, because an earlier one may have arrived.

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
        trouble: UnknownOutcome | None = None
        for wait_s in (0.0, *_retry_delays(), None):
            time.sleep(RETRY_DELAY_S if wait_s is None else wait_s)
            found = self._find("runs", listing, equals_filter("display_name", name))
            if found is not None:
                return found
            if trouble and (wait_s is None or isinstance(trouble, RequestTimeout)):
                raise trouble  # a slow request may still create it
            try:
                return str(self._call(service.run_service_create_run, run, once=True).run_id)
            except UnknownOutcome as exc:
                trouble = exc
        raise AssertionError("the last pass returns or raises")

    def iter_runs(self) -> Iterator[api.V2beta1Run]:
        """Yield all runs of the namespace, the newest first; pages are requested as needed."""
        _, service = self._service("Run")
        query = {
            **self._namespace_argument(),
            "page_size": RUNS_PER_PAGE,
            "sort_by": "created_at desc",
        }
        token: str | None = ""
        while token is not None:
            answer = self._call(service.run_service_list_runs, page_token=token, **query)
            yield from answer.runs or ()
            token = answer.next_page_token or None

    def terminate(self, run_id: str) -> None:
        """Terminate a run; an ended or deleted one is not an error."""
        try:
            self._call(self._service("Run")[1].run_service_terminate_run, run_id)
        except ResourceNotFound:
            return
        except InvalidRequest:  # Kubeflow's response for a run that has ended
            if self._run_state(run_id) not in NOT_CANCELLABLE:
                raise

    def retry(self, run_id: str) -> None:
        """Start a failed run again at the failed step."""
        try:
            self._call(self._service("Run")[1].run_service_retry_run, run_id, once=True)
        except UnknownOutcome:
            if self._run_state(run_id) in NOT_CANCELLABLE:
                raise

    def run(self, run_id: str) -> api.V2beta1Run | None:
        """Return a run in its present state; None if Kubeflow has deleted it."""
        try:
            return self._call(self._service("Run")[1].run_service_get_run, run_id)
        except ResourceNotFound:
            return None

    def _run_state(self, run_id: str) -> str:
        return str(self._call(self._service("Run")[1].run_service_get_run, run_id).state)

    def _find_or_create(
        self, what: str, find: Callable[[], str | None], make: Callable[[], object]
    ) -> str:
        for wait_s in (None, 0.0, *_retry_delays()):
            # A concurrently created resource is listed when it is complete.
            time.sleep(wait_s or 0.0)
            found = find()
            if found is not None:
                return found
            if wait_s is None:
                with contextlib.suppress(AlreadyExists):  # created concurrently
                    make()
        raise EngineError(f"Kubeflow at {self.host} did not create {what}.")

    def _find(self, kind: str, listing: Callable[..., Any], where: str) -> str | None:
        listed = getattr(self._call(listing, filter=where), kind) or ()
        return next((str(getattr(one, f"{kind[:-1]}_id")) for one in listed), None)

    def _namespace_argument(self) -> dict[str, Any]:
        return {"namespace": self._profile.namespace} if self._profile.namespace else {}

    def _call(self, method: Callable[..., Any], *args: Any, once: bool = False, **more: Any) -> Any:
        """Call with retries; with `once`, retry only if the call was certainly not executed."""
        end = time.monotonic() + RETRY_BUDGET_S
        for wait_s in _retry_delays():
            try:
                return self._attempt(method, *args, **more)
            except (TransientError, UnknownOutcome) as exc:
                if (once and isinstance(exc, UnknownOutcome)) or time.monotonic() > end:
                    raise
            time.sleep(wait_s)
        return self._attempt(method, *args, **more)

    def _attempt(self, method: Callable[..., Any], *args: Any, **more: Any) -> Any:
        import urllib3.exceptions as net
        from kfp_server_api import ApiException

        try:
            return method(*args, _request_timeout=(CONNECT_TIMEOUT_S, RESPONSE_TIMEOUT_S), **more)
        # The client raises AttributeError on a TLS failure.
        except (ApiException, AttributeError) as exc:
            raise self._translate_error(exc if hasattr(exc, "status") else exc.__context__) from exc
        except (net.NewConnectionError, net.ConnectTimeoutError) as exc:
            hint = "Check the port forwarding, and `host` in rvlab.toml."
            raise TransientError(f"Kubeflow at {self.host} cannot be reached. {hint}") from exc
        except net.ReadTimeoutError as exc:
            raise RequestTimeout(
                f"Kubeflow at {self.host} did not answer in {RESPONSE_TIMEOUT_S:g} s."
            ) from exc
        except (net.HTTPError, OSError) as exc:
            raise UnknownOutcome(
                f"The connection to Kubeflow at {self.host} was lost before it answered."
            ) from exc

    def _translate_error(self, exc: Any) -> EngineError:
        status, text = exc.status, _error_message(exc, _token(self._profile))
        if not status and "CERTIFICATE_VERIFY_FAILED" in text:
            hint = f"Set ${CA_VARIABLES[0]} to the file of the authority that signed it."
            return EngineError(f"The certificate of {self.host} is not trusted. {hint}")
        if not status or 300 <= status < 400:
            return EngineError(f"The server at {self.host} is not Kubeflow's API: {text}")
        hint = {
            401: f" Is the token in ${self._profile.token_env or 'token_env'} still valid?",
            403: f" Check the profile's namespace, {self._profile.namespace!r}.",
        }.get(status, "")
        kind = ERROR_BY_STATUS.get(status, EngineError)
        return kind(f"Kubeflow at {self.host} answered {status}: {text.rstrip('.')}.{hint}")


ERROR_BY_STATUS = {
    400: InvalidRequest,
    404: ResourceNotFound,
    409: AlreadyExists,
    429: TransientError,
    502: UnknownOutcome,
    503: UnknownOutcome,
    504: RequestTimeout,
}


def equals_filter(key: str, value: str) -> str:
    """Return a filter for Kubeflow, which URL-decodes it once more than HTTP does."""
    predicate = {"operation": "EQUALS", "key": key, "stringValue": value}
    text = json.dumps({"predicates": [predicate]})
    return text.replace("%", "\\u0025").replace("+", "\\u002b")


def _error_message(exc: Any, secret: str | None) -> str:
    try:
        body = json.loads(exc.body)
        message = body.get("message") or body.get("error_message") or body.get("error")
    except (TypeError, ValueError, AttributeError):
        message = exc.body
    text = " ".join(str(message or exc.reason or "no details").split())
    text = text.replace(secret, "***") if secret else text
    return text if len(text) <= 300 else f"{text[:297]}..."


def _retry_delays() -> list[float]:
    return [RETRY_DELAY_S * 2**i * random.uniform(0.5, 1.5) for i in range(MAX_TRIES - 1)]  # noqa: S311  jitter


def _token(profile: Profile) -> str | None:
    if profile.token_env:
        token = os.environ.get(profile.token_env, "").strip()
        if not token:
            raise EngineError(f"${profile.token_env}, which must hold the token, is not set.")
        return token
    path = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", TOKEN_FILE))
    return path.read_text().strip() if profile.host is None and path.is_file() else None


def _in_cluster_host() -> str:
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise EngineError(
            "Kubeflow's address is unknown. Set `host` in rvlab.toml, or $RVLAB_HOST."
        )
    return SERVICE_URL.format(namespace=os.environ.get("KUBEFLOW_NAMESPACE", "kubeflow"))
