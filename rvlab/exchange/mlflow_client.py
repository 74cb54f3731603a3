"""MLflow, reached by its client: no process-wide state, and its failures in one sentence."""

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
"""A server that has not answered after so many seconds is given up."""

STATE_BY_MLFLOW_STATUS = {"FINISHED": "succeeded", "FAILED": "failed", "KILLED": "cancelled"}
"""What MLflow calls the end of a run, and what rvlab calls it."""

URI_TAG, ID_TAG, RECIPE_TAG = "rvlab.uri", "rvlab.run", "rvlab.recipe"
SWEEP_TAG, PARENT_TAG, SEED_TAG = "rvlab.sweep", "rvlab.parent", "rvlab.seed"
HISTORY_TAG, TAGS_TAG = "rvlab.history", "rvlab.tags"
"""Tags of a run that rvlab wrote; the last two are JSON: metrics that are history only, and tags
that people gave."""

NAME_TAG, USER_TAG, COMMIT_TAG = "mlflow.runName", "mlflow.user", "mlflow.source.git.commit"
PARENT_RUN_TAG, SOURCE_TAG, NOTE_TAG = (
    "mlflow.parentRunId",
    "mlflow.source.name",
    "mlflow.note.content",
)
"""Tags that MLflow itself writes."""

NOT_FOUND_CODE = "RESOURCE_DOES_NOT_EXIST"
"""MLflow's word for what it does not have."""

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


@contextmanager
def tracking_client(uri: str | None, *, new: bool) -> Iterator[MlflowClient]:
    """A client of an MLflow server or database; what MLflow raises within becomes rvlab's.

    Args:
        uri: Its address; None is MLflow's own default, such as ``$MLFLOW_TRACKING_URI``.
        new: Whether a SQLite database that is not there may be made.

    Raises:
        MissingExtra: If MLflow, or the driver of its database, is not installed.
        StoreUnreachable: If nobody answers.
        NotFound: If it has no such database, experiment or run.
        StoreError: If it refuses anything else.
    """
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as exc:
        raise MissingExtra("MLflow is not installed: pip install 'rvlab[mlflow]'.") from exc
    raised: list[type[Exception]] = [MlflowException]
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:  # mlflow-skinny speaks to servers only
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
        # What MLflow says may repeat an address with its password; a chained exception shows it.
        raise _translate_error(exc, where) from (exc if redact_uri(where) == where else None)


def redact_uri(uri: str) -> str:
    """An address without the user and the password that may stand in it."""
    return re.sub(r"(?<=://)[^/?#]*@", "", uri)


def get_run_or_none(client: MlflowClient, run_id: str) -> Run | None:
    """A run of MLflow's; None if it has none of that id, or it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as exc:
        if exc.error_code != NOT_FOUND_CODE:
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def search_all(call: Any, **given: Any) -> Iterator[Any]:
    """Everything that one of the client's searches finds, page by page."""
    token = None
    while True:
        page = call(**given, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _check_reachable(where: str, *, new: bool) -> None:
    """Ask once whether anybody is there: MLflow itself asks for minutes."""
    if where.startswith("sqlite:///") and not new:
        path = Path(where.removeprefix("sqlite:///").partition("?")[0])
        if not path.is_file():
            raise NotFound(
                f"There is no MLflow database {path}. Name the database or the server with "
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
        said = (
            f"Nobody answers at MLflow's address {redact_uri(where)}. Does it run, is it reachable?"
        )
        raise StoreUnreachable(said) from (exc if redact_uri(where) == where else None)


def _request(server: str) -> None:
    import requests

    try:
        requests.get(f"{server.rstrip('/')}/health", timeout=MLFLOW_TIMEOUT_S, stream=True).close()
    except requests.exceptions.SSLError:
        return  # somebody answers; MLflow knows whether certificates are to be checked


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
