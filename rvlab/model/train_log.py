"""Parsing of Raster Vision's ``train/log.csv``, also while it is being written."""

from __future__ import annotations

import csv
import io
import re

from rvlab.errors import RecordBroken
from rvlab.model.limits import LOG_CSV_FIELDS, TABLE_COLUMNS, too_large

TIME_COLUMNS = {"train_time": "train_time_s", "valid_time": "valid_time_s"}
"""Columns with a clock time in Raster Vision's file -> their names in seconds."""

_CLOCK = re.compile(r"(?:(\d{1,6}) days?, )?(\d{1,9}):(\d\d):(\d\d(?:\.\d{1,9})?)", re.ASCII)
_EPOCH = re.compile(r"\d{1,9}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,9})?|inf|nan)", re.ASCII | re.I)
"""A float as Python prints it; ``float`` also accepts ``1_0`` and digits of other scripts."""


def parse_epochs(log_csv: str) -> list[dict[str, int | float | None]]:
    """Parse a training log to one dict per epoch, in the order of the file.

    **Epochs count from 0**: a training of eight epochs ends with epoch 7, and the checkpoint
    ``model-ckpt-epoch-3.pth`` uses the same numbers. A resumed training continues to count.

    Raster Vision's ``avg_f1`` is the harmonic mean of precision and recall, each averaged with the
    number of truth pixels as weights. It is neither the macro F1 of `rvlab.metrics`, nor the
    average F1 of ``eval.json``, which averages the F1 of the classes.

    Args:
        log_csv: The text of the file, not stripped: a last line without a newline is still being
            written, and is ignored.

    Returns:
        One dict per epoch: ``epoch`` (int), then Raster Vision's columns as floats under their
        names; ``train_time`` and ``valid_time`` become ``train_time_s`` and ``valid_time_s``, in
        seconds. An empty field, which is how Raster Vision writes the NaN of a diverged loss, is
        None.

    Raises:
        RecordBroken: If the column ``epoch`` is missing, two columns have the same name, a row has
            more or fewer fields than the header, a field is not a number, or there are too many
            fields.
    """
    complete = log_csv[: log_csv.rfind("\n") + 1]
    header: list[str] = []
    names: list[str] = []
    result: list[dict[str, int | float | None]] = []
    try:
        for line in csv.reader(io.StringIO(complete, newline=""), strict=True):
            if not line:
                continue
            if not header:
                header, names = line, _names(line)
                continue
            number = len(result) + 1
            if number * len(header) > LOG_CSV_FIELDS:
                too_large(
                    "train/log.csv", complete.count("\n") * len(header), LOG_CSV_FIELDS, "fields"
                )
            if len(line) != len(header):
                raise RecordBroken(
                    f"train/log.csv, row {number}, has {len(line)} fields; its header has "
                    f"{len(header)}. Was a training resumed there with other classes or losses?"
                )
            row = dict(zip(header, line, strict=True))
            result.append({TIME_COLUMNS.get(n, n): _parse_value(n, row[n], number) for n in names})
    except csv.Error as exc:
        raise RecordBroken(f"train/log.csv, row {len(result) + 1}, is not CSV: {exc}.") from exc
    return result


def _names(header: list[str]) -> list[str]:
    """Validate the header, and return its columns with ``epoch`` first."""
    if len(header) > TABLE_COLUMNS:
        too_large("train/log.csv", len(header), TABLE_COLUMNS, "columns")
    if "epoch" not in header:
        shown = ", ".join(header)
        raise RecordBroken(f"train/log.csv has no column 'epoch', only {shown:.200}.")
    known = [TIME_COLUMNS.get(name, name) for name in header]
    for name in known:
        if not name or name == "run" or "\ufffd" in name or known.count(name) > 1:
            why = "twice" if known.count(name) > 1 else "which Raster Vision never writes"
            raise RecordBroken(f"train/log.csv has a column {name!r:.100}, {why}.")
    return ["epoch", *(name for name in header if name != "epoch")]


def parse_seconds(clock: str) -> float:
    """Convert a printed timedelta to seconds: ``0:00:08.88``, ``1 day, 0:00:01``.

    Raises:
        ValueError: If the text is not a printed timedelta.
    """
    match = _CLOCK.fullmatch(clock)
    if match is None:
        raise ValueError(f"{clock!r} is not a time like '0:00:08.88' or '1 day, 0:00:01'.")
    days, hours, minutes, rest = match.groups()
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(rest)


def _parse_value(name: str, text: str, number: int) -> int | float | None:
    if not text and name != "epoch":
        return None
    try:
        if name in TIME_COLUMNS:
            return parse_seconds(text)
        if not (_EPOCH if name == "epoch" else _NUMBER).fullmatch(text):
            raise ValueError
        return int(text) if name == "epoch" else float(text)
    except ValueError as exc:
        raise RecordBroken(
            f"train/log.csv, row {number}, column {name!r:.100} must be a "
            f"{'time' if name in TIME_COLUMNS else 'number'}, got {text!r:.100}."
        ) from exc
