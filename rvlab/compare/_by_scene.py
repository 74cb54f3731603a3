"""In which scenes two runs differ, and which of them carry the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rvlab.compare.metric_functions import NULL_NAME
from rvlab.compare.pairing import pair_runs
from rvlab.compare.resolve import RunsLike, load_rows, run_addresses
from rvlab.compare.scene_matrices import load_confusion
from rvlab.model import headline_group

if TYPE_CHECKING:
    import pandas as pd


def by_scene(
    a: RunsLike,
    b: RunsLike,
    metric: str = "f1",
    *,
    group: str | None = None,
    confusion: pd.DataFrame | None = None,
    any_truth: bool = False,
) -> pd.DataFrame:
    """A metric of a and of b in each scene, those on top in which they differ most.

    A scene can differ much and count little: its own score says nothing of how many of the pixels
    are in it. So beside it stands what the scene does to the difference over all scenes. That one
    is computed from the confusion matrices summed over scenes, as `test` does it; it is no mean of
    the column ``difference``.

    Args:
        a: One run, or several that differ only in their seed; of a seed the newest counts.
        b: The same. Where both have three seeds or more in common, only those count.
        metric: ``f1`` (macro), ``mean_iou``, ``accuracy``, ``precision``, ``recall``, or of a class
            ``f1.building``, ``iou.road``.
        group: The group of scenes; None takes the one that a run's row shows: ``validation``, else
            ``test``, else the first.
        confusion: The matrices, as ``lab.confusion()`` returns them; None reads them.
        any_truth: Compare also where labels or areas of interest differ.

    Returns:
        Index ``scene``, of the scenes that all of the runs have; by the size of ``difference``,
        the largest first, undefined ones last. For the metric f1:

        * ``f1.a`` and ``f1.b``: the metric of that scene alone, the mean over the runs;
        * ``difference``: of a minus of b;
        * ``pixels``: labelled pixels of the truth (cells, of a chip classification), in a;
        * ``influence``: by how much the difference over all scenes changes if this one is left out:
          −0.03 says that without this scene a's lead would be 0.03 less. Missing where the metric
          is undefined without it, as with a single scene.

        A metric that is undefined in a scene (no road there, and none predicted) is missing.

    Raises:
        TableError: If no matrix gives the metric, a run has none, a and b have no scene in common,
            other classes, or other truth.
        SpecError: If an argument names no run, or a side has several settings.
    """
    import numpy as np
    import pandas as pd

    left, right = load_rows(a), load_rows(b)
    of = pair_runs(
        left, right, metric, group=group, confusion=confusion, labels=None, any_truth=any_truth
    )
    n, name = len(of.scenes), metric.removeprefix("metrics.")
    each = [of.metric(side).mean(axis=0) for side in (of.a, of.b)]
    whole, without = of.weighted_difference(np.ones((1, n))), of.weighted_difference(1 - np.eye(n))
    runs = run_addresses(left)
    counts = load_confusion(runs) if confusion is None else confusion
    pixels = _labelled_pixels(counts[counts["run"].isin([run.id for run in runs])], group)
    columns = {
        f"{name}.a": each[0],
        f"{name}.b": each[1],
        "difference": each[0] - each[1],
        "pixels": pixels.reindex(list(of.scenes)).to_numpy(),
        "influence": without - whole,
    }
    table = pd.DataFrame(columns, pd.Index(of.scenes, name="scene", dtype="object"))
    size = table["difference"].abs().sort_values(ascending=False, kind="stable")
    return table.loc[size.index]


def _labelled_pixels(counts: pd.DataFrame, group: str | None) -> pd.Series[Any]:
    """Labelled pixels of each scene; of runs that differ the last one's."""
    there = counts[counts["scene"].notna()]
    chosen = group or headline_group(str(g) for g in there["group"].unique())
    there = there[(there["group"] == chosen) & (there["truth"] != NULL_NAME)]
    each = there.groupby(["scene", "run"])["count"].sum()
    return each.groupby(level="scene").last()
