"""Access to MLflow by its client, without process-wide state and with rvlab's errors."""

from __future__ import annotations

import re
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rvlab.errors import MissingExtra, NotFound, RvlabError, StoreError, StoreUnreachable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MLFLOW_TIMEOUT_S = 10.0
"""The timeout of a connection to an MLflow server, in seconds."""

STATE_BY_MLFLOW_STATUS = {"FINISHED": "succeeded", "FAILED": "failed", "KILLED": "cancelled"}
"""End states by MLflow's status."""

URI_TAG, ID_TAG, RECIPE_TAG = "rvlab.uri", "rvlab.run", "rvlab.recipe"
SWEEP_TAG, PARENT_TAG, SEED_TAG = "rvlab.sweep", "rvlab.parent", "rvlab.seed"
HISTORY_TAG, TAGS_TAG = "rvlab.history", "rvlab.tags"
"""Tags that rvlab writes; the last two are JSON: metrics that exist in the history only, and the
user's tags."""

NAME_TAG, USER_TAG, COMMIT_TAG = "mlflow.runName", "mlflow.user", "mlflow.source.git.commit"
PARENT_RUN_TAG, SOURCE_TAG, NOTE_TAG = (
    "mlflow.parentRunId",
    "mlflow.source.name",
    "mlflow.note.content",
)
"""Tags that MLflow itself writes."""

NOT_FOUND_CODE = "RESOURCE_DOES_NOT_EXIST"
"""MLflow's error code for a missing experiment or run."""

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


@contextmanager
def tracking_client(uri: str | None, *, new: bool) -> Iterator[MlflowClient]:
    """Open a client of an MLflow server or database and translate MLflow's exceptions.

    Args:
        uri: Its address; None is MLflow's own default, such as ``$MLFLOW_TRACKING_URI``.
        new: Whether a missing SQLite database may be created.

    Raises:
        MissingExtra: If MLflow, or the driver of its database, is not installed.
        StoreUnreachable: If MLflow does not answer.
        NotFound: If a database, experiment or run does not exist.
        StoreError: If MLflow refuses a request for another reason.
    """
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as exc:
        raise MissingExtra("MLflow is not installed: pip install 'rvlab[mlflow]'.") from exc
    raised: list[type[Exception]] = [MlflowException]
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:  # mlflow-skinny supports servers only
        pass
    else:
        raised.append(SQLAlchemyError)

    where = uri or mlflow.get_tracking_uri()
    _check_reachable(where, new=new)
    try:
        try:
            client = mlflow.MlflowClient(tracking_uri=where)
        except ImportError as exc:
            raise MissingExtra(
                f"MLflow cannot reach {redact_uri(where)} with what is installed: {exc}."
            ) from exc
        yield client
    except tuple(raised) as exc:
        # MLflow's message may contain a password in the address; a chained exception shows it.
        raise _translate_error(exc, where) from (exc if redact_uri(where) == where else None)


def redact_uri(uri: str) -> str:
    """Remove the user and the password from an address."""
    return re.sub(r"(?<=://)[^/?#]*@", "", uri)


def get_run_or_none(client: MlflowClient, run_id: str) -> Run | None:
    """Return an MLflow run; None if it does not exist or was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as exc:
        if exc.error_code != NOT_FOUND_CODE:
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def search_all(call: Any, **given: Any) -> Iterator[Any]:
    """Yield all results of a search method of the client, page by page."""
    token = None
    while True:
        page = call(**given, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _check_reachable(where: str, *, new: bool) -> None:
    """Check the connection once, because MLflow's own retries last for minutes."""
    if where.startswith("sqlite:///") and not new:
        path = Path(where.removeprefix("sqlite:///").partition("?")[0])
        if not path.is_file():
            raise NotFound(
                f"The MLflow database {path} does not exist. Name the database or the server with "
                "tracking_uri, or in the variable MLFLOW_TRACKING_URI."
            )
    parts = urlsplit(where)
    scheme = parts.scheme.partition("+")[0]
    try:
        if scheme in {"http", "https"}:
            _request(where)
        elif scheme in _PORTS and parts.hostname:
            address = (parts.hostname, parts.port or _PORTS[scheme])
            socket.create_connection(address, MLFLOW_TIMEOUT_S).close()
    except (OSError, ValueError) as exc:
        message = (
            f"MLflow does not answer at {redact_uri(where)}. Check that it runs and is reachable."
        )
        raise StoreUnreachable(message) from (exc if redact_uri(where) == where else None)


def _request(server: str) -> None:
    import requests

    try:
        requests.get(f"{server.rstrip('/')}/health", timeout=MLFLOW_TIMEOUT_S, stream=True).close()
    except requests.exceptions.SSLError:
        return  # the server answers; MLflow decides whether to verify certificates


def _translate_error(exc: Exception, where: str) -> RvlabError:
    lines = str(exc).replace(where, redact_uri(where)).strip().splitlines() or [type(exc).__name__]
    text = re.sub(r"(?<=://)[^/?#\s]*@", "", lines[0])
    text = textwrap.shorten(text, 300, placeholder=" …").rstrip(".")
    code = getattr(exc, "error_code", None)
    if code == NOT_FOUND_CODE:
        return NotFound(f"MLflow at {redact_uri(where)} does not have it: {text}.")
    if code == "TEMPORARILY_UNAVAILABLE" or "failed with exception" in str(exc):
        return StoreUnreachable(f"MLflow at {redact_uri(where)} no longer answers: {text}.")
    return StoreError(f"MLflow at {redact_uri(where)} refused: {text}.")
