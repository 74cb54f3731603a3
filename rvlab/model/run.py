"""The address of a run, and the names that may stand in it."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

from rvlab.errors import SpecError

STEPS = ("configure", "analyze", "chip", "train", "predict", "eval", "bundle", "summarize")
SPLIT_STEPS = ("chip", "predict")
STATES = ("queued", "running", "succeeded", "failed", "cancelled", "lost", "broken")
END_STATES = ("succeeded", "failed", "cancelled")

ANNOTATIONS_DIR, CACHE_DIR, RUNS_DIR = "annotations", "cache", "runs"
RESERVED_NAMES = (ANNOTATIONS_DIR, CACHE_DIR, RUNS_DIR)
"""The folders beside the runs of an experiment that are no runs."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, order=True)
class Run:
    """Where one run lies: ``{store}/{experiment}/{id}``. It holds no data and reads nothing.

    Args:
        store: The store's root URI.
        experiment: The name of the experiment.
        id: The run's own name, which sorts by time.
        link: The page of the run where it runs, such as Kubeflow's, as far as it is known.
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
        """Take a run's URI apart.

        Raises:
            SpecError: If it is not ``{store}/{experiment}/{run}``.
        """
        parts = uri.rstrip("/").rsplit("/", 2)
        if len(parts) != 3 or not parts[0].rstrip("/") or parts[0].rstrip("/").endswith(":"):
            raise SpecError(f"{uri!r} is no run. A run's URI is {{store}}/{{experiment}}/{{run}}.")
        return cls(*parts)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        name = escape(self.id)
        if self.link and self.link.startswith(("http://", "https://")):
            name = f'<a href="{escape(self.link)}" target="_blank" rel="noopener">{name}</a>'
        return f"<code>{escape(self.experiment)}</code> / {name}"

    @property
    def uri(self) -> str:
        """The one string that travels through the system."""
        return f"{self.store}/{self.experiment}/{self.id}"

    @property
    def prefix(self) -> str:
        """The run's folder below the store's root."""
        return f"{self.experiment}/{self.id}"

    def key(self, *parts: str) -> str:
        """A key in the run's folder, such as ``key("steps", "train.json")``."""
        return "/".join((self.prefix, *parts))

    @property
    def end_key(self) -> str:
        """The record that ends the run.

        Those of an experiment lie together: one listing tells which there are, and which changed.
        """
        return f"{self.experiment}/{RUNS_DIR}/ended/{self.id}.json"

    @property
    def active_key(self) -> str:
        """An empty key that is there from the run's submission until its end."""
        return f"{self.experiment}/{RUNS_DIR}/active/{self.id}"

    def step_key(self, step: str, split: int | None = None) -> str:
        """The record of a step, or of one split of it."""
        return self.key("steps", f"{step_name(step, split)}.json")

    def log_key(self, step: str, split: int | None = None) -> str:
        """What a step, or one split of it, printed."""
        return self.key("logs", f"{step_name(step, split)}.log")

    @property
    def rv_uri(self) -> str:
        """Raster Vision's own ``root_uri``."""
        return f"{self.uri}/rv"


def step_name(step: str, split: int | None = None) -> str:
    """``predict-2``: how a step, or one split of it, is called in keys and messages."""
    return step if split is None else f"{step}-{split}"


def is_valid_name(name: str) -> bool:
    """Whether a name may stand in a key: no folder of anything else's, such as a checkpoint."""
    return bool(_NAME.fullmatch(name))


def validate_name(kind: str, name: str) -> str:
    """A name that may stand in a key.

    Raises:
        SpecError: If it holds anything but letters, digits, ``.``, ``_`` and ``-``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} cannot be the name of the {kind}. Take letters, digits, '.', '_' and '-', "
            "a letter or digit first, 100 at most."
        )
    return name


def new_run_id(now: datetime | None = None) -> str:
    """A run id that sorts by time, such as ``20261123-154201-4f2a9c`` (UTC)."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def utc_now() -> str:
    """The time now as records write it: ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
