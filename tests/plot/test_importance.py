from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from rvlab import plot
from rvlab.errors import MissingExtra, TableError

pytest.importorskip("sklearn")


def runs(n=30, *, noise=0.01, seed=0):
    """Return runs whose metric depends on lr, slightly on the model, and not on the width."""
    rng = np.random.default_rng(seed)
    lr, width = 10 ** rng.uniform(-4, -1, n), rng.choice([4, 8, 16], n)
    model = rng.choice(["unet", "fpn"], n)
    f1 = 0.6 + 0.1 * np.log10(lr / 1e-3) + 0.05 * (model == "unet") + rng.normal(0, noise, n)
    index = pd.Index([f"r{i}" for i in range(n)], name="run")
    return pd.DataFrame(
        {"params.lr": lr, "params.model": model, "params.width": width, "params.same": 1,
         "metrics.f1": f1}, index=index
    )  # fmt: skip


def bars(figure):
    ax = figure.axes[0]
    names = [t.get_text() for t in ax.get_yticklabels()]
    return dict(zip(names, [bar.get_width() for bar in ax.patches], strict=True))


def note(figure):
    return figure.axes[0].texts[0].get_text()


def test_most_important_parameter_has_the_longest_bar_at_the_top():
    table = runs()
    before = table.copy()
    figure = plot.importance(table)
    found = bars(figure)
    assert list(found) == sorted(found, key=found.get)
    assert list(found)[-2:] == ["model", "lr"]
    assert found["lr"] > 0.5
    assert abs(found["width"]) < 0.05
    assert figure.axes[0].get_title(loc="left") == "metrics.f1"
    pd.testing.assert_frame_equal(table, before)


def test_order_agrees_with_scikit_learn_permutation_importance():
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    table = runs(60)
    x = table[["params.lr", "params.width"]].assign(model=table["params.model"] == "unet")
    train, held = x.iloc[:40], x.iloc[40:]
    y = table["metrics.f1"]
    forest = RandomForestRegressor(200, min_samples_leaf=2, random_state=0).fit(train, y.iloc[:40])
    theirs = permutation_importance(forest, held, y.iloc[40:], n_repeats=10, random_state=0)
    order = [["lr", "width", "model"][i] for i in np.argsort(theirs.importances_mean)]
    ours = bars(plot.importance(table))
    assert list(ours) == order
    assert ours["lr"] == pytest.approx(theirs.importances_mean[0], rel=0.35)


def test_note_gives_number_of_runs_and_r2():
    table = runs()
    table.loc["r3", "metrics.f1"] = np.nan
    text = note(plot.importance(table))
    assert "29 runs; cross-validated R² 0." in text
    assert "1 run without metrics.f1 ignored" in text


def test_unreliable_bars_are_grey_and_noted():
    table = runs()
    table["metrics.f1"] = np.random.default_rng(5).normal(size=len(table))
    figure = plot.importance(table)
    assert "these bars are not reliable" in note(figure)
    assert {bar.get_facecolor()[:3] for bar in figure.axes[0].patches} == {
        (0xBD / 255, 0xC1 / 255, 0xC6 / 255)
    }


def test_bars_have_whiskers_and_are_reproducible():
    first, second = plot.importance(runs()), plot.importance(runs())
    (whiskers,) = [c for c in first.axes[0].collections if len(c.get_segments()) == 3]
    lengths = [segment[1, 0] - segment[0, 0] for segment in whiskers.get_segments()]
    assert min(lengths) > 0
    assert bars(first) == bars(second)
    assert bars(plot.importance(runs(), seed=1)) != bars(first)


def test_too_few_runs_raise_an_error_with_the_required_number():
    with pytest.raises(
        TableError, match=r"9 runs have 'metrics.f1'; importance needs 10: at least"
    ):
        plot.importance(runs(9))
    many = runs(10).assign(**{f"params.p{i}": np.arange(10) for i in range(2)})
    with pytest.raises(TableError, match=r"needs 15: .* 3 for each of the 5 parameters"):
        plot.importance(many)
    assert bars(plot.importance(many, columns=["params.lr", "params.width"])).keys() == {
        "lr",
        "width",
    }
    with pytest.raises(TableError, match="All runs have the same parameters"):
        plot.importance(runs()[["params.same", "metrics.f1"]])
    with pytest.raises(TableError, match=r"'metrics.f1' is 0.5 in all runs"):
        plot.importance(runs().assign(**{"metrics.f1": 0.5}))


def test_missing_parameter_values_are_allowed():
    table = runs()
    table["params.width"] = table["params.width"].astype("Int64").mask(table["params.width"] == 4)
    table.loc["r1", "params.model"] = None
    assert list(bars(plot.importance(table)))[-1] == "lr"


def test_missing_scikit_learn_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingExtra, match="pip install"):
        plot.importance(runs())


def test_missing_columns_raise_errors_with_suggestions():
    with pytest.raises(TableError, match=r"'metrics.f2'. Did you mean 'metrics.f1'"):
        plot.importance(runs(), "metrics.f2")
    with pytest.raises(TableError, match=r"'params.model' is not numeric"):
        plot.importance(runs(), "params.model")


def test_many_runs_are_sampled_and_the_note_says_so(monkeypatch):
    monkeypatch.setattr("rvlab.plot._importance.MAX_RUNS", 40)
    text = note(plot.importance(runs(60)))
    assert text.startswith("40 of 60 runs, at random; cross-validated R²")
    assert note(plot.importance(runs(60))) == text
    assert "at random" not in note(plot.importance(runs(40)))
