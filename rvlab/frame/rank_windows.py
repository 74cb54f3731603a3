"""Which windows are worth a look: counts of several runs, scored and put in order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import NotFound, SpecError, did_you_mean
from rvlab.frame.align_windows import AlignedWindows, CountArray

if TYPE_CHECKING:
    import pandas as pd

RANK_CRITERIA = ("error", "disagreement", "difference", "confident_error", "class", "random")
RANKED_COLUMNS: dict[str, Any] = {
    "scene": "string",
    "col": "int64",
    "row": "int64",
    "width": "int64",
    "height": "int64",
    "score": "float64",
    "group": "string",
    "by": "string",
    "run": "object",
    "pixels": "int64",
}
DEFAULT_WINDOW_PX = 512


def validate_ranking(by: str, runs: Sequence[str], classes: Any, n: int) -> None:
    """Refuse a question that these runs and arguments cannot answer; see `rvlab.Lab.windows`."""
    if by not in RANK_CRITERIA:
        raise NotFound(f"There is no by={by!r}. {did_you_mean(by, RANK_CRITERIA)}")
    require_positive_int(n=n)
    if classes is not None and not len(classes):
        raise SpecError("classes is empty. Name a class, or leave it out for all of them.")
    if by == "difference" and len(runs) != 2:
        raise SpecError(f"by='difference' compares two runs; these are {len(runs)}.")
    if by == "disagreement" and len(runs) < 2:
        raise SpecError(f"by='disagreement' takes two runs or more; these are {len(runs)}.")
    if by == "class" and classes is None:
        raise SpecError("by='class' needs to know which. Name it: classes='building'.")


def require_positive_int(**numbers: Any) -> None:
    """Refuse what is no whole number of 1 or more; None is not given.

    Raises:
        SpecError: It names the argument.
    """
    for name, value in numbers.items():
        try:
            fits = value is None or (not isinstance(value, bool) and index(value) >= 1)
        except TypeError:
            fits = False
        if not fits:
            raise SpecError(f"{name}={value!r} is no whole number of 1 or more.")


def rank_windows(
    counts: AlignedWindows,
    by: str,
    *,
    n: int,
    size: int | None,
    classes: str | Sequence[str] | None,
    per_scene: int | None,
    seed: int,
) -> pd.DataFrame:
    """Score the windows and take the first `n`; see `rvlab.Lab.windows`."""
    asked = _requested_classes(counts.classes, classes)
    places, into = _merge_windows(counts.positions, size)
    windows = _sum_counts(counts, places, into)
    if by == "disagreement":
        scores, runs = _disagreement(counts, into, len(places), asked), None
    else:
        scores, runs = _score_windows(windows, by, asked, every=classes is None)
    if not counts.boxes:
        scores = scores / max(1, windows.pixels.max())
    table = places.assign(score=scores, by=by, run=runs, pixels=windows.pixels)
    if by == "random":
        order = np.random.default_rng(seed).permutation(len(table))
        table = table.iloc[order][table["pixels"].to_numpy()[order] > 0]
    else:
        table = table[table["score"] != 0]
        table = table.sort_values("score", ascending=False, kind="stable")
    table = (
        _top_and_bottom(table, n, per_scene) if by == "difference" else _top_rows(table, per_scene)
    )
    table = table.head(n)
    return table[list(RANKED_COLUMNS)].astype(RANKED_COLUMNS).reset_index(drop=True)


def _requested_classes(known: Sequence[str], classes: str | Sequence[str] | None) -> list[int]:
    if classes is None:
        return list(range(len(known)))
    names = [classes] if isinstance(classes, str) else list(classes)
    for name in names:
        if name not in known:
            raise NotFound(f"No window holds a class {name!r}. {did_you_mean(name, known)}")
    return [known.index(name) for name in names]


def _merge_windows(places: pd.DataFrame, size: int | None) -> tuple[pd.DataFrame, CountArray]:
    """Windows of the size that is asked for, and for each counted one the window it lies in."""
    ends = places.assign(right=places["col"] + places["width"])
    ends["bottom"] = ends["row"] + ends["height"]
    extent = ends.groupby("scene")[["right", "bottom"]].max()
    side = int(places[["width", "height"]].to_numpy().max())
    counted = 1 << (side - 1).bit_length()  # in a scene smaller than a window it is cut
    if size is None:
        half = int(extent.to_numpy().max()) // 2
        size = max(counted, min(DEFAULT_WINDOW_PX, 1 << max(0, half.bit_length() - 1)))
    if size < counted or size % counted:
        near = max(1, round(size / counted)) * counted
        raise SpecError(
            f"size={size} does not fit: the windows were counted in squares of {counted} px. "
            f"Take size={near}."
        )
    larger = places[["group", "scene"]].copy()
    for name, side_name, end in (("col", "width", "right"), ("row", "height", "bottom")):
        larger[name] = places[name] // size * size
        most = places["scene"].map(extent[end]).astype("int64")
        larger[side_name] = (most - larger[name]).clip(upper=size)
    groups = larger.groupby(list(larger.columns), sort=True, observed=True)
    into = np.asarray(groups.ngroup(), np.int64)
    unique = larger.assign(into=into).drop_duplicates("into").sort_values("into")
    return unique.drop(columns="into").reset_index(drop=True), into


def _sum_counts(counts: AlignedWindows, places: pd.DataFrame, into: CountArray) -> AlignedWindows:
    def total(array: NDArray[Any]) -> NDArray[Any]:
        out = np.zeros((array.shape[0], len(places), array.shape[2]), array.dtype)
        for one, of in zip(out, array, strict=True):
            np.add.at(one, into, of)
        return out

    tp, fp, fn, sure = (total(a) for a in (counts.tp, counts.fp, counts.fn, counts.confident_fp))
    return AlignedWindows(places, counts.runs, counts.classes, tp, fp, fn, sure, counts.boxes)


def _score_windows(
    windows: AlignedWindows, by: str, asked: list[int], *, every: bool
) -> tuple[NDArray[np.float64], Any]:
    """The score of each window, and the run that it is about."""
    names = np.array(windows.runs, object)
    if by in ("error", "random"):
        wrong = _error_counts(windows, asked, every)
        worst = np.where(wrong.max(axis=0) > 0, names[wrong.argmax(axis=0)], None)
        return wrong.mean(axis=0), worst
    if by == "difference":
        first, second = _error_counts(windows, asked, every)
        return first - second, np.where(first > second, names[1], names[0])
    if by == "confident_error":
        sure = windows.confident_fp[:, :, asked].sum(axis=-1)
        kept = ~np.isnan(sure).any(axis=1)
        if not kept.any():
            raise SpecError(
                "by='confident_error' needs scores, and no run kept them. Let the recipe's "
                "SemanticSegmentationLabelStoreConfig have smooth_output=True."
            )
        sure, names = sure[kept], names[kept]
        return sure.mean(axis=0), names[sure.argmax(axis=0)]
    truth = windows.tp[0] + windows.fn[0]
    return truth[:, asked].sum(axis=-1).astype(float), None


def _disagreement(
    counts: AlignedWindows, into: CountArray, number: int, asked: list[int]
) -> NDArray[np.float64]:
    """Pixels in which two runs differ at least, the mean over all pairs of runs.

    Pixels of a counted window that one run has right in a class, or wrongly puts there, and the
    other does not, are at least half of the sum of the differences of these counts: runs that are
    equally often wrong, but not in the same pixels, differ in more.
    """
    out = np.zeros(number)
    pairs = list(combinations(range(len(counts.runs)), 2))
    for a, b in pairs:
        least = sum(np.abs(x[a] - x[b])[:, asked].sum(axis=-1) for x in (counts.tp, counts.fp))
        np.add.at(out, into, least * (1.0 if counts.boxes else 0.5))
    return out / len(pairs)


def _error_counts(windows: AlignedWindows, asked: list[int], every: bool) -> NDArray[np.float64]:
    """Wrong pixels, cells or boxes, shape (runs, windows).

    A wrong pixel is a miss of its true class and a false alarm of another: over all classes it is
    counted once, about some classes once for each of them that it is wrong about.
    """
    fn = windows.fn[:, :, asked].sum(axis=-1)
    if every and not windows.boxes:
        return np.asarray(fn, float)
    return np.asarray(fn + windows.fp[:, :, asked].sum(axis=-1), float)


def _top_rows(table: pd.DataFrame, per_scene: int | None) -> pd.DataFrame:
    return table if per_scene is None else table.groupby("scene").head(per_scene)


def _top_and_bottom(table: pd.DataFrame, n: int, per_scene: int | None) -> pd.DataFrame:
    """Half of the rows where the second run is better, half where the first is."""
    import pandas as pd

    second = _top_rows(table[table["score"] > 0], per_scene)
    first = _top_rows(table[table["score"] < 0].iloc[::-1], per_scene)
    half = n // 2
    taken = min(len(second), max(n - half, n - len(first)))
    return pd.concat([second.head(taken), first.head(n - taken)])
