"""What differs between the scenes that runs were scored on: truth or images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from rvlab import frame
from rvlab.errors import RvlabError, SpecError, TableError, did_you_mean
from rvlab.frame.input_tables import read_per_store, run_addresses
from rvlab.model import headline_group

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.compare.scene_matrices import SceneMatrices

AnyTruth: TypeAlias = bool | str | Collection[str]
"""True skips every check of the truth; names of fingerprints skip the checks of these."""

TRUTH_WORDS = {"labels": "labels", "aois": "areas of interest", "grid": "pixel grids"}
"""Fingerprints of the truth of a scene, in the table ``lab.scenes()``, and their names in text."""

MAX_NAMES = 6
"""Scenes that a message lists."""


def skipped_checks(any_truth: AnyTruth) -> frozenset[str]:
    """Return the names of the fingerprints that are not compared.

    Raises:
        SpecError: If a name is not one of `TRUTH_WORDS`.
    """
    if isinstance(any_truth, bool):
        return frozenset(TRUTH_WORDS if any_truth else ())
    names = [any_truth] if isinstance(any_truth, str) else list(any_truth)
    for name in names:
        if name not in TRUTH_WORDS:
            raise SpecError(
                f"any_truth must be True, False or some of {', '.join(TRUTH_WORDS)}, got {name!r}. "
                f"{did_you_mean(str(name), TRUTH_WORDS)}"
            )
    return frozenset(names)


def scene_differences(
    fingerprints: pd.DataFrame, runs: Sequence[str], group: str, scenes: Collection[str]
) -> dict[str, list[str]]:
    """Return the scenes in which runs differ, by fingerprint: image, labels, aois, grid.

    Runs of an earlier version have no fingerprint of the grid. There, scenes with other images
    count as scenes with other grids.

    Args:
        fingerprints: ``run group scene image labels aois grid``, as ``lab.scenes()`` returns it.
            Runs without fingerprints are skipped.
        runs: The ids of the runs.
        group: The group of scenes.
        scenes: The scenes.
    """
    table = fingerprints[
        fingerprints["run"].isin(runs)
        & (fingerprints["group"] == group)
        & fingerprints["scene"].isin(scenes)
    ]
    if "grid" not in table:
        table = table.assign(grid=None)
    by_scene = table.groupby("scene")
    columns = ["image", *TRUTH_WORDS]
    differ = by_scene[columns].nunique(dropna=False) > 1
    unknown = table["grid"].isna().groupby(table["scene"]).any()
    differ["grid"] = differ["grid"].where(~unknown, differ["image"])
    return {name: [str(scene) for scene in differ.index[differ[name]]] for name in columns}


def require_same_truth(
    found: SceneMatrices,
    other_counts: Sequence[str],
    other_files: Mapping[str, Sequence[str]],
    skipped: Collection[str],
) -> None:
    """Raise if runs were scored on different truth; see `scene_differences`.

    Args:
        found: The scenes.
        other_counts: Scenes in which the counts of true pixels differ.
        other_files: Scenes by fingerprint.
        skipped: Fingerprints whose differences are accepted. They may change the counts as well.

    Raises:
        TableError: With the scenes and what differs in them.
    """
    parts = {TRUTH_WORDS[n]: other_files.get(n, []) for n in TRUTH_WORDS if n not in skipped}
    if not skipped:
        parts["counts of true pixels"] = other_counts
    parts = {word: scenes for word, scenes in parts.items() if scenes}
    if not parts:
        return
    scenes = sorted({scene for each in parts.values() for scene in each})
    raise TableError(
        f"These runs were not scored on the same truth in {len(scenes)} of {len(found.names)} "
        f"scenes: {abbreviate_scenes(scenes)}. Different are: {describe_differences(parts)}. A "
        "difference of the metric would say nothing about the models. any_truth=True compares them "
        "nevertheless, and any_truth=['aois'] accepts other areas only; lab.scenes() shows the "
        "fingerprints."
    )


def describe_differences(parts: Mapping[str, Sequence[str]]) -> str:
    """Return the names of what differs, each with its scenes, as text."""
    return ", ".join(f"{word} ({abbreviate_scenes(scenes)})" for word, scenes in parts.items())


def describe_sets(runs: pd.DataFrame, column: str) -> str:
    """Return a sentence about what differs between the two most frequent evaluation sets.

    One run of each is read. The result is empty if the fingerprints cannot be read.

    Args:
        runs: The table of runs.
        column: ``eval_set``, or the column of another group, such as ``eval_set.test``.
    """
    known = runs[runs[column].notna()]
    kinds = known[column].value_counts().index[:2]
    try:
        two = [run_addresses(known[known[column] == kind].iloc[:1])[0] for kind in kinds]
        table = read_per_store(two, frame.scene_fingerprints_table)
    except RvlabError:
        return ""
    if len(two) < 2 or table["run"].nunique() < 2:
        return ""
    group = column.partition(".")[2] or headline_group(sorted(table["group"].unique()))
    table = table[table["group"] == group]
    first, second = (set(table.loc[table["run"] == run.id, "scene"]) for run in two)
    differ = scene_differences(table, [run.id for run in two], group, first & second)
    parts = {TRUTH_WORDS[name]: differ[name] for name in TRUTH_WORDS if differ[name]}
    if alone := sorted(map(str, first ^ second)):
        parts = {"the scenes": alone, **parts}
    if not parts:
        return "They differ in their classes or in the way in which pixels were counted."
    return f"{two[0].id} and {two[1].id} differ in {describe_differences(parts)}."


def abbreviate_scenes(names: Sequence[str]) -> str:
    """Return the first scenes, and an ellipsis if there are more."""
    return ", ".join(names[:MAX_NAMES]) + ("…" if len(names) > MAX_NAMES else "")
