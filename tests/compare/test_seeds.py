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
    assert found.loc[1, ["f1.std", "f1.ci95_low", "f1.ci95_high"]].isna().all()


def test_column_names_contain_the_level() -> None:
    found = compare.seeds(sweep(), "f1", level=0.9)
    assert {"f1.ci90_low", "f1.ci90_high"} <= set(found)
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
    assert "rv_average_f1.scenes95_low" not in found
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


def test_columns_that_are_missing_in_all_groups_are_left_out() -> None:
    assert "f1.scenes95_low" not in compare.seeds(sweep())
    single = compare.seeds(sweep().iloc[3:])
    assert not {"f1.std", "f1.ci95_low", "f1.ci95_high", "f1.scenes95_low"} & set(single)
    assert {"f1.mean", "n", "seeds", "run", "uri"} <= set(single)


@pytest.mark.parametrize("name", ["metrics.f1", "metrics.test.iou.road", "metrics.rv_average_f1"])
def test_interval_of_a_score_ends_at_0_and_1(name: str) -> None:
    runs = sweep().rename(columns={"metrics.f1": name})
    runs[name] = [0.99, 0.999, 0.97, 0.01]
    found = compare.seeds(runs, name, level=0.999)
    top = found.iloc[0]
    short = name.removeprefix("metrics.")
    assert top[f"{short}.ci99.9_high"] == 1
    assert 0 <= top[f"{short}.ci99.9_low"] < top[f"{short}.mean"]
    runs[name] = [0.001, 0.0, 0.03, 0.01]
    assert compare.seeds(runs, name)[f"{short}.ci95_low"].min() == 0


def test_interval_of_a_loss_is_not_clipped() -> None:
    runs = sweep().assign(**{"metrics.val_loss": [0.9, 3.0, 1.4, 1.0]})
    found = compare.seeds(runs, "val_loss").dropna(subset="val_loss.ci95_low").iloc[0]
    assert found["val_loss.ci95_low"] < 0 < 1 < found["val_loss.ci95_high"]


def test_settings_of_lists_and_dicts_form_groups() -> None:
    runs = sweep().iloc[[0, 1, 2, 0]].set_axis(["a", "b", "c", "d"]).rename_axis("run")
    for values in ([[0, 1], [0, 1], [0, 2], [0, 2]], [{"w": 1}, {"w": 1}, {"w": 2}, {"w": 2}]):
        column = pd.Series(values, index=runs.index, dtype=object)
        found = compare.seeds(runs.assign(**{"params.bands": column, "seed": [0, 1, 0, 1]}))
        assert found["n"].tolist() == [2, 2]
        assert found["params.bands"].tolist() == [values[0], values[2]]


def test_groups_are_those_of_a_plain_groupby() -> None:
    rng = np.random.default_rng(0)
    n = 400
    runs = pd.DataFrame(
        {
            "params.lr": rng.choice([0.1, 0.01, np.nan], n),
            "params.model": rng.choice(["a", "b"], n).astype(object),
            "seed": rng.integers(0, 9, n),
            "metrics.f1": rng.random(n),
        },
        index=pd.Index(rng.permutation([f"r{i:03d}" for i in range(n)]), name="run"),
    )
    found = compare.seeds(runs)
    keys = ["params.lr", "params.model"]
    newest = runs.sort_index().drop_duplicates([*keys, "seed"], keep="last")
    theirs = newest.groupby(keys, dropna=False)["metrics.f1"].agg(["mean", "std", "count"])
    merged = found.merge(theirs.reset_index(), on=keys)
    assert len(merged) == len(found) == len(theirs) == 6
    assert merged["f1.mean"].to_numpy() == pytest.approx(merged["mean"].to_numpy())
    assert merged["f1.std"].to_numpy() == pytest.approx(merged["std"].to_numpy())
    assert merged["n"].tolist() == merged["count"].tolist()
    assert all(text == ", ".join(sorted(text.split(", "))) for text in found["seeds"])
