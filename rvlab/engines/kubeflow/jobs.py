"""The records that connect a run of rvlab with its run in Kubeflow."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rvlab.engines.kubeflow.transport import UnknownOutcome
from rvlab.errors import KeyMissing, RvlabError, StoreError
from rvlab.model import Run, utc_now
from rvlab.store import Store
from rvlab.worker.masking import mask_text
from rvlab.worker.records import CLAIM, SPEC

JOB_FILE = "job.json"
"""The record of Kubeflow's id of a run and the URL of its page; written at submission."""

NOT_SUBMITTED_FILE = "not_submitted.json"
"""The record of the error with which the submission of a run failed."""

SUBMISSION_S = 600.0
"""Age, in seconds, from which a run without a job is not submitted: its submission has ended."""

MAX_RUN_NAME_CHARS = 150
"""Kubeflow's older databases store 255 bytes of a run's name."""


@dataclass
class Jobs:
    """Cache of Kubeflow's ids of runs; an id never changes, so it is read once."""

    _ids: dict[str, str] = field(default_factory=dict)

    def find(self, store: Store, run: Run) -> str | None:
        """Return Kubeflow's id of a run; None if no record contains it."""
        if run.uri not in self._ids:
            for key in (JOB_FILE, CLAIM):
                with contextlib.suppress(KeyMissing):
                    self._ids[run.uri] = str(store.get_json(run.key(key)).get("id"))
                    break
        return self._ids.get(run.uri)

    def remember(self, run: Run, job: str) -> None:
        """Cache an id that was found in Kubeflow, without writing a record."""
        self._ids[run.uri] = job

    def record(self, store: Store, run: Run, job: str, *, engine: str, link: str) -> None:
        """Write the id of a run that was started."""
        record = {"schema": 1, "engine": engine, "id": job, "link": link}
        store.put_json(run.key(JOB_FILE), record)
        self._ids[run.uri] = job

    def forget(self, store: Store, run: Run) -> None:
        """Delete the ids of a run that Kubeflow does not have, so that it can be started again."""
        store.delete([run.key(CLAIM), run.key(JOB_FILE)])
        self._ids.pop(run.uri, None)


def record_failure(store: Store, run: Run, exc: RvlabError, *, engine: str) -> None:
    """Record that a run was not submitted, and why; ignore an error of the store.

    Kubeflow may have the run nevertheless, after a lost response or an error of the store: the
    store is written after Kubeflow has created the run.
    """
    record = {
        "schema": 1,
        "engine": engine,
        "error": mask_text(str(exc), store),
        "at": utc_now(),
        "may_have_arrived": isinstance(exc, UnknownOutcome | StoreError),
    }
    with contextlib.suppress(StoreError):
        store.put_json(run.key(NOT_SUBMITTED_FILE), record)


def read_failure(store: Store, run: Run) -> dict[str, Any] | None:
    """Return the record of a failed submission; None if the submission did not fail."""
    try:
        return store.get_json(run.key(NOT_SUBMITTED_FILE))
    except KeyMissing:
        return None


def display_name(name: object, run: Run) -> str:
    """Return the name of a run in Kubeflow's pages, which is unique."""
    return f"{str(name)[:MAX_RUN_NAME_CHARS]} · {run.id}"


def recorded_name(store: Store, run: Run) -> str:
    """Return the `display_name` of a run from its spec."""
    return display_name(store.get_json(run.key(SPEC)).get("name"), run)


def is_being_submitted(store: Store, run: Run) -> bool:
    """Return whether the submission of a run may still be in progress, by the time in its id."""
    try:
        created = datetime.strptime(run.id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return False
    return (store.now() - created).total_seconds() < SUBMISSION_S
