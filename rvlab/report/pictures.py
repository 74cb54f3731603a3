"""Pictures of a report: PNG files of limited size, or the reason for a missing one."""

from __future__ import annotations

import base64
import io
import re
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rvlab import plot
from rvlab.errors import RasterError, RvlabError
from rvlab.report.run_summary import RunSummary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DPI_STEPS = (160, 120, 90, 60)  # dots per inch; the first small enough is used
CSS_PX = 96  # per inch


@dataclass(frozen=True)
class Picture:
    """A picture, or the reason why it is missing.

    Args:
        png: The file; None if it could not be drawn.
        words: A description, or the reason why the picture is missing.
        width: In CSS pixels.
        height: In CSS pixels.
    """

    png: bytes | None
    words: str
    width: int = 0
    height: int = 0

    @property
    def data_url(self) -> str:
        """The PNG as a ``data:`` URL; empty without one."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}" if self.png else ""


def predictions_picture(facts: RunSummary, *, scenes: int, most_bytes: int) -> Picture:
    """Draw image, truth and prediction of the worst scenes of the headline group.

    Args:
        facts: The run.
        scenes: The largest number of scenes.
        most_bytes: The largest size of the PNG.
    """
    names = [name for name, _ in facts.scenes[:scenes]]
    shown = f"Image, truth and prediction of {_join_names(names)}."

    def draw() -> Figure:
        row = {"run": [facts.run.id], "uri": [facts.run.uri], "what": ["prediction"]}
        table = _frame(row)
        figure = plot.predictions(table, scenes=names, label="what")
        if not any(ax.images for ax in figure.axes):
            raise RasterError(_cell_texts(figure))
        return figure

    if not names:
        return Picture(None, "No scene of this run was scored, so none is shown.")
    return try_picture("The predictions", shown, draw, most_bytes)


def curves_picture(facts: RunSummary, *, most_bytes: int) -> Picture:
    """Draw losses and scores over the epochs."""

    def draw() -> Figure:
        figure = plot.curves(facts.history)
        for legend in list(figure.legends):  # a single line needs no legend
            legend.remove()
        return figure

    if facts.history.empty:
        return Picture(None, "This run has no training history.")
    epochs = facts.history["epoch"].nunique()
    shown = f"Training over {epochs} {'epoch' if epochs == 1 else 'epochs'}."
    return try_picture("The training curves", shown, draw, most_bytes, tight=True)


def confusion_picture(facts: RunSummary, *, most_bytes: int) -> Picture:
    """Draw the confusion matrix of the headline group, as shares of each true class."""
    group = facts.group
    if group is None:
        return Picture(None, "This run was not evaluated, so it has no confusion matrix.")
    if facts.matrix is None:
        return Picture(None, f"The evaluation of {group} counted no confusion matrix.")

    def draw() -> Figure:
        figure = plot.confusion(facts.confusion, group=group)
        for ax in figure.axes:
            ax.set_title("", loc="left")  # the page already shows the run's id
        return figure

    shown = f"Confusion matrix of {group}: truth down, prediction across."
    return try_picture("The confusion matrix", shown, draw, most_bytes, tight=True)


def try_picture(
    what: str,
    shown: str,
    draw: Callable[[], Figure],
    most_bytes: int,
    *,
    tight: bool = False,
) -> Picture:
    """Draw a picture, or return the reason why it could not be drawn.

    The run has succeeded and must not fail because of its report, so an error is shown in the page
    and, with its traceback, on stderr.

    Args:
        what: The picture's name at the start of a sentence.
        shown: The alternative text of the picture.
        draw: A function that returns the figure.
        most_bytes: The largest size of the PNG.
        tight: Whether to crop white margins.
    """
    try:
        figure = draw()
        for dpi in DPI_STEPS:
            png = _png(figure, dpi, tight=tight)
            if len(png) <= most_bytes:
                width, height = (round(side * CSS_PX / dpi) for side in _size(png))
                return Picture(png, shown, width, height)
    except Exception as exc:  # noqa: BLE001  shown in the page and on stderr
        traceback.print_exc()
        return Picture(None, f"{what} could not be drawn: {_sentence(exc)}")
    return Picture(None, f"{what} would take more than {most_bytes / 1e6:.1f} MB.")


def _png(figure: Figure, dpi: int, *, tight: bool) -> bytes:
    data = io.BytesIO()
    figure.savefig(
        data,
        format="png",
        dpi=dpi,
        facecolor="white",
        bbox_inches="tight" if tight else None,
        pad_inches=0.05,
        metadata={"Software": None},
    )
    return data.getvalue()


def _size(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def _sentence(exc: Exception) -> str:
    words = " ".join(str(exc).split()) or "no reason was given."
    return words if isinstance(exc, RvlabError) else f"{type(exc).__name__}: {words}"


def _cell_texts(figure: Figure) -> str:
    """Join the distinct texts in the cells of a grid without a picture."""
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    joined = [re.sub(r"(?<=[/_])\n", "", text).replace("\n", " ") for text in texts]
    return " ".join(dict.fromkeys(joined)) or "it contains no picture."


def _frame(columns: dict[str, list[str]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(columns)


def _join_names(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "no scene"
