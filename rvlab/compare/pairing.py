"""Paired samples of a test: a and b over the same scenes and, if possible, the same seeds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from rvlab import frame
from rvlab.compare.scene_matrices import (
    align_scenes,
    load_confusion,
    scenes_with_other_truth,
)
from rvlab.compare.seed_groups import newest_per_seed, split_succeeded
from rvlab.compare.truth import (
    TRUTH_WORDS,
    AnyTruth,
    abbreviate_scenes,
    require_same_truth,
    scene_differences,
    skipped_checks,
)
from rvlab.compare.weighted_metric import WeightedMetric, weighted_metric
from rvlab.errors import SpecError
from rvlab.frame.input_tables import RunsLike, load_rows, read_per_store, run_addresses
from rvlab.frame.params import differing_columns, param_columns, run_labels

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.metrics import Floats

MIN_PAIRED_SEEDS = 3
"""The smallest number of common seeds for pairing by seed. Two differences leave one degree of
freedom: in simulations a nominal 95 % interval covered 86 to 89 % paired, 92 to 98 % unpaired."""


@dataclass(frozen=True)
class PairedSample:
    """Scores of a and b over the scenes that all runs have.

    Attributes:
        metric: The metric as a function of weights of scenes.
        a: Places of the runs of a in `metric`.
        b: Places of the runs of b.
        scenes: The scenes' names.
        same_seeds: Whether run i of a has the seed of run i of b.
        labels: Labels of a and b.
        notes: Sentences about runs and scenes that were left out.
        group: The group of scenes.
        labelled: Labelled pixels, cells or objects of each scene, as the last run of a has them.
    """

    metric: WeightedMetric
    a: tuple[int, ...]
    b: tuple[int, ...]
    scenes: tuple[str, ...]
    same_seeds: bool
    labels: tuple[str, str]
    notes: tuple[str, ...]
    group: str = ""
    labelled: tuple[int, ...] = ()

    def weighted_difference(self, weights: Floats) -> Floats:
        """Return the difference under weights of scenes: ``(B, n)`` to ``(B,)``."""
        a, b = (self.weighted_scores(side, weights) for side in (self.a, self.b))
        # If one run's metric is undefined, so is the mean: skipping it would compare other runs.
        found: Floats = a.mean(axis=0) - b.mean(axis=0)
        return found

    def swapped_difference(self, mask: Floats) -> Floats:
        """Return the difference with scenes exchanged where the mask is 1: ``(B, n)`` to ``(B,)``.

        All runs of a side are exchanged together, since a hard scene is hard for all of them.
        """
        import numpy as np

        # The first half weights the sample in place of a: scenes of a where the mask is 0, scenes
        # of b where it is 1. The second half weights the sample in place of b.
        weights_a, weights_b = np.concatenate([1 - mask, mask]), np.concatenate([mask, 1 - mask])
        # Without common seeds every run of a can be exchanged with every run of b.
        pairs = zip(self.a, self.b, strict=True) if self.same_seeds else product(self.a, self.b)
        values = [self.metric.compute((x, weights_a), (y, weights_b)) for x, y in pairs]
        means = np.mean(values, axis=0)
        found: Floats = means[: len(mask)] - means[len(mask) :]
        return found

    def weighted_scores(self, side: tuple[int, ...], weights: Floats) -> Floats:
        """Return the metric of each run of a side under weights of scenes, ``(runs, B)``."""
        import numpy as np

        return np.stack([self.metric.compute((run, weights)) for run in side])

    def metric_values(self) -> tuple[Floats, Floats]:
        """Return the metric of each run of a and of b over all scenes."""
        import numpy as np

        every = np.ones((1, len(self.scenes)))
        return self.weighted_scores(self.a, every)[:, 0], self.weighted_scores(self.b, every)[:, 0]


def pair_runs(
    a: RunsLike,
    b: RunsLike,
    metric: str,
    *,
    group: str | None,
    confusion: pd.DataFrame | None,
    labels: tuple[str, str] | None,
    any_truth: AnyTruth,
    fingerprints: pd.DataFrame | None = None,
) -> PairedSample:
    """Pair the runs of a and b; arguments and errors as for `rvlab.compare.test`.

    Args:
        a: One side.
        b: The other.
        metric: The metric.
        group: The group of scenes.
        confusion: The matrices; None reads them.
        labels: Labels of a and b.
        any_truth: Compare also where labels, areas of interest or pixel grids differ; see
            `rvlab.compare.test`.
        fingerprints: Fingerprints of the scored scenes, as ``lab.scenes()`` returns them. None
            reads them, unless `confusion` is given and the tables show no different evaluation set.
    """
    skipped = skipped_checks(any_truth)
    tables, omitted = [], []
    for side, word in ((a, "a"), (b, "b")):
        given = load_rows(side)
        succeeded, others = split_succeeded(given)
        # If no run succeeded, a later check reports what they lack.
        tables.append(_require_one_setting(succeeded if len(succeeded) else given, word))
        omitted += others if len(succeeded) else []
    left, right, same_seeds, notes = _pair_seeds(*tables)
    if omitted:
        notes.append(f"Left out, as they have not succeeded: {', '.join(omitted)}.")
    runs = [run_addresses(side) for side in (left, right)]
    every = list(dict.fromkeys([*runs[0], *runs[1]]))
    found = align_scenes(
        load_confusion(every, metric) if confusion is None else confusion, every, group
    )
    function = weighted_metric(found, metric)
    checks_files = len(skipped) < len(TRUTH_WORDS)
    if fingerprints is None and (
        checks_files and (confusion is None or _eval_sets_differ(left, right))
    ):
        fingerprints = read_per_store(every, frame.scene_fingerprints_table)
    files: dict[str, list[str]] = {}
    if fingerprints is not None:
        files = scene_differences(fingerprints, found.runs, found.group, found.names)
    require_same_truth(found, scenes_with_other_truth(found), files, skipped)
    if seen := files.get("image"):
        notes.append(
            f"The images differ in {len(seen)} of {len(found.names)} scenes "
            f"({abbreviate_scenes(seen)}), the truth does not."
            if not any(files[name] for name in TRUTH_WORDS)
            else f"The images differ in {len(seen)} of {len(found.names)} scenes."
        )
    if found.omitted:
        shown = abbreviate_scenes(found.omitted)
        notes.append(f"Not all runs have these scenes, so they are left out: {shown}.")
    places = {run: i for i, run in enumerate(every)}
    ours, theirs = (tuple(places[run] for run in side) for side in runs)
    return PairedSample(
        metric=function,
        a=ours,
        b=theirs,
        scenes=found.names,
        same_seeds=same_seeds,
        labels=labels or _side_labels(left, right),
        notes=tuple(notes),
        group=found.group,
        labelled=tuple(found.labelled[ours[-1]].sum(axis=-1).astype(int)),
    )


def _require_one_setting(side: pd.DataFrame, word: str) -> pd.DataFrame:
    """Return the runs of a side, one per seed; raise SpecError if they are not one setting."""
    names = [c for c in ("recipe", *param_columns(side)) if c in side and c != "params.seed"]
    differ = differing_columns(side, names)
    if differ:
        raise SpecError(
            f"The runs of {word} differ in more than their seed: {', '.join(differ)}. A side must "
            "be one setting; table_of_tests tests several against a baseline."
        )
    return newest_per_seed(side)


def _pair_seeds(
    a: pd.DataFrame, b: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, bool, list[str]]:
    """Reduce both sides to their common seeds if there are three or more."""
    if any("seed" not in t or t["seed"].isna().any() for t in (a, b)):
        return a, b, False, []
    common = set(a["seed"]) & set(b["seed"])
    if len(common) < MIN_PAIRED_SEEDS:
        return a, b, False, []
    odd = sorted((set(a["seed"]) | set(b["seed"])) - common)
    notes = [
        f"Runs with the seed{'s' * (len(odd) > 1)} {', '.join(map(str, odd))} are left out: "
        "only one side has them."
    ]
    paired = [t[t["seed"].isin(common)] for t in (a, b)]
    return paired[0], paired[1], True, notes if odd else []


def _eval_sets_differ(*tables: pd.DataFrame) -> bool:
    """Return whether a column ``eval_set`` shows that runs were scored on different sets."""
    columns = {c for t in tables for c in t if str(c).partition(".")[0] == "eval_set"}
    sets = [{v for t in tables if c in t for v in t[c].dropna()} for c in columns]
    return any(len(found) > 1 for found in sets)


def _side_labels(a: pd.DataFrame, b: pd.DataFrame) -> tuple[str, str]:
    """Return the labels of both sides: their differing parameters, else their runs' names or ids.

    Several runs of a side differ only in their seed; they are ``a`` or ``b`` if the sides do not
    differ.
    """
    import pandas as pd

    firsts = pd.concat([side.iloc[:1] for side in (a, b)])
    firsts = firsts.drop(columns=["seed", "params.seed"], errors="ignore")
    firsts = firsts.assign(run=[run_addresses(side)[0].id for side in (a, b)])
    labels = run_labels(firsts, equals="=", short_ids=False)
    apart = differing_columns(firsts)
    out = []
    for side, run, word in zip((a, b), firsts["run"], "ab", strict=True):
        text = ", ".join(labels[run]) if apart or len(side) == 1 else word
        out.append(text + (f" ({len(side)} runs)" if len(side) > 1 else ""))
    return out[0], out[1]
