"""Counts of the objects in each window of runs, to rank the windows by their errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rvlab.model.tables import WINDOWS_TABLE
from rvlab.store.table_file import columns_to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

_WINDOW = ["group", "scene", "col", "row"]


def count_objects_in_windows(
    windows: Mapping[str, pa.Table], objects: Mapping[str, pa.Table]
) -> dict[str, pa.Table]:
    """Return tables of windows that count objects at an IoU of 0.5 instead of pixels.

    An object counts in the window that contains its centre; a match counts where the true object
    is. As for boxes, a false positive and a false negative are one error each.

    Args:
        windows: The tables of windows, by run.
        objects: The tables of objects, by run; runs without one are left out.
    """
    return {run: _count(windows[run], table) for run, table in objects.items() if run in windows}


def _count(windows: pa.Table, objects: pa.Table) -> pa.Table:
    import pandas as pd

    known = windows.to_pandas()
    ends = known.assign(right=known["col"] + known["width"], bottom=known["row"] + known["height"])
    scenes = ends.groupby(["group", "scene"])[["width", "height", "right", "bottom"]].max()
    scenes["side"] = scenes[["width", "height"]].max(axis=1)
    found = objects.to_pandas().drop(columns=["col", "row", "width", "height"])
    is_truth, is_matched = found.pop("side") == "truth", found["matched_at"] % 2 == 1
    found["tp"], found["fn"] = is_truth & is_matched, is_truth & ~is_matched
    found["fp"] = ~is_truth & ~is_matched
    found = found.join(scenes, on=["group", "scene"], how="inner")
    for name in ("col", "row"):
        found[name] = (found[f"center_{name}"] // found["side"] * found["side"]).astype("int64")
    found["width"] = np.minimum(found["side"], found["right"] - found["col"])
    found["height"] = np.minimum(found["side"], found["bottom"] - found["row"])
    # Windows without objects remain: all runs have them, whatever they predict.
    both = pd.concat([known.assign(tp=0, fp=0, fn=0), found])
    keys = [*_WINDOW, "width", "height", "class"]
    counts = both.groupby(keys, sort=True, observed=True)[["tp", "fp", "fn"]].sum().reset_index()
    columns = [counts[name] for name in WINDOWS_TABLE.names[:-1]]
    table = columns_to_arrow(WINDOWS_TABLE, [*columns, [None] * len(counts)])
    return table.replace_schema_metadata({"task": "object_detection"})
