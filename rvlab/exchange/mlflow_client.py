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

ANSWERS_WITHIN_S = 10.0
"""A server that has not answered after so many seconds is given up."""

STATES = {"FINISHED": "succeeded", "FAILED": "failed", "KILLED": "cancelled"}
"""What MLflow calls the end of a run, and what rvlab calls it."""

URI, ID, RECIPE = "rvlab.uri", "rvlab.run", "rvlab.recipe"
SWEEP, PARENT, SEED = "rvlab.sweep", "rvlab.parent", "rvlab.seed"
HISTORY, TAGS = "rvlab.history", "rvlab.tags"
"""Tags of a run that rvlab wrote; the last two are JSON: metrics that are history only, and tags
that people gave."""

NAME, USER, COMMIT = "mlflow.runName", "mlflow.user", "mlflow.source.git.commit"
PARENT_RUN, SOURCE, NOTE = "mlflow.parentRunId", "mlflow.source.name", "mlflow.note.content"
"""Tags that MLflow itself writes."""

MISSING = "RESOURCE_DOES_NOT_EXIST"
"""MLflow's word for what it does not have."""

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


@contextmanager
def tracking(uri: str | None, *, new: bool) -> Iterator[MlflowClient]:
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
    _answers(where, new=new)
    try:
        try:
            client = mlflow.MlflowClient(tracking_uri=where)
        except ImportError as exc:
            raise MissingExtra(
                f"MLflow cannot reach {shown(where)} with what is installed: {exc}."
            ) from exc
        yield client
    except tuple(raised) as exc:
        # What MLflow says may repeat an address with its password; a chained exception shows it.
        raise _told(exc, where) from (exc if shown(where) == where else None)


def shown(uri: str) -> str:
    """An address without the user and the password that may stand in it."""
    return re.sub(r"(?<=://)[^/?#]*@", "", uri)


def run_or_none(client: MlflowClient, run_id: str) -> Run | None:
    """A run of MLflow's; None if it has none of that id, or it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as exc:
        if exc.error_code != MISSING:
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def paged(call: Any, **given: Any) -> Iterator[Any]:
    """Everything that one of the client's searches finds, page by page."""
    token = None
    while True:
        page = call(**given, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _answers(where: str, *, new: bool) -> None:
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
            _ask(where)
        elif scheme in _PORTS and parts.hostname:
            address = (parts.hostname, parts.port or _PORTS[scheme])
            socket.create_connection(address, ANSWERS_WITHIN_S).close()
    except (OSError, ValueError) as exc:
        said = f"Nobody answers at MLflow's address {shown(where)}. Does it run, is it reachable?"
        raise StoreUnreachable(said) from (exc if shown(where) == where else None)


def _ask(server: str) -> None:
    import requests

    try:
        requests.get(f"{server.rstrip('/')}/health", timeout=ANSWERS_WITHIN_S, stream=True).close()
    except requests.exceptions.SSLError:
        return  # somebody answers; MLflow knows whether certificates are to be checked


def _told(exc: Exception, where: str) -> RvlabError:
    lines = str(exc).replace(where, shown(where)).strip().splitlines() or [type(exc).__name__]
    text = re.sub(r"(?<=://)[^/?#\s]*@", "", lines[0])
    text = textwrap.shorten(text, 300, placeholder=" …").rstrip(".")
    code = getattr(exc, "error_code", None)
    if code == MISSING:
        return NotFound(f"MLflow at {shown(where)} does not have it: {text}.")
    if code == "TEMPORARILY_UNAVAILABLE" or "failed with exception" in str(exc):
        return StoreUnreachable(f"MLflow at {shown(where)} no longer answers: {text}.")
    return StoreError(f"MLflow at {shown(where)} refused: {text}.")
