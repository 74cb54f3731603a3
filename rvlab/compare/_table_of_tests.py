"""Tests of many runs against one baseline, corrected for multiple testing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvlab import frame
from rvlab.compare._significance import Test, check_test_options, compute_test
from rvlab.compare._varying import varying
from rvlab.compare.columns import drop_missing_columns, is_error
from rvlab.compare.pairing import pair_runs
from rvlab.compare.scene_matrices import load_confusion
from rvlab.compare.seed_groups import group_by_setting, split_succeeded
from rvlab.compare.truth import AnyTruth
from rvlab.errors import SpecError
from rvlab.frame.filter_runs import without_prediction_runs
from rvlab.frame.input_tables import RunsLike, load_rows, read_per_store, run_addresses, single_run
from rvlab.frame.run_names import MIN_SUFFIX_CHARS
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.metrics import Floats


def table_of_tests(
    runs: RunsLike,
    baseline: RunsLike,
    metric: str = "f1",
    *,
    group: str | None = None,
    level: float = 0.95,
    ignore: Sequence[str] = (),
    resamples: int = 9999,
    seed: int = 0,
    confusion: pd.DataFrame | None = None,
    any_truth: AnyTruth = False,
) -> pd.DataFrame:
    """Test every run against a baseline, corrected for multiple testing.

    Of twenty runs that are not better than the baseline, on average one is "significant at 5 %" by
    chance. So the verdict uses the corrected p-value of `holm`.

    Runs that differ only in their seed are tested together, as `seeds` groups them. The baseline is
    the group that contains the run `baseline`.

    Args:
        runs: The table of runs, or runs. Those that have not succeeded are left out with a warning.
        baseline: A run of the table by its id, the unique end of it, row or URI, or another run.
        metric: As for `rvlab.compare.test`, like the arguments below.
        group: The group of scenes; None selects the one of the headline metrics: ``validation``,
            else ``test``, else the first.
        level: The level of the intervals, which are not corrected; the verdict compares p with
            ``1 - level``.
        ignore: Columns in which the runs of a group may differ, see `seeds`.
        resamples: Number of resamples of the bootstrap and the permutation test.
        seed: Seed of the resampling.
        confusion: The matrices, as ``lab.confusion()`` returns them; None reads them.
        any_truth: Compare also where the truth differs: True, or the names of fingerprints whose
            differences are accepted: ``labels``, ``aois`` (areas of interest), ``grid``.

    Returns:
        Index ``run`` (the first of a group), best difference first: the parameters that differ,
        ``value baseline difference low high p p_holm effect scenes better worse n verdict
        sentence uri``; ``n`` is the number of seeds. The sentence describes the uncorrected test
        and says where the corrected verdict differs. Columns that are missing in all rows, such as
        ``low`` and ``high`` on a single scene, are left out.

    Raises:
        TableError: As `rvlab.compare.test`.
        SpecError: If the baseline does not exist, or it is the only run.
    """
    import pandas as pd

    check_test_options(level, resamples)
    runs, others = split_succeeded(without_prediction_runs(load_rows(runs)))
    if others:
        listed = f"{', '.join(others[:6])}{'…' if len(others) > 6 else ''}"
        warn_user(f"Left out, as they have not succeeded: {listed}.")
    base, groups = _baseline_and_groups(runs, baseline, ignore)
    if not groups:
        raise SpecError("There is nothing to test: the table has no run besides the baseline.")
    fingerprints = None
    if confusion is None:
        every = [run for rows in (base, *groups) for run in run_addresses(rows)]
        every = list(dict.fromkeys(every))
        confusion = load_confusion(every, metric)
        fingerprints = (
            None if any_truth is True else read_per_store(every, frame.scene_fingerprints_table)
        )
    found: list[Test] = []
    for rows in groups:
        sample = pair_runs(
            rows.drop(columns=list(ignore), errors="ignore"),
            base.drop(columns=list(ignore), errors="ignore"),
            metric,
            group=group,
            confusion=confusion,
            labels=None,
            any_truth=any_truth,
            fingerprints=fingerprints,
        )
        found.append(compute_test(sample, metric, level=level, resamples=resamples, seed=seed))
    corrected = holm([one_test.p for one_test in found])
    index = pd.Index([rows.index[0] for rows in groups], name="run")
    table = pd.DataFrame(
        [
            _test_row(t, p, len(groups), rows)
            for t, p, rows in zip(found, corrected, groups, strict=True)
        ],
        index=index,
    )
    firsts = pd.concat([rows.iloc[:1] for rows in groups])
    differ = varying(pd.concat([firsts, base.iloc[:1]])).columns
    table = drop_missing_columns(table, ["value", "baseline", "difference", "p", "p_holm"])
    table = pd.concat([firsts[list(differ)].set_axis(index), table], axis=1)
    return table.sort_values("difference", ascending=is_error(metric), kind="stable")


def holm(p: Sequence[float]) -> Floats:
    """Correct p-values for multiple testing by Holm's method (family-wise error rate).

    In ascending order, the i-th of m p-values (from 0) is multiplied by ``m - i``, is at least the
    one before it and at most 1 (Holm, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6, 1979). The method does not require independence, which
    tests against a shared baseline lack. NaN remains NaN and does not count in m.

    Args:
        p: One p-value per test.
    """
    import numpy as np

    values = np.asarray(p, dtype=float)
    out = np.full(values.shape, np.nan)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    factors = len(order) - np.arange(len(order))
    out[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return out


def _test_row(test: Test, p_holm: float, tests: int, part: pd.DataFrame) -> dict[str, Any]:
    holds = test.verdict != "cannot tell" and p_holm <= 1 - test.level
    sentence = test.sentence
    if test.verdict != "cannot tell" and not holds:
        sentence += f" Corrected for {tests} tests, p = {p_holm:.3g}: the data do not show it."
    return {
        "value": test.value_a,
        "baseline": test.value_b,
        "difference": test.difference,
        "low": test.low,
        "high": test.high,
        "p": test.p,
        "p_holm": float(p_holm),
        "effect": test.effect,
        "scenes": test.scenes,
        "better": test.better,
        "worse": test.worse,
        "n": test.runs_a,
        "verdict": test.verdict if holds else "cannot tell",
        "sentence": sentence,
        "uri": part["uri"].iloc[0],
    }


def _find_id(runs: pd.DataFrame, name: str) -> str:
    """Return the id in the index that is `name`, or the only one that ends with it."""
    ids = [str(one) for one in runs.index]
    ending = [one for one in ids if one.endswith(name)] if len(name) >= MIN_SUFFIX_CHARS else []
    found = [name] if name in ids else list(dict.fromkeys(ending))
    if len(found) > 1:
        raise SpecError(f"The ids of {len(found)} runs of the table end with {name!r}: name one.")
    if not found:
        raise SpecError(f"The table has no run {name!r} to use as the baseline.")
    return found[0]


def _baseline_and_groups(
    runs: pd.DataFrame, baseline: RunsLike, ignore: Sequence[str]
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    if isinstance(baseline, str) and "/" not in baseline:
        baseline = runs.loc[_find_id(runs, baseline)]
    run_addresses(runs)  # raises if the table is empty or has no column "uri"
    wanted = single_run(baseline, "baseline")
    groups = group_by_setting(runs, ignore)
    matching = [rows for rows in groups if wanted.uri in set(rows["uri"])]
    base = matching[0] if matching else load_rows(wanted)
    return base, [rows for rows in groups if rows is not base]
