from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.lib.pretty import pretty

from rvlab import compare
from rvlab.errors import SpecError, TableError
from tests.compare.samples import confusion, scene_matrices, table


def sweep(scenes: int = 12) -> tuple[pd.DataFrame, pd.DataFrame]:
    skills = {"base": 0.5, "equal": 0.5, "good": 1.6, "bad": -0.6}
    cubes = scene_matrices(np.random.default_rng(2), scenes, list(skills.values()))
    rows = {run: {"params.lr": i} for i, run in enumerate(skills)}
    return table(rows), confusion(dict(zip(skills, cubes, strict=True)))


def test_every_run_is_tested_against_the_baseline_best_first() -> None:
    runs, matrices = sweep()
    found = compare.table_of_tests(runs, "base", confusion=matrices, resamples=4999)
    assert list(found.index) == ["good", "equal", "bad"]
    assert found["verdict"].tolist() == ["better", "cannot tell", "worse"]
    assert (found["p_holm"] >= found["p"]).all()
    assert found.loc["good", "p_holm"] == pytest.approx(3 * found.loc["good", "p"])
    assert found["params.lr"].tolist() == [2, 1, 3]
    single = compare.test(runs.loc["good"], runs.loc["base"], confusion=matrices, resamples=4999)
    assert found.loc["good", "sentence"] == single.sentence
    assert found["uri"].notna().all()


def test_single_significance_may_not_survive_the_correction() -> None:
    """With six scenes the smallest p is 0.031, too large for three tests."""
    runs, matrices = sweep(6)
    found = compare.table_of_tests(runs, runs.loc["base"], confusion=matrices, resamples=999)
    assert found.loc["good", "p"] < 0.05 < found.loc["good", "p_holm"]
    assert (found["verdict"] == "cannot tell").all()
    why = "Corrected for 3 tests, p = 0.0938: the data do not show it."
    assert found.loc["good", "sentence"].endswith(why)


def test_columns_without_a_value_are_left_out_on_a_single_scene() -> None:
    runs, matrices = sweep(1)
    found = compare.table_of_tests(runs, "base", confusion=matrices, resamples=999)
    assert not {"low", "high", "effect"} & set(found)
    assert {"value", "baseline", "difference", "p", "p_holm", "scenes"} <= set(found)


def test_runs_that_have_not_succeeded_are_left_out_with_a_warning() -> None:
    runs, matrices = sweep()
    runs["state"] = ["succeeded", "succeeded", "failed", "running"]
    with pytest.warns(UserWarning, match=r"as they have not succeeded: good, bad\.$"):
        found = compare.table_of_tests(runs, "base", confusion=matrices, resamples=999)
    assert list(found.index) == ["equal"]


def test_seeds_are_tested_together() -> None:
    cubes = scene_matrices(np.random.default_rng(2), 8, (0.5, 0.52, 1.4, 1.42))
    rows = {f"r{lr}{s}": {"params.lr": lr, "seed": s} for lr in (1, 2) for s in (0, 1)}
    runs, matrices = table(rows), confusion(dict(zip(rows, cubes, strict=True)))
    found = compare.table_of_tests(runs, "r11", confusion=matrices, resamples=999)
    assert list(found.index) == ["r20"]
    assert found["n"].tolist() == [2]


def test_ignored_parameter_does_not_separate_seeds() -> None:
    cubes = scene_matrices(np.random.default_rng(2), 8, (0.5, 0.52, 1.4, 1.42))
    rows = {
        f"r{lr}{s}": {"params.lr": lr, "params.port": s, "seed": s} for lr in "xy" for s in "01"
    }
    runs, matrices = table(rows), confusion(dict(zip(rows, cubes, strict=True)))
    found = compare.table_of_tests(
        runs, "rx1", ignore=["params.port"], confusion=matrices, resamples=999
    )
    assert found["n"].tolist() == [2]


def test_missing_or_only_baseline_is_refused() -> None:
    runs, matrices = sweep()
    with pytest.raises(SpecError, match="no run 'bsae' to use as the baseline"):
        compare.table_of_tests(runs, "bsae", confusion=matrices)
    twins = runs.rename({name: f"{name}-xbase" for name in runs.index[:2]})
    with pytest.raises(SpecError, match="ids of 2 runs of the table end with 'xbase'"):
        compare.table_of_tests(twins, "xbase", confusion=matrices)
    with pytest.raises(SpecError, match="no run besides the baseline"):
        compare.table_of_tests(runs.loc[["base"]], "base", confusion=matrices)


def test_table_without_uris_is_refused() -> None:
    runs, matrices = sweep()
    with pytest.raises(TableError, match=r"no column 'uri': keep it when you choose columns"):
        compare.table_of_tests(runs.drop(columns="uri"), "/store/towns/base", confusion=matrices)


def test_holm_agrees_with_a_worked_example() -> None:
    """The expected values are those of R's ``p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")``."""
    np.testing.assert_allclose(compare.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(compare.holm([0.5, np.nan, 0.6]), [1, np.nan, 1])
    assert len(compare.holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_preserves_the_order_and_is_between_uncorrected_and_bonferroni(p: list[float]) -> None:
    found = compare.holm(p)
    assert (found >= p).all()
    assert (found <= np.minimum(1, np.array(p) * len(p)) + 1e-12).all()
    assert (np.diff(found[np.argsort(p, kind="stable")]) >= 0).all()


def run_gate(skills: tuple[float, float], margin: float, scenes: int = 12) -> compare.Gate:
    cubes = scene_matrices(np.random.default_rng(2), scenes, skills, spread=0.1)
    runs = table({"new": {}, "old": {}})
    matrices = confusion({"new": cubes[0], "old": cubes[1]})
    return compare.gate(
        runs.loc["new"], runs.loc["old"], margin=margin, confusion=matrices, resamples=999
    )


@pytest.mark.parametrize(
    ("skills", "margin", "verdict"),
    [
        ((1.2, 0.5), 0.0, "passes"),
        ((0.5, 1.2), 0.0, "fails"),
        ((0.5, 0.5), 0.0, "cannot tell"),
        ((0.5, 0.5), 0.05, "passes"),
        ((0.45, 0.5), 0.2, "passes"),
        ((0.5, 1.2), 0.02, "fails"),
        ((1.2, 0.5), -0.5, "fails"),
    ],
)
def test_gate_passes_a_candidate_within_the_margin(
    skills: tuple[float, float], margin: float, verdict: str
) -> None:
    found = run_gate(skills, margin)
    assert found.verdict == verdict
    assert "the candidate" in str(found).lower()


def test_gate_gives_no_verdict_for_few_scenes() -> None:
    found = run_gate((3.0, -1.0), 0.0, scenes=5)
    assert found.verdict == "cannot tell"
    assert "do not show whether the candidate passes a margin of 0 macro F1" in found.sentence
    assert "this test cannot be significant" in found.sentence
    html = found._repr_html_()
    assert "<p>The data do not show whether" in html
    assert 'rvlab-none">cannot tell</span>' in html
    assert pretty(found) == found.sentence


@pytest.mark.parametrize("margin", ["1%", float("nan"), float("inf"), None])
def test_invalid_margin_is_refused(margin: Any) -> None:
    with pytest.raises(SpecError, match=r"margin must be a finite number such as 0\.01, got"):
        run_gate((1.2, 0.5), margin)
