"""Confusion matrices of runs, aligned by scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from rvlab.compare.metric_functions import (
    NULL_NAME,
    is_boundary_metric,
    is_map_metric,
    is_object_metric,
)
from rvlab.errors import TableError
from rvlab.frame.boundaries import boundary_confusion_table
from rvlab.frame.confusion_rows import NO_OBJECT
from rvlab.frame.input_tables import read_per_store
from rvlab.frame.objects import object_confusion_table
from rvlab.frame.tables import confusion_table
from rvlab.model import Run, headline_group

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from rvlab.metrics import Floats


class RankedPredictions(NamedTuple):
    """Predicted objects of runs, one value per object, from the highest score.

    Of equal scores the order is that of the scenes, and within a scene that of its objects. NaN is
    last.

    Attributes:
        runs: Places of their runs in `SceneMatrices`, like the next two.
        scenes: Places of their scenes.
        class_ids: Places of their classes.
        scores: Their scores.
        matched_at: Bits of the IoUs at which they are matched; see `rvlab.object_metrics`.
    """

    runs: NDArray[np.intp]
    scenes: NDArray[np.intp]
    class_ids: NDArray[np.intp]
    scores: Floats
    matched_at: NDArray[np.int64]


@dataclass(frozen=True)
class SceneMatrices:
    """Confusion matrices of runs over the scenes that all of them have.

    Attributes:
        matrices: Shape ``(runs, scenes, K, K)``, rows = truth.
        runs: The runs' ids.
        group: The group of scenes.
        names: The scenes.
        classes: The K classes.
        omitted: Scenes that only some of the runs have.
        predictions: The predicted objects, if the table has one row for each.
    """

    matrices: Floats
    runs: tuple[str, ...]
    group: str
    names: tuple[str, ...]
    classes: tuple[str, ...]
    omitted: tuple[str, ...] = ()
    predictions: RankedPredictions | None = None

    @property
    def labelled(self) -> Floats:
        """Labelled pixels, cells or objects by class, of shape ``(runs, scenes, classes)``."""
        places = [i for i, name in enumerate(self.classes) if name not in (NULL_NAME, NO_OBJECT)]
        counts: Floats = self.matrices.sum(axis=-1)[..., places]
        return counts


def load_confusion(runs: Sequence[Run], metric: str) -> pd.DataFrame:
    """Read the confusion matrices of runs that give a metric.

    These are `rvlab.frame.confusion_table`, or `object_confusion_table` for a metric of objects
    (with one row per prediction for a mean average precision), and `boundary_confusion_table` for
    the boundary IoU.
    """
    if is_object_metric(metric):
        each = is_map_metric(metric)
        return read_per_store(runs, partial(object_confusion_table, each_prediction=each))
    of_boundaries = is_boundary_metric(metric)
    return read_per_store(runs, boundary_confusion_table if of_boundaries else confusion_table)


def align_scenes(confusion: pd.DataFrame, runs: Sequence[Run], group: str | None) -> SceneMatrices:
    """Align the matrices of runs by scene in one array.

    Args:
        confusion: ``run group scene truth prediction count``, as ``lab.confusion()`` returns it,
            or a table of `load_confusion`.
        runs: The runs, in the order of the result.
        group: The group of scenes; None selects the one of the headline metrics: ``validation``,
            else ``test``, else the first.

    Raises:
        TableError: If a column is missing, a run has no matrices or none in the group, the runs
            have no scene in common, or they were scored over different classes.
    """
    import numpy as np

    for name in ("run", "group", "scene", "truth", "prediction", "count"):
        if name not in confusion:
            raise TableError(f"The table of confusion matrices has no column {name!r}.")
    ids = [run.id for run in runs]
    table = confusion[confusion["run"].isin(ids) & confusion["scene"].notna()]
    lacking = [i for i in ids if i not in set(table["run"])]
    if lacking:
        raise TableError(
            f"No confusion matrix per scene: {', '.join(lacking)}. A run has them once it has been "
            "evaluated and summarized; an object detection has none at all."
        )
    chosen = group or headline_group(str(g) for g in table["group"].unique())
    groups = {i: list(part["group"].unique()) for i, part in table.groupby("run", sort=False)}
    without = [i for i in ids if chosen not in groups[i]]
    if without:
        known = sorted({g for those in groups.values() for g in those})
        raise TableError(
            f"No scenes in the group {chosen!r}: {', '.join(without)}. "
            f"Groups of these runs: {', '.join(known)}."
        )
    table = table[table["group"] == chosen]
    each = {i: set(part["scene"]) for i, part in table.groupby("run", sort=False)}
    common = set.intersection(*each.values())
    if not common:
        listed = "; ".join(f"{i} has {_abbreviate(each[i])}" for i in ids)
        raise TableError(f"The runs have no scene of {chosen!r} in common: {listed}.")
    classes = _class_names(table, ids)
    names = tuple(sorted(common))
    table = table[table["scene"].isin(common)]
    cube = np.zeros((len(ids), len(names), len(classes), len(classes)))
    places = tuple(
        table[column].map({v: i for i, v in enumerate(order)}).to_numpy(dtype=int)
        for column, order in (
            ("run", ids),
            ("scene", names),
            ("truth", classes),
            ("prediction", classes),
        )
    )
    np.add.at(cube, places, table["count"].to_numpy(dtype=float))
    left_out = tuple(sorted(set.union(*each.values()) - common))
    ranked = None
    if "matched_at" in table:
        run, scene, _, prediction = places
        ranked = _rank_predictions(table, run, scene, prediction)
    return SceneMatrices(cube, tuple(ids), chosen, names, classes, left_out, ranked)


def _rank_predictions(
    table: pd.DataFrame,
    runs: NDArray[np.intp],
    scenes: NDArray[np.intp],
    class_ids: NDArray[np.intp],
) -> RankedPredictions:
    import numpy as np
    import pandas as pd

    at = np.flatnonzero(table["matched_at"].notna())
    scores = table["score"].to_numpy(dtype=float, na_value=np.nan)[at]
    # Scenes in the order of the table, which is that of the value in the table of runs.
    order = np.lexsort((pd.factorize(scenes[at])[0], -scores))
    at = at[order]
    bits = table["matched_at"].to_numpy(dtype=float, na_value=np.nan)[at].astype(np.int64)
    return RankedPredictions(runs[at], scenes[at], class_ids[at], scores[order], bits)


def scenes_with_other_truth(of: SceneMatrices) -> list[str]:
    """List scenes whose truth differs between runs: other labels, areas or cells.

    The row sums of a confusion matrix count the truth, so they are equal for runs that were scored
    on the same pixels of the same labels. Equality is necessary, not sufficient.
    """
    truth = of.labelled
    differs = (truth != truth[:1]).any(axis=(0, 2))
    return [name for name, is_other in zip(of.names, differs, strict=True) if is_other]


def _class_names(table: pd.DataFrame, ids: Sequence[str]) -> tuple[str, ...]:
    each = {i: tuple(part["truth"].unique()) for i, part in table.groupby("run", sort=False)}
    first = each[ids[0]]
    for i in ids[1:]:
        if set(each[i]) != set(first):
            raise TableError(
                f"{ids[0]} was scored over the classes {', '.join(first)}; {i} over "
                f"{', '.join(each[i])}. A metric over different classes is not the same metric."
            )
    return first


def _abbreviate(names: set[str], many: int = 6) -> str:
    shown = sorted(names)[:many]
    return ", ".join(shown) + (f" and {len(names) - many} more" if len(names) > many else "")
