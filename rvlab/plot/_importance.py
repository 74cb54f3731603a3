"""Permutation importance of parameters for a metric, by a random forest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import MissingExtra, TableError
from rvlab.frame.input_tables import RunsLike, full_metric_name, load_rows, require_columns
from rvlab.frame.params import differing_columns, format_param_value, is_numeric_column, value_key
from rvlab.plot._style import theme
from rvlab.plot._style.figure import new_figure, plot_function, text_width_chars
from rvlab.plot._style.theme import choose_theme_colors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_RUNS, MIN_RUNS_PER_PARAM = 10, 3
"""Minimum number of runs, in total and per parameter."""

REPEATS, FOLDS, TREES = 30, 5, 200
MAX_RUNS = 1000
"""Maximum number of runs for the forest; of more runs, random ones are used."""

WEAK_R2 = 0.1  # below it, the bars are not reliable
SKLEARN_HINT = "plot.importance needs scikit-learn: pip install 'rvlab[importance]'"
_NAME, _MANY = "params.", 0.3


@dataclass(frozen=True)
class _Importances:
    names: Sequence[str]
    drops: NDArray[np.float64]  # (parameters, repeats)
    r2: float
    runs: int


@overload
def importance(
    runs: RunsLike,
    metric: str = "metrics.f1",
    *,
    columns: Sequence[str] | None = None,
    seed: int = 0,
) -> Figure: ...
@overload
def importance(
    runs: RunsLike,
    metric: str = "metrics.f1",
    *,
    columns: Sequence[str] | None = None,
    seed: int = 0,
    ax: Axes,
) -> Axes: ...
@plot_function
def importance(
    runs: RunsLike,
    metric: str = "metrics.f1",
    *,
    columns: Sequence[str] | None = None,
    seed: int = 0,
    ax: Axes | None = None,
) -> Figure | Axes:
    """Draw the permutation importance of each parameter for a metric.

    A random forest predicts the metric from the parameters, with five-fold cross-validation: each
    run is predicted by a forest that was not trained on it. Then one parameter at a time is
    shuffled among the runs, 30 times. The bar is the mean drop in R² of these predictions, the
    whisker one standard deviation. The note gives the number of runs and R² before shuffling. If
    R² is near 0, the bars are not reliable. If two parameters always change together, both look
    less important than they are. Of more than 1,000 runs, 1,000 random ones are used, and the note
    says so, because more runs would take minutes.

    Source: Breiman, "Random Forests", Machine Learning 45 (2001), section 10.

    Args:
        runs: The table of runs, as ``lab.runs()`` returns it, or runs. Those without the metric are
            ignored.
        metric: The column to explain; ``f1`` is short for ``metrics.f1``.
        columns: The parameters; None uses the ``params.*`` in which the runs differ.
        seed: Random seed of the forest, the folds and the shuffling; makes the bars reproducible.
        ax: The axes; None creates a figure.

    Returns:
        A figure, which a notebook shows once as the last value of a cell; or `ax`.

    Raises:
        TableError: If a column is missing, if the metric is not numeric or the same in all runs,
            if no parameter differs, or if there are fewer than 10 runs or 3 runs per parameter,
            with which a forest fits noise.
        SpecError: If `runs` is empty.
        MissingExtra: If scikit-learn is not installed.
    """
    names = [columns] if isinstance(columns, str) else list(columns or [])
    rows = load_rows(runs)
    metric = full_metric_name(rows, metric)
    table = require_columns(rows, [metric, *names], "table of runs")
    if not is_numeric_column(table[metric]):
        raise TableError(f"{metric!r} is not numeric. Name a numeric column such as 'metrics.f1'.")
    known = table[table[metric].notna()]
    names = [n for n in names or differing_columns(known) if n != metric]
    _check(known, metric, names)
    used = known.sample(MAX_RUNS, random_state=seed) if len(known) > MAX_RUNS else known
    missing = len(table) - len(known)
    found = _permutation_importances(used, metric, names, seed)
    words = [name.removeprefix(_NAME) for name in names]
    left = 0.35 + 0.078 * max(map(text_width_chars, words))
    figure = None
    if ax is None:
        tall = _MANY * len(names) + 0.1
        foot = 0.6 + 0.16 * (1 + (found.r2 < WEAK_R2) + (missing > 0))
        width, height = left + 4.6, foot + tall + 0.4
        figure = new_figure(width, height)
        rect = (left / width, foot / height, 4.4 / width, tall / height)
        ax = figure.add_axes(rect, label="bars")
    _draw(ax, found, metric, len(known), missing, note_at=0.12 - left if figure else 0.0)
    return figure or ax


def _check(table: pd.DataFrame, metric: str, names: Sequence[str]) -> None:
    fewest = max(MIN_RUNS, MIN_RUNS_PER_PARAM * len(names))
    if len(table) < fewest:
        each = f"{MIN_RUNS_PER_PARAM} for each of the {len(names)} parameters that differ"
        raise TableError(
            f"{len(table)} runs have {metric!r}; importance needs {fewest}: at least {MIN_RUNS}, "
            f"and {each}. With fewer runs, a forest fits noise. Use plot.scatter instead."
        )
    if not names:
        raise TableError("All runs have the same parameters, so importance cannot be computed.")
    if table[metric].nunique() < 2:
        raise TableError(f"{metric!r} is {format_param_value(table[metric].iloc[0])} in all runs.")


def _permutation_importances(
    table: pd.DataFrame, metric: str, names: Sequence[str], seed: int
) -> _Importances:
    try:
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.metrics import r2_score
        from sklearn.model_selection import KFold
    except ImportError as exc:
        raise MissingExtra(SKLEARN_HINT) from exc
    blocks = [_one_hot_encode(table[name]) for name in names]
    x, y = np.hstack(blocks), table[metric].to_numpy(dtype=float)
    ends = np.cumsum([0, *(block.shape[1] for block in blocks)])
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(y)) for _ in range(REPEATS)]
    plain, shuffled = np.empty(len(y)), np.empty((len(names), REPEATS, len(y)))
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=seed)
        forest.fit(x[train], y[train])
        plain[test] = forest.predict(x[test])
        for i, (begin, end) in enumerate(pairwise(ends)):
            many = np.tile(x[test], (REPEATS, 1))
            many[:, begin:end] = np.concatenate([x[o[test], begin:end] for o in orders])
            shuffled[i][:, test] = forest.predict(many).reshape(REPEATS, -1)
    r2 = float(r2_score(y, plain))
    drops = [[r2 - r2_score(y, shuffled_y) for shuffled_y in one] for one in shuffled]
    return _Importances(names, np.asarray(drops), r2, len(y))


def _one_hot_encode(values: pd.Series[Any]) -> NDArray[np.float64]:
    """Return a column as model input: numbers unchanged, other values one-hot encoded."""
    import pandas as pd

    if is_numeric_column(values):
        plain = values.astype("float64").to_numpy(dtype=float, na_value=np.nan)
        return np.asarray(plain, float)[:, None]
    return np.asarray(
        pd.get_dummies(pd.factorize(values.map(value_key))[0]).to_numpy(dtype=float), float
    )


def _draw(
    ax: Axes, importances: _Importances, metric: str, known: int, without: int, *, note_at: float
) -> None:
    means, spread = importances.drops.mean(axis=1), importances.drops.std(axis=1, ddof=1)
    order = np.argsort(means, kind="stable")
    names = [importances.names[i].removeprefix(_NAME) for i in order]
    theme.style_axes(ax)
    theme_colors = choose_theme_colors(ax)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", color=theme_colors.faint, linewidth=0.8)
    at = np.arange(len(names))
    # Grey bars match the note that they are not reliable.
    weak = importances.r2 < WEAK_R2
    ax.barh(at, means[order], 0.62, color="#bdc1c6" if weak else theme_colors.categorical[0])
    ax.errorbar(
        means[order], at, xerr=spread[order], fmt="none", ecolor=theme_colors.tick, elinewidth=1.1
    )
    ax.axvline(0, color=theme_colors.line, linewidth=0.8)
    ax.set_yticks(at, names, fontsize=theme.TEXT_PT)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.set_title(
        metric, loc="left", fontsize=theme.TEXT_PT, fontweight="bold", color=theme_colors.text
    )
    ax.set_xlabel("drop in R² when shuffled", fontsize=theme.SMALL_PT, color=theme_colors.text)
    r2 = f"{importances.r2:.2f}".replace("-", "−")
    runs = (
        f"{importances.runs:,} of {known:,} runs, at random"
        if known > importances.runs
        else f"{known} runs"
    )
    lines = [f"{runs}; cross-validated R² {r2}. Whiskers: ± 1 sd."]
    if weak:
        lines.append("R² is near 0, so these bars are not reliable.")
    if without:
        lines.append(f"{without} {'run' if without == 1 else 'runs'} without {metric} ignored.")
    theme.write_note(ax, *lines, inches=note_at)
