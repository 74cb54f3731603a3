"""What each training came to: its best epoch, its time, and whether it went on for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rvlab.frame.best_epoch import best_index, lower_is_better
from rvlab.frame.validate import require_columns

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_METRICS = ("val_loss", "mAP")
"""Taken by default, the first that the history has: a detector logs no loss of its validation."""

_NAN = float("nan")


def epochs(
    history: pd.DataFrame, metric: str | None = None, *, ascending: bool | None = None
) -> pd.DataFrame:
    """A row per run: its best epoch, the time that an epoch took, and what the last ones cost.

    >>> runs.join(compare.epochs(lab.history(runs))).sort_values("overfit_gap")

    **Epochs count from 0**, so that of ``epochs = 12`` the last one is 11.

    **overfit_gap** is how far the validation loss has risen again at the end: ``val_loss`` of the
    last epoch minus the least that it ever was. 0 says that the last epoch was the best one, and
    more epochs might help; Raster Vision keeps the weights of the last epoch, so what is lost by
    the gap is lost in the model. It is E_va(last) − E_opt of Prechelt, "Early stopping, but when?"
    (1998), whose generalization loss is the same as a percentage of E_opt. The loss of a
    validation on few scenes jumps from epoch to epoch, and one high last epoch is a gap, too: look
    at the curve.

    It is *not* ``val_loss − train_loss``. Raster Vision logs both as the mean over batches of the
    same loss, but of other things: ``train_loss`` in training mode (dropout, statistics of the
    batch), over augmented chips, while the weights still change, so that it lags by half an
    epoch; ``val_loss`` in evaluation mode, at the epoch's end, over other chips. Often the one is
    above the other with no overfitting at all. The gap compares one series with itself.

    Args:
        history: ``run epoch``, then the columns of Raster Vision's log, as ``lab.history()``
            returns it.
        metric: The series of which the best epoch is to be told; None takes ``val_loss``, or
            ``mAP`` of a detection. Raster Vision logs no macro F1: its ``avg_f1`` weights classes
            by their pixels; ``road_f1`` is that of a class.
        ascending: Whether less is better; None says so of losses and of times.

    Returns:
        Index ``run``, in the order of the table, so that it joins with the table of runs. Here for
        the metric val_loss:

        * ``epochs``: how many there are;
        * ``best_epoch``, ``best.val_loss``: the first of the best epochs, and its value;
        * ``last.val_loss``: the value of the last epoch;
        * ``epoch_s``: seconds of an epoch, training and validation, the median; the first epoch is
          often a slow one;
        * ``train_s``: seconds of all epochs together;
        * ``overfit_gap``: see above, always of ``val_loss``.

        Missing where the log does not have it: without a validation, for a detector's loss, or at
        an epoch whose loss was NaN.

    Raises:
        TableError: If there is no such column.
    """
    import pandas as pd

    table = require_columns(history, ["run", "epoch"], "history")
    if metric and len(table):
        table = require_columns(table, [metric], "history")
    name = metric or next((one for one in DEFAULT_METRICS if one in table), DEFAULT_METRICS[0])
    least = lower_is_better(name) if ascending is None else ascending
    runs = table.sort_values("epoch", kind="stable").groupby("run", sort=False)
    found = {run: _epoch_row(rows, name, least) for run, rows in runs}
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
    return pd.DataFrame(rows, order, columns=list(dtypes)).astype(dtypes)


def _epoch_row(rows: pd.DataFrame, name: str, least: bool) -> tuple[Any, ...]:
    import pandas as pd

    values = _metric_series(rows, name)
    at = best_index(values, least=least)
    seconds = (
        _metric_series(rows, "train_time_s") + _metric_series(rows, "valid_time_s").fillna(0)
    ).dropna()
    loss = _metric_series(rows, "val_loss")
    return (
        len(rows),
        pd.NA if at is None else int(rows["epoch"].iloc[at]),
        _NAN if at is None else float(values.iloc[at]),
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
