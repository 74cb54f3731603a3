"""Training runs of Lightning: the files of its CSVLogger and TensorBoardLogger."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from rvlab.errors import RecordBroken
from rvlab.exchange.event_files import Scalar, read_scalars
from rvlab.exchange.history_rows import StepValues, history_of_steps
from rvlab.exchange.safe_yaml import parse_yaml
from rvlab.model.limits import (
    HPARAMS_BYTES,
    LOG_CSV_BYTES,
    LOG_CSV_FIELDS,
    TABLE_COLUMNS,
    too_large,
)
from rvlab.store import Store

HPARAMS_FILE, METRICS_FILE = "hparams.yaml", "metrics.csv"
EVENTS_PREFIX = "events.out.tfevents."

_VERSION = re.compile(r"version_\d+")
_LOG_FOLDERS = ("lightning_logs", "tb_logs", "csv_logs", "logs")


def is_log_file(name: str) -> bool:
    """Return whether a file is one that a logger of Lightning writes."""
    return name in (HPARAMS_FILE, METRICS_FILE) or name.startswith(EVENTS_PREFIX)


@dataclass(frozen=True)
class LightningRun:
    """The contents of the log folder of a run.

    Args:
        hparams: The hyperparameters, as plain values.
        history: The table of epochs; None if nothing was logged.
        times: The first and the last time of the log files, and of the events if they were read.
    """

    hparams: Mapping[str, Any]
    history: pa.Table | None
    times: tuple[datetime, datetime]


def read_lightning_run(home: Store, folder: str, files: Iterable[str]) -> LightningRun:
    """Read the log folder of a run.

    ``metrics.csv`` is preferred; without it the scalars of the event files are read.

    Args:
        home: The store of the folder.
        folder: Its key.
        files: Keys of the files below it.

    Raises:
        RecordBroken: If a file is invalid.
        MissingExtra: If there are only event files, and tensorboard is not installed.
    """
    own = {key[len(folder) :].lstrip("/"): key for key in files}
    hparams: Mapping[str, Any] = {}
    if HPARAMS_FILE in own:
        hparams = read_hparams(home, own[HPARAMS_FILE])
    events = sorted(key for name, key in own.items() if name.startswith(EVENTS_PREFIX))
    logged = [key for name, key in own.items() if is_log_file(name)]
    times = sorted(home.last_modified(key) for key in logged)
    if METRICS_FILE in own:
        key = own[METRICS_FILE]
        text = home.get(key, limit=LOG_CSV_BYTES).decode(errors="replace")
        history = history_of_steps(parse_metrics_csv(text, key))
    else:
        scalars = [one for key in events for one in read_scalars(home, key)]
        history = history_of_steps(_series_of_events(scalars))
        times = sorted([*times, *_times_of_events(scalars)])
    return LightningRun(hparams, history, (times[0], times[-1]))


def run_name(uri: str) -> str:
    """Return the name of a run: the name of its folder, for ``version_3`` with the one above."""
    *above, name = uri.rstrip("/").split("/")
    if _VERSION.fullmatch(name) and above and above[-1] not in _LOG_FOLDERS:
        return f"{above[-1]}/{name}"
    return name


def read_hparams(home: Store, key: str) -> dict[str, Any]:
    """Read ``hparams.yaml``.

    Raises:
        RecordBroken: If it is not a mapping.
    """
    found = parse_yaml(home.get(key, limit=HPARAMS_BYTES), key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise RecordBroken(f"{key} has {type(found).__name__}, not names and values.")
    return found


def parse_metrics_csv(text: str, key: str) -> StepValues:
    """Parse the ``metrics.csv`` of Lightning's CSVLogger.

    Args:
        text: The file. A last line without a newline is still being written, and is ignored.
        key: The file's key, for messages.

    Returns:
        The values by step; rows without a step are numbered.

    Raises:
        RecordBroken: If it has neither a column ``epoch`` nor ``step``, or an invalid row.
    """
    complete = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(complete, newline=""))
    names = list(reader.fieldnames or [])
    if not {"epoch", "step"} & set(names):
        raise RecordBroken(f"{key} has no column epoch or step, so Lightning did not write it.")
    if len(set(names)) < len(names):
        raise RecordBroken(f"{key} has a column twice.")
    if len(names) > TABLE_COLUMNS:
        too_large(key, len(names), TABLE_COLUMNS, "columns")
    series: StepValues = {}
    try:
        for number, row in enumerate(reader):
            if number * len(names) > LOG_CSV_FIELDS:
                too_large(key, complete.count("\n") * len(names), LOG_CSV_FIELDS, "fields")
            values = {name: float(row[name]) for name in names if row[name] not in (None, "")}
            if None in row:
                raise ValueError("it has more fields than the header")
            step = int(values["step"]) if "step" in values else number
            series.setdefault(step, {}).update(values)
    except (ValueError, OverflowError, csv.Error) as exc:
        raise RecordBroken(f"{key}, row {number + 1}, is invalid: {exc}.") from exc
    return series


def _series_of_events(scalars: Iterable[Scalar]) -> StepValues:
    series: StepValues = {}
    for one in scalars:
        if one.tag != "hp_metric" or one.value != -1:  # which Lightning writes without a metric
            series.setdefault(one.step, {})[one.tag] = one.value
    return series


def _times_of_events(scalars: Iterable[Scalar]) -> Iterator[datetime]:
    for one in scalars:
        try:
            yield datetime.fromtimestamp(one.wall_time, UTC)
        except (ValueError, OverflowError, OSError):
            continue
