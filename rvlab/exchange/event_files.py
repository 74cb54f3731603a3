"""Scalars of TensorBoard event files."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rvlab.errors import MissingExtra, RecordBroken
from rvlab.metrics import none_if_nan
from rvlab.model.limits import EVENTS_BYTES
from rvlab.store import Store


@dataclass(frozen=True)
class Scalar:
    """A value that was logged.

    Args:
        tag: Its name.
        step: The global step.
        value: The value; None for NaN.
        wall_time: When it was logged, in seconds since 1970.
    """

    tag: str
    step: int
    value: float | None
    wall_time: float


def read_scalars(home: Store, key: str) -> list[Scalar]:
    """Read the scalars of an event file, in the order in which they were logged.

    An incomplete last event, as of a training that still writes, is ignored.

    Args:
        home: The store of the file.
        key: Its key.

    Raises:
        MissingExtra: If tensorboard is not installed.
        RecordBroken: If the file is larger than `EVENTS_BYTES`, or damaged.
    """
    try:
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
        from tensorboard.util import tensor_util
    except ImportError as exc:
        raise MissingExtra(
            f"Reading {key} needs TensorBoard: pip install tensorboard, or 'rvlab[train]'. Without "
            "it the metrics.csv of Lightning's CSVLogger is read."
        ) from exc
    from google.protobuf.message import DecodeError

    data = home.get(key, limit=EVENTS_BYTES)
    with tempfile.TemporaryDirectory(prefix="rvlab-events-") as folder:
        path = Path(folder) / "events"
        path.write_bytes(data)
        logging.getLogger("tensorboard").setLevel(logging.ERROR)
        try:
            return list(_scalars(LegacyEventFileLoader(str(path)).Load(), tensor_util))
        except (DecodeError, ValueError, TypeError, OSError) as exc:
            raise RecordBroken(f"{key} is not a valid event file: {exc!s:.200}.") from exc


def _scalars(events: Any, tensor_util: Any) -> Iterator[Scalar]:
    for event in events:
        for value in event.summary.value:
            if value.HasField("simple_value"):
                number = value.simple_value
            elif value.HasField("tensor") and not value.tensor.tensor_shape.dim:
                array = tensor_util.make_ndarray(value.tensor)
                if array.dtype.kind not in "fiu":  # text, such as the layout of custom scalars
                    continue
                number = float(array)
            else:
                continue
            yield Scalar(value.tag, event.step, none_if_nan(number), event.wall_time)
