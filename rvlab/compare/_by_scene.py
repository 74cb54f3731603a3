"""The difference of two runs, scene by scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rvlab.compare.columns import drop_missing_columns
from rvlab.compare.metric_functions import is_object_metric
from rvlab.compare.pairing import pair_runs
from rvlab.compare.truth import AnyTruth
from rvlab.frame.input_tables import RunsLike, load_rows

if TYPE_CHECKING:
    import pandas as pd


def by_scene(
    a: RunsLike,
    b: RunsLike,
    metric: str = "f1",
    *,
    group: str | None = None,
    confusion: pd.DataFrame | None = None,
    any_truth: AnyTruth = False,
) -> pd.DataFrame:
    """Compare a metric of a and b in each scene, the largest difference first.

    A scene with a large difference may have few pixels and so little weight. The column
    ``influence`` shows the effect of a scene on the difference over all scenes. That difference is
    computed from all scenes together, as in `test`; it is not the mean of the column
    ``difference``.

    Args:
        a: One run, or several that differ only in their seed; of each seed the newest run counts.
        b: The same. If both have three or more seeds in common, only those count.
        metric: As for `rvlab.compare.test`.
        group: The group of scenes; None selects the one of the headline metrics: ``validation``,
            else ``test``, else the first.
        confusion: The matrices, as ``lab.confusion()`` returns them; None reads them.
        any_truth: Compare also where the truth differs: True, or the names of fingerprints whose
            differences are accepted: ``labels``, ``aois`` (areas of interest), ``grid``.

    Returns:
        Index ``scene``, of the scenes that all runs have, sorted by the absolute ``difference``,
        the largest first, undefined ones last. For the metric f1:

        * ``f1.a`` and ``f1.b``: the metric of this scene alone, the mean over the runs;
        * ``difference``: the value of a minus the value of b;
        * ``pixels``: labelled pixels of the truth in a (cells, in a chip classification); for
          ``boundary_iou`` those near contours; for a metric of objects, ``objects``: its true
          objects;
        * ``influence``: the change of the difference over all scenes if this scene is left out:
          −0.03 means that without this scene a's lead is 0.03 smaller. Missing where the metric is
          undefined without the scene; with a single scene the column is left out.

        A metric that is undefined in a scene (no road in the truth or the prediction) is missing.

    Raises:
        TableError: If the metric cannot be computed from confusion matrices, a run has none, or a
            and b have no scene in common, different classes or different truth.
        SpecError: If an argument contains no run, or a side has several settings.
    """
    import numpy as np
    import pandas as pd

    left, right = load_rows(a), load_rows(b)
    sample = pair_runs(
        left, right, metric, group=group, confusion=confusion, labels=None, any_truth=any_truth
    )
    n, name = len(sample.scenes), metric.removeprefix("metrics.")
    scene_values = [
        sample.weighted_scores(side, np.eye(n)).mean(axis=0) for side in (sample.a, sample.b)
    ]
    total, without = (
        sample.weighted_difference(np.ones((1, n))),
        sample.weighted_difference(1 - np.eye(n)),
    )
    labelled = "objects" if is_object_metric(metric) else "pixels"
    columns = {
        f"{name}.a": scene_values[0],
        f"{name}.b": scene_values[1],
        "difference": scene_values[0] - scene_values[1],
        labelled: sample.labelled,
        "influence": without - total,
    }
    table = pd.DataFrame(columns, pd.Index(sample.scenes, name="scene", dtype="object"))
    size = table["difference"].abs().sort_values(ascending=False, kind="stable")
    table = table.loc[size.index]
    return drop_missing_columns(table, [*table.columns[:3], labelled])
