"""Raster Vision's ``train/log.csv``, a row an epoch, also while it is being written."""

from __future__ import annotations

import csv
import io
import re

from rvlab.errors import RecordBroken

TIMES = {"train_time": "train_time_s", "valid_time": "valid_time_s"}
"""Columns that hold a clock time in Raster Vision's file, and their name once in seconds."""

_CLOCK = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def epochs(log_csv: str) -> list[dict[str, int | float | None]]:
    """The rows of a training log, in the order in which they were written.

    **Epochs count from 0**: a training of eight epochs ends with epoch 7. (A checkpoint
    ``model-ckpt-epoch-3.pth`` counts the same.) A training that was resumed goes on counting.

    Raster Vision's ``avg_f1`` is the harmonic mean of precision and recall that were averaged with
    the number of truth pixels as weights: neither the macro F1 of `rvlab.metrics`, nor the average
    F1 of ``eval.json``, which averages the classes' F1.

    Args:
        log_csv: The text of the file, not stripped: a last line that does not end in a newline is
            still being written, and is left out.

    Returns:
        A row an epoch: ``epoch`` (int) first, then Raster Vision's columns under their names,
        floats, but ``train_time`` and ``valid_time`` in seconds as ``train_time_s`` and
        ``valid_time_s``. None where the field is empty, which is how Raster Vision writes NaN:
        a loss that diverged looks so. No rows: an empty list.

    Raises:
        RecordBroken: If there is no column ``epoch``, a row has more or fewer fields than the
            header, or a field is not a number.
    """
    whole = log_csv[: log_csv.rfind("\n") + 1]
    lines = [line for line in csv.reader(io.StringIO(whole, newline="")) if line]
    if not lines:
        return []
    header, *rows = lines
    if "epoch" not in header:
        raise RecordBroken(f"train/log.csv has no column 'epoch', only {', '.join(header)}.")
    names = ["epoch", *(name for name in header if name != "epoch")]
    result = []
    for number, fields in enumerate(rows, start=1):
        if len(fields) != len(header):
            raise RecordBroken(
                f"train/log.csv, row {number}, has {len(fields)} fields; its header has "
                f"{len(header)}. Was a training resumed there with other classes or losses?"
            )
        row = dict(zip(header, fields, strict=True))
        result.append({TIMES.get(name, name): _value(name, row[name], number) for name in names})
    return result


def seconds(clock: str) -> float:
    """Seconds of a time as Python prints a timedelta: ``0:00:08.88``, ``1 day, 0:00:01``.

    Raises:
        ValueError: If it is not such a time.
    """
    match = _CLOCK.fullmatch(clock)
    if match is None:
        raise ValueError(f"{clock!r} is not a time like '0:00:08.88' or '1 day, 0:00:01'.")
    days, hours, minutes, rest = match.groups()
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(rest)


def _value(name: str, text: str, number: int) -> int | float | None:
    if not text and name != "epoch":
        return None
    try:
        if name == "epoch":
            return int(text)
        return seconds(text) if name in TIMES else float(text)
    except ValueError as exc:
        raise RecordBroken(
            f"train/log.csv, row {number}, has {text!r} in column {name!r}, where a "
            f"{'time' if name in TIMES else 'number'} is to be."
        ) from exc
