"""Pictures of a report: PNG files of limited size, or the reason for a missing one."""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, Union

from rvlab import plot
from rvlab.errors import RasterError
from rvlab.model import PREDICTION
from rvlab.report.parts import report_error
from rvlab.report.run_summary import RunSummary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DPI_STEPS = (160, 120, 90, 60)  # dots per inch; the first small enough is used
CSS_PX = 96  # per inch

Drawing: TypeAlias = Union["tuple[Figure, str]", str]
"""A figure and its alternative text, or the reason why there is nothing to draw."""


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


def predictions_picture(summary: RunSummary, *, scenes: int, most_bytes: int) -> Picture:
    """Draw image, truth and prediction of the worst scenes of the headline group.

    Args:
        summary: The run.
        scenes: The largest number of scenes.
        most_bytes: The largest size of the PNG.
    """

    def draw() -> Drawing:
        names = [name for name, _ in summary.scenes[:scenes]]
        is_prediction = (
            summary.row.get("kind") == PREDICTION and summary.row["state"] == "succeeded"
        )
        if not names and not is_prediction:
            return "No scene of this run was scored, so none is shown."
        row = {"run": [summary.run.id], "uri": [summary.run.uri], "what": ["prediction"]}
        figure = plot.predictions(_frame(row), scenes=names or None, label="what")
        require_images(figure)
        if not names:
            return figure, "Image and prediction of scenes without labels."
        return figure, f"Image, truth and prediction of {_join_names(names)}."

    return try_picture("The predictions", draw, most_bytes)


def curves_picture(summary: RunSummary, *, most_bytes: int) -> Picture:
    """Draw losses and scores over the epochs."""

    def draw() -> Drawing:
        if summary.history.empty:
            return "This run has no training history."
        epochs = summary.history["epoch"].nunique()
        figure = plot.curves(summary.history)
        for legend in list(figure.legends):  # a single line needs no legend
            legend.remove()
        return figure, f"Training over {epochs} {'epoch' if epochs == 1 else 'epochs'}."

    return try_picture("The training curves", draw, most_bytes, tight=True)


def confusion_picture(summary: RunSummary, *, most_bytes: int) -> Picture:
    """Draw the confusion matrix of the headline group, as shares of each true class."""

    def draw() -> Drawing:
        group = summary.group
        if group is None:
            return "This run was not evaluated, so it has no confusion matrix."
        if summary.matrix is None:
            return f"The evaluation of {group} counted no confusion matrix."
        figure = plot.confusion(summary.confusion, group=group)
        for ax in figure.axes:
            ax.set_title("", loc="left")  # the page already shows the run's id
        return figure, f"Confusion matrix of {group}: truth down, prediction across."

    return try_picture("The confusion matrix", draw, most_bytes, tight=True)


def try_picture(
    what: str, draw: Callable[[], Drawing], most_bytes: int, *, tight: bool = False
) -> Picture:
    """Draw a picture, or return the reason why it could not be drawn.

    The run has succeeded and must not fail because of its report, so an error is shown in the page;
    the traceback of an unexpected one is printed on stderr.

    Args:
        what: The picture's name at the start of a sentence.
        draw: A function that returns the figure and the alternative text of the picture, or only a
            sentence if there is nothing to draw.
        most_bytes: The largest size of the PNG.
        tight: Whether to crop white margins.
    """
    try:
        drawn = draw()
        if isinstance(drawn, str):
            return Picture(None, drawn)
        figure, shown = drawn
        for dpi in DPI_STEPS:
            png = _png(figure, dpi, tight=tight)
            if len(png) <= most_bytes:
                width, height = (round(side * CSS_PX / dpi) for side in _size(png))
                return Picture(png, shown, width, height)
    except Exception as exc:  # noqa: BLE001  shown in the page
        return Picture(None, f"{what} could not be drawn: {report_error(exc)}")
    return Picture(None, f"{what} would take more than {most_bytes / 1e6:.1f} MB.")


def require_images(figure: Figure) -> None:
    """Raise with the reasons in the cells of a grid in which no cell has a picture.

    Raises:
        RasterError: If no cell has a picture.
    """
    if not any(ax.images for ax in figure.axes):
        raise RasterError(_cell_texts(figure))


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
