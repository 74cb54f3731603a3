"""What stands in the legend of a grid of predictions."""

from __future__ import annotations

from collections.abc import Sequence

from rvlab.plot import paint
from rvlab.plot.boxed import TRUE_LINE
from rvlab.plot.legend import Key
from rvlab.plot.mosaic import Row
from rvlab.plot.view import Place, View
from rvlab.raster.boxes import CELLS, DETECTION
from rvlab.raster.scene import RGB


def key(view: View, places: Sequence[Place], rows: Sequence[Row], seen: set[int]) -> Key:
    """The legend of a grid.

    Args:
        view: What is shown.
        places: The windows; the classes are those of the first that has some of interest.
        rows: What was made of them.
        seen: Class ids to be seen; ``null``, and ids that are none, have an entry only then.
    """
    if set(view.columns) == {"image"}:
        return Key()
    place = next((p for p in places if view.of(p.own)), places[0])
    own, task = place.own, place.task
    of, only = view.of(own), view.only(own)
    scored = any(cell.caption for row in rows for cell in row.cells)
    note = ""
    if scored:
        what = "mean over the classes that occur in" if only is None else f"{own.names[only]} in"
        note = f"F1: {what} the window"
    interest: list[tuple[str, RGB]] = [(own.names[i], own.colors[i]) for i in of]
    if view.show == "scores":
        truth = interest if task == DETECTION and "truth" in view.columns else []
        scale = "score" if task == DETECTION else f"probability of {own.names[of[0]]}"
        return Key(note=note, scale=scale, lines=_lines(truth))
    if view.show == "errors":
        return _errors(view, interest, task, note)
    if view.show == "overlay":
        both = task in (CELLS, DETECTION) and "runs" in view.columns
        below = [("truth", TRUE_LINE, True)] if both else []
        return Key(note=note, lines=[*_lines(interest), *below])
    entries = _all(place, seen)
    return Key(note=note, lines=_lines(entries)) if task == DETECTION else Key(entries, note)


def _all(place: Place, seen: set[int]) -> list[tuple[str, RGB]]:
    own, is_raster = place.own, place.task not in (CELLS, DETECTION)
    silent = own.unlabelled_id if is_raster else own.null_id
    entries: list[tuple[str, RGB]] = [
        (name, color)
        for i, (name, color) in enumerate(zip(own.names, own.colors, strict=True))
        if i != silent or i in seen
    ]
    if any(i >= len(own) for i in seen):
        entries.append(("not a class", paint.OTHER))
    return entries


def _errors(view: View, interest: list[tuple[str, RGB]], task: str, note: str) -> Key:
    """Outcomes, and the classes that the truth is painted in."""
    runs = "runs" in view.columns
    named = [(f"truth: {name}" if runs else name, color) for name, color in interest]
    truth = named if "truth" in view.columns else []
    if task == DETECTION:
        right, false, missed, _ = paint.ERRORS
        outcomes = [(*right, False), (*false, False), (*missed, True)] if runs else []
        return Key(note=note, lines=[*outcomes, *_lines(truth)])
    shown = paint.ERRORS if len(interest) > 1 else paint.ERRORS[:-1]
    return Key([*(shown if runs else ()), *truth], note)


def _lines(entries: Sequence[tuple[str, RGB]]) -> list[tuple[str, RGB, bool]]:
    return [(name, color, False) for name, color in entries]
