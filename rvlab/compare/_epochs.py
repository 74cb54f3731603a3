"""The best epoch, duration and overfitting of each training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rvlab.compare.columns import drop_missing_columns
from rvlab.frame.best_epoch import best_index, lower_is_better
from rvlab.frame.input_tables import RunsLike, load_long_table, require_columns
from rvlab.frame.tables import history_table

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_METRICS = ("val_loss", "mAP")
"""Default metrics; the first that the history has is used. A detector logs no validation loss."""

_NAN = float("nan")


def epochs(
    runs: RunsLike, metric: str | None = None, *, ascending: bool | None = None
) -> pd.DataFrame:
    """Return the best epoch, the epoch time and the overfit gap of each run.

    >>> board.join(compare.epochs(board)).sort_values("overfit_gap")

    **Epochs count from 0**, so the last of ``epochs = 12`` is 11.

    **overfit_gap** is the rise of the validation loss after its minimum: ``val_loss`` of the last
    epoch minus its smallest value. 0 means that the last epoch was the best, and more epochs may
    help. Raster Vision saves the weights of the last epoch, so the gap is a loss in the model.
    It is E_va(last) − E_opt of Prechelt, "Early stopping, but when?" (1998), whose generalization
    loss is the same as a percentage of E_opt. With few validation scenes the loss varies from epoch
    to epoch, and a single high last epoch gives a gap: check the curve.

    It is *not* ``val_loss − train_loss``. Raster Vision logs both as the mean of the same loss over
    batches, but under different conditions. ``train_loss`` is in training mode (dropout, batch
    statistics), over augmented chips, while the weights still change, so it lags by half an epoch.
    ``val_loss`` is in evaluation mode, at the end of the epoch, over other chips. One is often
    above the other without any overfitting. The gap compares one series with itself.

    Args:
        runs: Runs, whose history is read; or the history itself, ``run epoch`` and the columns of
            Raster Vision's log, as ``lab.history()`` returns it.
        metric: The series that determines the best epoch; None selects ``val_loss``, or ``mAP`` for
            a detection. Raster Vision logs no macro F1: its ``avg_f1`` weights classes by their
            pixels; ``road_f1`` is the F1 of one class.
        ascending: Whether less is better; None means yes for losses and times, else no.

    Returns:
        Index ``run``, in the order of the table, so that it joins with the table of runs. For the
        metric val_loss:

        * ``epochs``: the number of epochs;
        * ``best_epoch``, ``best.val_loss``: the first of the best epochs, and its value;
        * ``last.val_loss``: the value of the last epoch;
        * ``epoch_s``: median seconds of an epoch, training and validation; the first epoch is often
          slow;
        * ``train_s``: seconds of all epochs together;
        * ``overfit_gap``: see above, always of ``val_loss``.

        A value is missing where the log lacks it, or at an epoch whose loss was NaN. The last four
        columns are left out if all runs lack them: without a validation, or for a detector's loss.

    Raises:
        TableError: If the history lacks a required column.
        SpecError: If `runs` is empty.
    """
    import pandas as pd

    table = load_long_table(runs, history_table, ["run", "epoch"], "history")
    if metric and len(table):
        table = require_columns(table, [metric], "history")
    name = metric or next((one for one in DEFAULT_METRICS if one in table), DEFAULT_METRICS[0])
    least = lower_is_better(name) if ascending is None else ascending
    each = table.sort_values("epoch", kind="stable").groupby("run", sort=False)
    found = {run: _epoch_row(rows, name, least) for run, rows in each}
    dtypes: dict[str, Any] = {
        "epochs": "int64",
        "best_epoch": "Int64",
        f"best.{name}": "float64",
        f"last.{name}": "float64",
        "epoch_s": "float64",
        "train_s": "float64",
        "overfit_gap": "float64",
    }
    order = pd.Index(table["run"].unique(), name="run", dtype="object")
    rows = [dict(zip(dtypes, found[run], strict=True)) for run in order]
    table = pd.DataFrame(rows, order, columns=list(dtypes)).astype(dtypes)
    return drop_missing_columns(table, list(dtypes)[:3])


def _epoch_row(rows: pd.DataFrame, name: str, least: bool) -> tuple[Any, ...]:
    import pandas as pd

    values = _metric_series(rows, name)
    best_at = best_index(values, minimize=least)
    seconds = (
        _metric_series(rows, "train_time_s") + _metric_series(rows, "valid_time_s").fillna(0)
    ).dropna()
    loss = _metric_series(rows, "val_loss")
    return (
        len(rows),
        pd.NA if best_at is None else int(rows["epoch"].iloc[best_at]),
        _NAN if best_at is None else float(values.iloc[best_at]),
        float(values.iloc[-1]),
        float(seconds.median()) if len(seconds) else _NAN,
        float(seconds.sum(min_count=1)),
        float(loss.iloc[-1] - loss.min()),
    )


def _metric_series(rows: pd.DataFrame, name: str) -> pd.Series[Any]:
    import pandas as pd

    if name not in rows:
        return pd.Series(_NAN, index=rows.index, dtype="float64")
    return rows[name].astype("float64")
