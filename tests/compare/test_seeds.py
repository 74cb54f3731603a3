from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rvlab import compare, metrics
from rvlab.errors import SpecError, TableError
from tests.compare.samples import confusion, scene_matrices, table


def sweep() -> pd.DataFrame:
    f1 = {0.1: [0.70, 0.74, 0.72], 0.01: [0.6]}
    rows = {
        f"r{lr}-{seed}": {"params.lr": lr, "seed": seed, "metrics.f1": value}
        for lr, values in f1.items()
        for seed, value in enumerate(values)
    }
    return table(rows)


def test_runs_that_differ_only_in_their_seed_form_one_row() -> None:
    found = compare.seeds(sweep())
    assert found["params.lr"].tolist() == [0.1, 0.01]
    assert found["n"].tolist() == [3, 1]
    assert found["seeds"].tolist() == ["0, 1, 2", "0"]
    assert found.loc[0, "f1.mean"] == pytest.approx(0.72)
    assert found.loc[0, "f1.std"] == pytest.approx(0.02)
    theirs = stats.ttest_1samp([0.70, 0.74, 0.72], 0).confidence_interval(0.95)
    assert found.loc[0, ["f1.ci95_low", "f1.ci95_high"]].tolist() == pytest.approx(list(theirs))
    assert found.loc[1, ["f1.std", "f1.ci95_low", "f1.scenes95_low"]].isna().all()


def test_column_names_contain_the_level() -> None:
    found = compare.seeds(sweep(), "f1", level=0.9)
    assert {"f1.ci90_low", "f1.ci90_high", "f1.scenes90_low", "f1.scenes90_high"} <= set(found)
    with pytest.raises(SpecError, match=r"level must be at least .* got 90"):
        compare.seeds(sweep(), level=90)


def test_single_run_has_an_interval_over_scenes() -> None:
    runs = sweep().iloc[3:]
    cube = scene_matrices(np.random.default_rng(0), 12, (0.6,))[0]
    run = runs.index[0]
    found = compare.seeds(runs, confusion=confusion({run: cube})).iloc[0]
    assert 0 < found["f1.scenes95_low"] < metrics.macro_f1(cube.sum(axis=0))
    assert metrics.macro_f1(cube.sum(axis=0)) < found["f1.scenes95_high"] < 1
    assert found["run"] == run
    # The same values for a metric whose column names another group.
    other = runs.assign(**{"metrics.test.f1": runs["metrics.f1"]})
    again = compare.seeds(other, "test.f1", confusion=confusion({run: cube}, group="test")).iloc[0]
    assert again["test.f1.scenes95_low"] == found["f1.scenes95_low"]


def test_metric_that_needs_other_data_has_no_interval_over_scenes() -> None:
    runs = sweep().iloc[3:].assign(**{"metrics.rv_average_f1": 0.9})
    cube = scene_matrices(np.random.default_rng(0), 12, (0.6,))[0]
    found = compare.seeds(runs, "rv_average_f1", confusion=confusion({runs.index[0]: cube}))
    assert found["rv_average_f1.scenes95_low"].isna().all()
    assert found["rv_average_f1.mean"].tolist() == [0.9]


def test_repeated_seed_counts_once() -> None:
    runs = sweep()
    again = runs.iloc[[0]].rename(index={"r0.1-0": "r0.1-9"}).assign(**{"metrics.f1": 0.76})
    found = compare.seeds(pd.concat([runs, again]))
    assert found.loc[0, "n"] == 3
    assert found.loc[0, "f1.mean"] == pytest.approx((0.76 + 0.74 + 0.72) / 3)


def test_commits_form_separate_groups_unless_ignored() -> None:
    runs = sweep().iloc[:3].assign(commit=["x", "x", "y"])
    assert compare.seeds(runs)["n"].tolist() == [2, 1] or compare.seeds(runs)["n"].sum() == 3
    assert compare.seeds(runs, ignore=["commit"])["n"].tolist() == [3]


def test_parameter_seed_does_not_separate_groups() -> None:
    runs = sweep().iloc[:3].assign(**{"params.seed": [0, 1, 2]})
    assert compare.seeds(runs)["n"].tolist() == [3]


def test_unknown_metric_is_refused_and_runs_without_the_metric_do_not_count() -> None:
    runs = sweep()
    runs.loc["r0.1-1", "metrics.f1"] = np.nan
    assert compare.seeds(runs).loc[0, "n"] == 2
    with pytest.raises(TableError, match="No run has the metric 'mean_iuo'"):
        compare.seeds(runs, "mean_iuo")


def test_seeds_of_no_runs_are_an_empty_table_with_all_columns() -> None:
    found = compare.seeds(sweep().iloc[:0])
    assert found.empty
    assert "f1.ci95_low" in found
