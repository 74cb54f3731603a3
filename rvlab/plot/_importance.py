"""Which parameters a metric depends on, as far as a random forest can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import MissingExtra, TableError
from rvlab.frame.params import differing_columns, value_key
from rvlab.plot._style import theme
from rvlab.plot.titles import format_param_value, is_numeric_column, require_columns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MIN_RUNS, MIN_RUNS_PER_PARAM = 10, 3
"""Runs that it takes at least, and for each parameter."""

REPEATS, FOLDS, TREES = 30, 5, 200
SKLEARN_HINT = "plot.importance needs scikit-learn: pip install 'rvlab[importance]'"
_NAME, _MANY = "params.", 0.3


@dataclass(frozen=True)
class _Importances:
    names: Sequence[str]
    drops: NDArray[np.float64]  # (parameters, repeats)
    r2: float
    runs: int


def importance(
    runs: pd.DataFrame,
    metric: str = "metrics.f1",
    *,
    columns: Sequence[str] | None = None,
    seed: int = 0,
) -> Figure:
    """Draw a bar per parameter: how much worse a forest guesses the metric once it is shuffled.

    A random forest learns the metric from the parameters; each run is guessed by a forest that has
    not seen it (five-fold cross-validation). Then one parameter at a time is shuffled among the
    runs, 30 times; the bar is the mean drop in R² of these guesses, its whisker one standard
    deviation. The note gives the number of runs and R² before shuffling: where it is near 0, the
    forest has learnt nothing, and the bars say nothing. Of two parameters that were always changed
    together, each looks less important than it is.

    Source: Breiman, "Random Forests", Machine Learning 45 (2001), section 10.

    Args:
        runs: One row per run, as ``lab.runs()`` returns it. Those without the metric are left out.
        metric: The column to explain.
        columns: The parameters; None takes the ``params.*`` in which the runs differ.
        seed: Of the forest, the folds and the shuffling: the same table gives the same bars.

    Returns:
        A figure, shown once as the last value of a cell.

    Raises:
        TableError: If a column is missing, the metric is no number or the same in all runs, no
            parameter differs, or there are fewer than 10 runs or than 3 for each parameter: a
            forest would then explain chance.
        MissingExtra: If scikit-learn is not installed.
    """
    names = [columns] if isinstance(columns, str) else list(columns or [])
    table = require_columns(runs, [metric, *names], "table of runs")
    if table.empty:
        return theme.empty_figure("No runs yet: the table is empty.")
    if not is_numeric_column(table[metric]):
        raise TableError(f"{metric!r} holds no numbers. Name a column such as 'metrics.f1'.")
    there = table[table[metric].notna()]
    names = [n for n in names or differing_columns(there) if n != metric]
    _check(there, metric, names)
    return _draw(_measure(there, metric, names, seed), metric, len(table) - len(there))


def _check(table: pd.DataFrame, metric: str, names: Sequence[str]) -> None:
    fewest = max(MIN_RUNS, MIN_RUNS_PER_PARAM * len(names))
    if len(table) < fewest:
        each = (
            f"{MIN_RUNS_PER_PARAM} for each parameter that differs, of which there are {len(names)}"
        )
        raise TableError(
            f"{len(table)} runs have {metric!r}; importance needs {fewest}: at least {MIN_RUNS}, "
            f"and {each}. With fewer, a forest explains chance. Look at plot.scatter instead."
        )
    if not names:
        raise TableError("The runs differ in no parameter, so none can be important.")
    if table[metric].nunique() < 2:
        raise TableError(f"{metric!r} is {format_param_value(table[metric].iloc[0])} in all runs.")


def _measure(table: pd.DataFrame, metric: str, names: Sequence[str], seed: int) -> _Importances:
    try:
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.metrics import r2_score
        from sklearn.model_selection import KFold
    except ImportError as exc:
        raise MissingExtra(SKLEARN_HINT) from exc
    blocks = [_encode_column(table[name]) for name in names]
    x, y = np.hstack(blocks), table[metric].to_numpy(dtype=float)
    ends = np.cumsum([0, *(block.shape[1] for block in blocks)])
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(y)) for _ in range(REPEATS)]
    plain, shuffled = np.empty(len(y)), np.empty((len(names), REPEATS, len(y)))
    for seen, left_out in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=seed)
        forest.fit(x[seen], y[seen])
        plain[left_out] = forest.predict(x[left_out])
        for i, (begin, end) in enumerate(pairwise(ends)):
            many = np.tile(x[left_out], (REPEATS, 1))
            many[:, begin:end] = np.concatenate([x[o[left_out], begin:end] for o in orders])
            shuffled[i][:, left_out] = forest.predict(many).reshape(REPEATS, -1)
    r2 = float(r2_score(y, plain))
    drops = [[r2 - r2_score(y, guess) for guess in one] for one in shuffled]
    return _Importances(names, np.asarray(drops), r2, len(y))


def _encode_column(values: pd.Series[Any]) -> NDArray[np.float64]:
    """A column as a forest takes it: numbers as they are, of anything else one column a kind."""
    import pandas as pd

    if is_numeric_column(values):
        plain = values.astype("float64").to_numpy(dtype=float, na_value=np.nan)
        return np.asarray(plain, float)[:, None]
    return np.asarray(
        pd.get_dummies(pd.factorize(values.map(value_key))[0]).to_numpy(dtype=float), float
    )


def _draw(found: _Importances, metric: str, without: int) -> Figure:
    means, spread = found.drops.mean(axis=1), found.drops.std(axis=1, ddof=1)
    order = np.argsort(means, kind="stable")
    names = [found.names[i].removeprefix(_NAME) for i in order]
    left, tall = 0.35 + 0.078 * max(map(len, names)), _MANY * len(names) + 0.1
    width, height = left + 4.6, tall + 1.5
    made = theme.new_figure(width, height)
    ax = made.add_axes((left / width, 1.1 / height, 4.4 / width, tall / height), label="bars")
    theme.style_axes(ax)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", color=theme.FAINT, linewidth=0.8)
    at = np.arange(len(names))
    # With little learnt, bars in grey do not promise what the note takes back.
    weak = found.r2 < 0.1
    ax.barh(at, means[order], 0.62, color="#bdc1c6" if weak else theme.QUALITATIVE_COLORS[0])
    ax.errorbar(means[order], at, xerr=spread[order], fmt="none", ecolor="#202124", elinewidth=1.1)
    ax.axvline(0, color="#9aa0a6", linewidth=0.8)
    ax.set_yticks(at, names, fontsize=theme.TEXT_PT)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.set_title(metric, loc="left", fontsize=theme.TEXT_PT, fontweight="bold")
    ax.set_xlabel("drop in R² when shuffled", fontsize=theme.SMALL_PT)
    r2 = f"{found.r2:.2f}".replace("-", "−")
    lines = [f"{found.runs} runs; R² {r2} on runs the forest had not seen. Whiskers: 1 sd."]
    if weak:
        lines.append("It has learnt next to nothing: these bars tell nothing.")
    if without:
        lines.append(f"{without} {'run' if without == 1 else 'runs'} without {metric} left out.")
    note = "\n".join(lines)
    made.text(0.12 / width, 0.08 / height, note, fontsize=8.5, color=theme.GREY, va="bottom")
    return made
