"""Ranking of windows by the counts of several runs, such as those with the most errors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import NotFound, SpecError, did_you_mean
from rvlab.frame.aligned_windows import AlignedWindows, CountArray
from rvlab.model.tables import RANKED_WINDOWS_TABLE

if TYPE_CHECKING:
    import pandas as pd

OBJECT_ERROR = "object_error"
"""The criterion that counts false positive and false negative objects.

See `count_objects_in_windows`.
"""

RANK_CRITERIA = (
    "error",
    OBJECT_ERROR,
    "disagreement",
    "difference",
    "confident_error",
    "class",
    "random",
)
DEFAULT_WINDOW_PX = 512


def validate_ranking(criterion: str, runs: Sequence[str], classes: Any, n: int) -> None:
    """Validate the arguments of a ranking; see `rvlab.Lab.windows`.

    Raises:
        NotFound: If the criterion does not exist.
        SpecError: If `criterion` needs other runs or classes, or `n` is not a positive integer.
    """
    if criterion not in RANK_CRITERIA:
        raise NotFound(f"by={criterion!r} does not exist. {did_you_mean(criterion, RANK_CRITERIA)}")
    require_positive_int(n=n)
    if classes is not None and not len(classes):
        raise SpecError("classes is empty. Name a class, or omit it for all classes.")
    if criterion == "difference" and len(runs) != 2:
        raise SpecError(f"by='difference' needs exactly two runs, got {len(runs)}.")
    if criterion == "disagreement" and len(runs) < 2:
        raise SpecError(f"by='disagreement' needs at least two runs, got {len(runs)}.")
    if criterion == "class" and classes is None:
        raise SpecError("by='class' needs a class. Name it: classes='building'.")


def require_positive_int(**numbers: Any) -> None:
    """Require that each argument is a positive integer or None.

    Raises:
        SpecError: If one is not; the message has its name.
    """
    for name, value in numbers.items():
        try:
            fits = value is None or (not isinstance(value, bool) and index(value) >= 1)
        except TypeError:
            fits = False
        if not fits:
            raise SpecError(f"{name} must be a positive integer, got {value!r}.")


def rank_windows(
    counts: AlignedWindows,
    criterion: str,
    *,
    n: int,
    size: int | None,
    classes: str | Sequence[str] | None,
    per_scene: int | None,
    seed: int,
) -> pd.DataFrame:
    """Score the windows and return the first `n`; see `rvlab.Lab.windows`."""
    requested = _requested_classes(counts.classes, classes)
    positions, window_index = _merge_windows(counts.positions, size)
    windows = _sum_counts(counts, positions, window_index)
    if criterion == "disagreement":
        scores, runs = _disagreement(counts, window_index, len(positions), requested), None
    else:
        scores, runs = _score_windows(windows, criterion, requested, all_classes=classes is None)
    if not counts.boxes:
        scores = scores / max(1, windows.pixels.max())
    table = positions.assign(score=scores, by=criterion, run=runs, pixels=windows.pixels)
    if criterion == "random":
        order = np.random.default_rng(seed).permutation(len(table))
        table = table.iloc[order][table["pixels"].to_numpy()[order] > 0]
    else:
        table = table[table["score"] != 0]
        table = table.sort_values("score", ascending=False, kind="stable")
    table = (
        _top_and_bottom(table, n, per_scene)
        if criterion == "difference"
        else _top_rows(table, per_scene)
    )
    table = table.head(n)
    dtypes = RANKED_WINDOWS_TABLE.dtypes
    return table[list(dtypes)].astype(dtypes).reset_index(drop=True)


def _requested_classes(known: Sequence[str], classes: str | Sequence[str] | None) -> list[int]:
    if classes is None:
        return list(range(len(known)))
    names = [classes] if isinstance(classes, str) else list(classes)
    for name in names:
        if name not in known:
            raise NotFound(f"No window has the class {name!r}. {did_you_mean(name, known)}")
    return [known.index(name) for name in names]


def _merge_windows(positions: pd.DataFrame, size: int | None) -> tuple[pd.DataFrame, CountArray]:
    """Merge counted windows into windows of `size` px.

    Returns:
        The merged windows, and for each counted window the position of the one that contains it.
    """
    ends = positions.assign(right=positions["col"] + positions["width"])
    ends["bottom"] = ends["row"] + ends["height"]
    extent = ends.groupby("scene")[["right", "bottom"]].max()
    side = int(positions[["width", "height"]].to_numpy().max())
    counted = 1 << (side - 1).bit_length()  # a scene smaller than a window truncates it
    if size is None:
        half = int(extent.to_numpy().max()) // 2
        size = max(counted, min(DEFAULT_WINDOW_PX, 1 << max(0, half.bit_length() - 1)))
    if size < counted or size % counted:
        nearest_size = max(1, round(size / counted)) * counted
        raise SpecError(
            f"size={size} does not fit: the windows were counted in squares of {counted} px. "
            f"Use size={nearest_size}."
        )
    larger = positions[["group", "scene"]].copy()
    for name, side_name, end in (("col", "width", "right"), ("row", "height", "bottom")):
        larger[name] = positions[name] // size * size
        most = positions["scene"].map(extent[end]).astype("int64")
        larger[side_name] = (most - larger[name]).clip(upper=size)
    groups = larger.groupby(list(larger.columns), sort=True, observed=True)
    window_index = np.asarray(groups.ngroup(), np.int64)
    unique = larger.assign(into=window_index).drop_duplicates("into").sort_values("into")
    return unique.drop(columns="into").reset_index(drop=True), window_index


def _sum_counts(
    counts: AlignedWindows, positions: pd.DataFrame, window_index: CountArray
) -> AlignedWindows:
    def total(array: NDArray[Any]) -> NDArray[Any]:
        out = np.zeros((array.shape[0], len(positions), array.shape[2]), array.dtype)
        for one, source in zip(out, array, strict=True):
            np.add.at(one, window_index, source)
        return out

    tp, fp, fn, sure = (total(a) for a in (counts.tp, counts.fp, counts.fn, counts.confident_fp))
    return AlignedWindows(positions, counts.runs, counts.classes, tp, fp, fn, sure, counts.boxes)


def _score_windows(
    windows: AlignedWindows, criterion: str, requested: list[int], *, all_classes: bool
) -> tuple[NDArray[np.float64], Any]:
    """Return the score of each window, and the run that the score is about."""
    names = np.array(windows.runs, object)
    if criterion in ("error", OBJECT_ERROR, "random"):
        wrong = _error_counts(windows, requested, all_classes)
        worst = np.where(wrong.max(axis=0) > 0, names[wrong.argmax(axis=0)], None)
        return wrong.mean(axis=0), worst
    if criterion == "difference":
        first, second = _error_counts(windows, requested, all_classes)
        return first - second, np.where(first > second, names[1], names[0])
    if criterion == "confident_error":
        sure = windows.confident_fp[:, :, requested].sum(axis=-1)
        has_scores = ~np.isnan(sure).any(axis=1)
        if not has_scores.any():
            raise SpecError(
                "by='confident_error' needs scores, which none of the runs has. Set "
                "smooth_output=True in the recipe's SemanticSegmentationLabelStoreConfig."
            )
        sure, names = sure[has_scores], names[has_scores]
        return sure.mean(axis=0), names[sure.argmax(axis=0)]
    truth = windows.tp[0] + windows.fn[0]
    return truth[:, requested].sum(axis=-1).astype(float), None


def _disagreement(
    counts: AlignedWindows, window_index: CountArray, n_windows: int, requested: list[int]
) -> NDArray[np.float64]:
    """Return a lower bound of the number of pixels in which two runs differ, averaged over pairs.

    The bound of a window is half of the sum of the absolute differences of the true positives and
    of the false positives of each class, since each differing pixel changes two of these counts at
    most. Runs with equal counts can still differ: their errors may be in other pixels.
    """
    out = np.zeros(n_windows)
    pairs = list(combinations(range(len(counts.runs)), 2))
    for a, b in pairs:
        least = sum(np.abs(x[a] - x[b])[:, requested].sum(axis=-1) for x in (counts.tp, counts.fp))
        np.add.at(out, window_index, least * (1.0 if counts.boxes else 0.5))
    return out / len(pairs)


def _error_counts(
    windows: AlignedWindows, requested: list[int], all_classes: bool
) -> NDArray[np.float64]:
    """Count wrong pixels, cells or boxes, shape (runs, windows).

    A wrong pixel is a false negative of its true class and a false positive of another class. Over
    all classes it counts once; for selected classes, once for each of them that it involves.
    """
    fn = windows.fn[:, :, requested].sum(axis=-1)
    if all_classes and not windows.boxes:
        return np.asarray(fn, float)
    return np.asarray(fn + windows.fp[:, :, requested].sum(axis=-1), float)


def _top_rows(table: pd.DataFrame, per_scene: int | None) -> pd.DataFrame:
    return table if per_scene is None else table.groupby("scene").head(per_scene)


def _top_and_bottom(table: pd.DataFrame, n: int, per_scene: int | None) -> pd.DataFrame:
    """Select rows, half where the second run is better and half where the first run is."""
    import pandas as pd

    second = _top_rows(table[table["score"] > 0], per_scene)
    first = _top_rows(table[table["score"] < 0].iloc[::-1], per_scene)
    half = n // 2
    taken = min(len(second), max(n - half, n - len(first)))
    return pd.concat([second.head(taken), first.head(n - taken)])
