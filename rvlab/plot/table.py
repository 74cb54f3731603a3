"""What a plot asks of a table: its columns, and which of them tell runs apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rvlab.frame.asked import with_columns

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["is_number", "short", "titles", "with_columns"]


def is_number(values: pd.Series[Any]) -> bool:
    """Whether a column holds numbers that have an order worth a color scale or an axis."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return bool(is_numeric_dtype(values)) and not bool(is_bool_dtype(values))


def short(value: Any) -> str:
    """A parameter's value in a title or legend: ``0.001``, ``resnet18``, ``–`` for none."""
    import pandas as pd

    if isinstance(value, bool):
        return str(value)
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return "–"
    if isinstance(value, str):
        return value if len(value) <= 28 else f"{value[:27]}…"
    try:
        return f"{value:.4g}"
    except (TypeError, ValueError):
        return short(str(value))


def titles(runs: pd.DataFrame, label: str | None = None, *, most: int = 4) -> list[list[str]]:
    """What tells each run from the others, in lines.

    Args:
        runs: One row per run, with a column ``run``.
        label: A column to use; None takes the ``params.*`` in which the runs differ.
        most: Lines of parameters at most.

    Returns:
        For each run its lines, such as ``["lr = 0.01", "width = 8"]``, and its ``seed``, if the
        table has it, where two would be called the same; the end of its id, where they still are;
        its id, where the runs do not differ.
    """
    ids = [str(run) for run in runs["run"]]
    columns = [label] if label else _differing(runs)
    shown = columns[:most]
    out = [[_line(name, runs[name].iloc[i]) for name in shown] for i in range(len(runs))]
    if len(columns) > most:
        out = [[*lines, f"and {len(columns) - most} more"] for lines in out]
    seeds = runs["seed"].map(short).tolist() if "seed" in runs and not label else []
    if len(set(seeds)) > 1 and any(out.count(lines) > 1 for lines in out):
        out = [[*lines, f"seed = {seed}"] for lines, seed in zip(out, seeds, strict=True)]
    return [
        [run] if not lines else [*lines, run.rsplit("-", 1)[-1]] if out.count(lines) > 1 else lines
        for run, lines in zip(ids, out, strict=True)
    ]


def _differing(runs: pd.DataFrame) -> list[str]:
    names = [c for c in runs.columns if str(c).startswith("params.")]
    return [c for c in names if runs[c].map(short).nunique() > 1]


def _line(name: str, value: Any) -> str:
    if name.startswith("params."):
        return f"{name.removeprefix('params.')} = {short(value)}"
    return short(value)
