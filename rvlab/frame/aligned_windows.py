"""Alignment of the window counts of several runs to the same windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import NotFound, SpecError, TableError, did_you_mean
from rvlab.model.limits import WINDOW_CELLS
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CountArray = NDArray[np.int64]


@dataclass(frozen=True)
class AlignedWindows:
    """Counts of several runs in the same windows.

    Args:
        positions: ``group scene col row width height``, one row per window.
        runs: Run ids.
        classes: Class names.
        tp: True positives, shape (runs, windows, classes).
        fp: False positives, same shape.
        fn: False negatives, same shape.
        confident_fp: False positives with a high score, same shape; NaN where the run has no
            scores.
        boxes: Whether the counts are of boxes. A share of boxes is not defined, since there is no
            total that all counts add up to.
    """

    positions: pd.DataFrame
    runs: tuple[str, ...]
    classes: tuple[str, ...]
    tp: CountArray
    fp: CountArray
    fn: CountArray
    confident_fp: NDArray[np.float64]
    boxes: bool

    @property
    def pixels(self) -> CountArray:
        """Labelled pixels, shape (windows,); they are the same for all runs."""
        return np.asarray((self.tp[0] + self.fn[0]).sum(axis=-1))


def align_windows(
    tables: Mapping[str, pa.Table], group: str | None, scenes: str | Sequence[str] | None
) -> AlignedWindows:
    """Align the counts of several runs to the same windows.

    Runs are compared only if they have the same ground truth. The largest set of runs with equal
    ground truth is used, and the other runs are left out. Scenes that a run lacks are
    left out, too.

    Warns:
        UserWarning: For each run that is left out, and for scenes that are left out.

    Raises:
        NotFound: If the group or a scene does not exist, or the runs have no scene in common.
        SpecError: If `scenes` is empty.
        TableError: If there are more than `WINDOW_CELLS` counts.
    """
    import pandas as pd

    frames = {run: table.to_pandas() for run, table in tables.items()}
    groups = {str(g) for each in frames.values() for g in each["group"].unique()}
    if group is None:
        group = "test" if "test" in groups and "validation" not in groups else "validation"
    frames = {run: each[each["group"] == group] for run, each in frames.items()}
    empty = [run for run, each in frames.items() if each.empty]
    if len(empty) == len(frames):
        raise NotFound(f"No run has windows in the group {group!r}. {did_you_mean(group, groups)}")
    for run in empty:
        warn_user(
            f"The run {run} is left out: it has no windows in the group {group!r}.",
        )
        del frames[run]
    frames = _select_scenes(frames, scenes)
    frames = _select_runs_with_same_truth(frames)
    long = pd.concat(frames, names=["run"]).reset_index("run")
    where = ["group", "scene", "col", "row", "width", "height"]
    window_index = long.groupby(where, sort=True, observed=True).ngroup().to_numpy()
    classes = tuple(dict.fromkeys(long["class"]))
    at = (
        pd.Categorical(long["run"], list(frames)).codes,
        window_index,
        pd.Categorical(long["class"], classes).codes,
    )
    shape = (len(frames), int(window_index.max()) + 1, len(classes))
    cells = shape[0] * shape[1] * shape[2]
    if cells > WINDOW_CELLS:
        raise TableError(
            f"{shape[0]} runs with {shape[1]:,} windows of {shape[2]:,} classes have {cells:,} "
            f"counts; the limit is {WINDOW_CELLS:,}. Pass fewer runs, or select scenes."
        )
    found = {name: np.zeros(shape, np.int64) for name in ("tp", "fp", "fn")}
    for name, array in found.items():
        array[at] = long[name]
    has_scores = [not each["confident_fp"].isna().all() for each in frames.values()]
    sure = np.where(np.array(has_scores)[:, None, None], 0.0, np.nan) * np.ones(shape)
    sure[at] = long["confident_fp"].to_numpy(float, na_value=np.nan)
    positions = long[where].drop_duplicates().sort_values(where).reset_index(drop=True)
    task = (next(iter(tables.values())).schema.metadata or {}).get(b"task", b"")
    return AlignedWindows(
        positions, tuple(frames), classes, **found, confident_fp=sure, boxes=b"detect" in task
    )


def _select_scenes(
    frames: Mapping[str, pd.DataFrame], scenes: str | Sequence[str] | None
) -> dict[str, pd.DataFrame]:
    scenes_by_run = {run: set(each["scene"]) for run, each in frames.items()}
    known = set().union(*scenes_by_run.values())
    wanted = known if scenes is None else {scenes} if isinstance(scenes, str) else set(scenes)
    if not wanted:
        raise SpecError("scenes is empty. Name a scene, or omit it for all scenes of the group.")
    for name in sorted(wanted - known):
        raise NotFound(f"No run has window counts of {name!r}. {did_you_mean(name, known)}")
    common = wanted.intersection(*scenes_by_run.values())
    if not common:
        lacking = next(
            run for run, has in scenes_by_run.items() if not wanted & has or wanted - has
        )
        raise NotFound(
            f"The runs have no scene in common: {lacking} lacks "
            f"{', '.join(sorted(wanted - scenes_by_run[lacking])[:3])}."
        )
    if missing := sorted(wanted - common):
        warn_user(
            f"Scenes that some of the runs do not have are left out: {', '.join(missing)}.",
        )
    return {run: each[each["scene"].isin(common)] for run, each in frames.items()}


def _select_runs_with_same_truth(frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Select the largest set of runs whose truth is the same in every window and class."""
    truths = {run: _truth_counts(each) for run, each in frames.items()}
    alike = {run: [r for r, t in truths.items() if t.equals(own)] for run, own in truths.items()}
    first = max(frames, key=lambda run: len(alike[run]))
    wanted = truths[first]
    out = {}
    for run, own in truths.items():
        if run in alike[first]:
            out[run] = frames[run]
            continue
        differs = own.index.symmetric_difference(wanted.index)
        if not len(differs):
            differs = own.index[own != wanted]
        scene = differs[0][0]
        warn_user(
            f"The run {run} is left out: its labels of {scene} differ from those of {first}.",
        )
    return out


def _truth_counts(frame: pd.DataFrame) -> pd.Series[Any]:
    total = frame.assign(truth=frame["tp"] + frame["fn"])
    total = total[total["truth"] > 0].set_index(["scene", "col", "row", "class"])
    return total["truth"].sort_index()
