"""The address of a run, and the names that are valid in it."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

from rvlab.errors import SpecError

STEPS = ("configure", "analyze", "chip", "train", "predict", "eval", "bundle", "summarize")
SPLIT_STEPS = ("chip", "predict")
TRAINING, PREDICTION = "training", "prediction"
RUN_KINDS = (TRAINING, PREDICTION)
"""What a run does: train a model, or predict new imagery with the model of another run."""
STATES = (
    "queued",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "not submitted",
    "lost",
    "broken",
)
END_STATES = ("succeeded", "failed", "cancelled")
FINAL_STATES = (*END_STATES, "not submitted", "lost", "broken")
"""States in which a run does not continue by itself; only `END_STATES` are in end records."""

ANNOTATIONS_DIR, CACHE_DIR, RUNS_DIR = "annotations", "cache", "runs"
RESERVED_NAMES = (ANNOTATIONS_DIR, CACHE_DIR, RUNS_DIR)
"""Folders of an experiment that do not contain a run."""

MAX_SHOWN_RUNS = 12
"""Runs that the text of a sweep lists."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NEW_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


@dataclass(frozen=True, order=True)
class Run:
    """The address of a run, ``{store}/{experiment}/{id}``, without its data.

    Args:
        store: The store's root URI.
        experiment: The name of the experiment.
        id: The id of the run, which sorts by time.
        link: The URL of the run's page in its engine, such as Kubeflow's; None if it is unknown.
    """

    store: str
    experiment: str
    id: str
    link: str | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        validate_name("experiment", self.experiment)
        validate_name("run", self.id)

    @classmethod
    def from_uri(cls, uri: str) -> Run:
        """Parse the URI of a run.

        Raises:
            SpecError: If it is not ``{store}/{experiment}/{run}``.
        """
        parts = uri.rstrip("/").rsplit("/", 2)
        if len(parts) != 3 or not parts[0].rstrip("/") or parts[0].rstrip("/").endswith(":"):
            raise SpecError(
                f"{uri!r} is not the URI of a run. Use {{store}}/{{experiment}}/{{run}}."
            )
        return cls(*parts)

    def _repr_html_(self) -> str:
        """Return the display of the run in a notebook."""
        name = escape(self.id)
        if link := web_link(self.link):
            name = f'<a href="{escape(link)}" target="_blank" rel="noopener">{name}</a>'
        return f"<code>{escape(self.experiment)}</code> / {name}"

    @property
    def uri(self) -> str:
        """The URI of the run, ``{store}/{experiment}/{id}``."""
        return f"{self.store}/{self.experiment}/{self.id}"

    @property
    def prefix(self) -> str:
        """The run's folder below the store's root."""
        return f"{self.experiment}/{self.id}"

    def key(self, *parts: str) -> str:
        """Return a key in the run's folder, such as ``key("steps", "train.json")``."""
        return "/".join((self.prefix, *parts))

    @property
    def end_key(self) -> str:
        """The key of the end record.

        The end records of an experiment share a prefix, so that one listing with ETags shows which
        exist and which have changed.
        """
        return f"{self.experiment}/{RUNS_DIR}/ended/{self.id}.json"

    @property
    def active_key(self) -> str:
        """An empty key that exists from the submission of the run until its end."""
        return f"{self.experiment}/{RUNS_DIR}/active/{self.id}"

    def step_key(self, step: str, split: int | None = None) -> str:
        """Return the key of the record of a step, or of one split of it."""
        return self.key("steps", f"{step_name(step, split)}.json")

    def log_key(self, step: str, split: int | None = None) -> str:
        """Return the key of the log of a step, or of one split of it."""
        return self.key("logs", f"{step_name(step, split)}.log")

    @property
    def rv_uri(self) -> str:
        """Raster Vision's own ``root_uri``."""
        return f"{self.uri}/rv"


@dataclass(frozen=True)
class ReportedState:
    """What an engine reports of a run that has no end record.

    Args:
        state: One of `STATES`.
        step: The step that failed or waits; None if it is unknown.
        reason: Why, as one line; None if it is unknown.
    """

    state: str
    step: str | None = None
    reason: str | None = None


def web_link(link: str | None) -> str | None:
    """Return a link if a browser may open it: http and https only; else None."""
    return link if link and link.startswith(("http://", "https://")) else None


class Sweep(list[Run]):
    """The runs of one sweep, in the order of its points; a notebook shows them live."""

    def __repr__(self) -> str:
        """Return ``Sweep(3 runs of 'towns': f54930, e0cb60, 840f48)``."""
        names = ", ".join(dict.fromkeys(repr(run.experiment) for run in self))
        ends = [run.id.rpartition("-")[2] for run in self[:MAX_SHOWN_RUNS]]
        more = f" and {len(self) - len(ends)} more" if len(self) > len(ends) else ""
        number = f"{len(self)} run{'' if len(self) == 1 else 's'}"
        return f"Sweep({number} of {names}: {', '.join(ends)}{more})" if self else "Sweep()"

    def _repr_html_(self) -> str:
        """Return the display of the runs in a notebook, where they are not shown live."""
        return "<br>".join(run._repr_html_() for run in self)


def step_name(step: str, split: int | None = None) -> str:
    """Return the name of a step, or of one split of it, in keys and messages: ``predict-2``."""
    return step if split is None else f"{step}-{split}"


def is_valid_name(name: str) -> bool:
    """Return whether a name is valid in a key; hidden folders, such as checkpoints, are not."""
    return bool(_NAME.fullmatch(name))


def validate_name(kind: str, name: str) -> str:
    """Validate a name for use in a key, and return it.

    Raises:
        SpecError: If it is not 1 to 100 letters, digits, ``.``, ``_`` and ``-``, the first of them
            a letter or digit.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} is not a valid {kind} name. Use up to 100 letters, digits, '.', '_' "
            "and '-', starting with a letter or digit."
        )
    return name


def new_run_id(now: datetime | None = None) -> str:
    """Return a run id that sorts by time, such as ``20261123-154201-4f2a9c`` (UTC)."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def is_new_id(text: str) -> bool:
    """Return whether a text is a complete id as `new_run_id` returns it."""
    return bool(_NEW_ID.fullmatch(text))


def utc_now() -> str:
    """Return the current time as in records: ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
