"""HTTP calls of Kubeflow's REST API: retries, time limits, the token, and rvlab's errors."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from rvlab.display.printable import format_duration
from rvlab.errors import EngineError, MissingExtra
from rvlab.settings import Profile
from rvlab.store.patience import OutageLog

CONNECT_TIMEOUT_S, RESPONSE_TIMEOUT_S = 5.0, 60.0
MIN_TRIES, RETRY_DELAY_S, MAX_RETRY_DELAY_S = 4, 0.5, 8.0
READ_PATIENCE_S = 10.0
"""Seconds for which calls for a table are retried, and after which `MIN_TRIES` does not apply."""

SERVICE_URL = "http://ml-pipeline.{namespace}.svc.cluster.local:8888"
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")  # additional certificate authorities
TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105  a path


class TransientError(EngineError):
    """The call was not executed; it may succeed when it is repeated."""


class NoServer(TransientError):
    """No server accepts connections at the address."""


class UnknownOutcome(EngineError):
    """The call may have been executed: its response was lost."""


class RequestTimeout(UnknownOutcome):
    """The call may still be executing."""


class ResourceNotFound(EngineError):
    """Kubeflow has no such resource."""


class AlreadyExists(EngineError):
    """The resource exists already."""


class InvalidRequest(EngineError):
    """Kubeflow does not support the request, or not in the run's present state."""


class KubeflowTransport:
    """Calls Kubeflow, and retries calls that are safe to repeat.

    Args:
        profile: Kubeflow's address and token.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._has_answered = False
        self.host = profile.host or _in_cluster_host()

    def __getstate__(self) -> dict[str, Any]:
        # Not pickled: the generated client has the token, and the outage has a lock.
        hidden = ("_client", "_outage")
        return {name: value for name, value in vars(self).items() if name not in hidden}

    @property
    def read_patience_s(self) -> float:
        """Seconds for which calls for a table are retried."""
        return min(READ_PATIENCE_S, self._profile.api_patience_s)

    @cached_property
    def _outage(self) -> OutageLog:
        return OutageLog(self._profile.api_patience_s, "Kubeflow")

    @cached_property
    def _client(self) -> Any:
        try:
            import kfp_server_api as api
        except ImportError as exc:
            text = "Kubeflow needs another package: pip install 'rvlab[kubeflow]'"
            raise MissingExtra(text) from exc

        class Checked(api.ApiClient):  # type: ignore[misc]
            # The generated client would parse a login page as a list without runs.
            def deserialize(self, response: Any, response_type: Any) -> Any:
                if not response.data.lstrip().startswith("{"):
                    raise api.ApiException(reason="it does not send JSON")
                return super().deserialize(response, response_type)

        settings = api.Configuration(host=self.host)
        # `call` retries instead: only it can tell which calls are safe to repeat.
        settings.retries = False
        settings.ssl_ca_cert = next(
            (f for n in CA_VARIABLES if Path(f := os.environ.get(n, "")).is_file()), None
        )
        if _token(self._profile):
            settings.api_key_prefix["authorization"] = "Bearer"
            # Read for each request: Kubernetes replaces the token in its file every hour.
            settings.refresh_api_key_hook = lambda configuration: configuration.api_key.update(
                authorization=_token(self._profile)
            )
            settings.refresh_api_key_hook(settings)
        return Checked(settings)

    def _service(self, name: str) -> tuple[Any, Any]:
        client = self._client  # raises MissingExtra
        import kfp_server_api as api

        return api, getattr(api, f"{name}ServiceApi")(client)

    def call(
        self,
        method: Callable[..., Any],
        *args: Any,
        once: bool = False,
        patience_s: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call a method of Kubeflow's API with retries.

        Args:
            method: A method of the generated client.
            *args: Its arguments.
            once: Retry only if the call was certainly not executed.
            patience_s: Seconds for which the call is retried; None uses the profile's. If no server
                has ever answered at the address, it is probably wrong, so a few attempts suffice.
            **kwargs: Its arguments by name.
        """
        start = time.monotonic()
        patience_s = self._profile.api_patience_s if patience_s is None else patience_s
        for attempt, pause_s in enumerate(self.pauses(patience_s), 1):
            try:
                response = self._attempt(method, *args, **kwargs)
                self._outage.record_success()
                return response
            except (TransientError, UnknownOutcome) as exc:
                if once and isinstance(exc, UnknownOutcome):
                    raise
                if attempt >= MIN_TRIES and isinstance(exc, NoServer) and not self._has_answered:
                    raise
                self._outage.record_failure(start, exc)
            time.sleep(pause_s)
        try:
            return self._attempt(method, *args, **kwargs)
        except (TransientError, UnknownOutcome) as exc:
            if patience_s <= READ_PATIENCE_S:
                raise
            elapsed_s = time.monotonic() - start
            raise type(exc)(f"{exc} It was tried for {format_duration(round(elapsed_s))}.") from exc

    @staticmethod
    def pauses(patience_s: float) -> Iterator[float]:
        """Yield random, growing pauses between attempts until the patience ends."""
        start = time.monotonic()
        for attempt in itertools.count(1):
            elapsed_s = time.monotonic() - start
            if elapsed_s > patience_s and (attempt >= MIN_TRIES or elapsed_s > READ_PATIENCE_S):
                return
            longest_s = min(RETRY_DELAY_S * 2 ** (attempt - 1), MAX_RETRY_DELAY_S)
            yield longest_s * random.uniform(0.5, 1.5)  # noqa: S311  jitter

    def _attempt(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        import urllib3.exceptions as urllib3_errors
        from kfp_server_api import ApiException

        limits_s = (CONNECT_TIMEOUT_S, RESPONSE_TIMEOUT_S)
        try:
            response = method(*args, _request_timeout=limits_s, **kwargs)
            self._has_answered = True
            return response
        # The client raises AttributeError on a TLS failure.
        except (ApiException, AttributeError) as exc:
            self._has_answered |= bool(getattr(exc, "status", None))
            raise self._translate_error(exc if hasattr(exc, "status") else exc.__context__) from exc
        except (urllib3_errors.NewConnectionError, urllib3_errors.ConnectTimeoutError) as exc:
            hint = "Check the port forwarding, and `host` in rvlab.toml."
            raise NoServer(f"Kubeflow at {self.host} cannot be reached. {hint}") from exc
        except urllib3_errors.ReadTimeoutError as exc:
            raise RequestTimeout(
                f"Kubeflow at {self.host} did not answer in {RESPONSE_TIMEOUT_S:g} s."
            ) from exc
        except (urllib3_errors.HTTPError, OSError) as exc:
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


def _error_message(exc: Any, secret: str | None) -> str:
    try:
        body = json.loads(exc.body)
        message = body.get("message") or body.get("error_message") or body.get("error")
    except (TypeError, ValueError, AttributeError):
        message = exc.body
    text = " ".join(str(message or exc.reason or "no details").split())
    text = text.replace(secret, "***") if secret else text
    return text if len(text) <= 300 else f"{text[:297]}..."


def _token(profile: Profile) -> str | None:
    if profile.token_env:
        token = os.environ.get(profile.token_env, "").strip()
        if not token:
            raise EngineError(f"${profile.token_env}, which must contain the token, is not set.")
        return token
    path = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", TOKEN_FILE))
    return path.read_text().strip() if profile.host is None and path.is_file() else None


def _in_cluster_host() -> str:
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise EngineError(
            "Kubeflow's address is unknown. Set `host` in rvlab.toml, or $RVLAB_HOST."
        )
    return SERVICE_URL.format(namespace=os.environ.get("KUBEFLOW_NAMESPACE", "kubeflow"))
