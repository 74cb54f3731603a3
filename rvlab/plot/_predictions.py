"""Predictions of several runs side by side, on the same pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

from rvlab import raster
from rvlab.errors import NotFound, SpecError, did_you_mean
from rvlab.plot._grid.layout import CellRow, GridCell, draw_grid
from rvlab.plot._grid.legend import GridLegend
from rvlab.plot._grid.legend_entries import grid_legend
from rvlab.plot._grid.options import (
    SHOW_MODES,
    GridOptions,
    GridRow,
    class_names,
    validate_bands,
    validate_classes,
)
from rvlab.plot._grid.read import RowReader, cell_error_text, finish_row
from rvlab.plot._style import theme
from rvlab.plot.titles import require_columns, run_titles
from rvlab.raster.display import validate_stretch
from rvlab.raster.run_source import RunSource, load_run_source, source_by_scene
from rvlab.raster.scene import SCENE_GROUPS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

GRID_COLUMNS = ("image", "truth", "runs")
WINDOW_COLUMNS = ("scene", "col", "row", "width", "height")
MAX_SCENES = 4  # whole scenes that are shown when no windows are asked for
READER_THREADS = 16  # that read; in each, PROJ begins anew with the first dataset: 7 ms of CPU

SceneWindow = tuple[str, raster.Window | None]


def predictions(
    runs: pd.DataFrame,
    windows: pd.DataFrame
    | pd.Series[Any]
    | Mapping[str, Any]
    | Iterable[Mapping[str, Any] | Sequence[Any]]
    | Sequence[Any]
    | None = None,
    *,
    group: str = "validation",
    scenes: Sequence[str] | None = None,
    columns: Sequence[str] = GRID_COLUMNS,
    show: Literal["labels", "errors", "overlay", "scores"] = "labels",
    classes: str | Sequence[str] | None = None,
    iou: float = 0.5,
    bands: str | Sequence[int] | None = None,
    stretch: Literal["minmax", "none"] | tuple[float, float] | None = None,
    label: str | None = None,
    max_px: int = 512,
) -> Figure:
    """Draw windows of scenes: a row per window, the image, the truth and a column per run.

    All cells of a row show the same pixels. Below each prediction stands the run's macro F1 in that
    window, or that of the one class in `classes`, the best of the row in bold; with ``≈`` where the
    window is so large that only the pixels shown were counted. Boxes and cells are matched in the
    whole scene, and count in the window that holds their centre. What cannot be read or compared
    says so in its cell.

    >>> plot.predictions(board.head(3), show="errors", classes="building")

    Args:
        runs: One row per run with columns (or index) ``run`` and ``uri``; the ``params.*`` in which
            the runs differ become the titles.
        windows: A table with columns ``scene, col, row, width, height``, or a sequence of such
            dicts or tuples, or a single row, dict or tuple; pixels, counted within the scene, cut
            at its edge. None shows whole scenes.
        group: ``train``, ``validation`` or ``test``: whose scenes to show without `windows`, four
            at most, evenly chosen; and which to show of a scene that is in several.
        scenes: Ids of the scenes to show without `windows`, of any group.
        columns: Which of ``image``, ``truth`` and ``runs`` to show, in this order.
        show: ``labels`` paints every class in its color. ``errors`` paints, over the image in light
            grey, true positives, false positives, false negatives and classes confused with one
            another. ``overlay`` outlines the classes of interest over the image. ``scores`` shows
            how sure the run was: of semantic segmentation and chip classification the probability
            of the first class of interest, of object detection each box's score.
        classes: The class or classes of interest; None takes all but the null class.
        iou: By more than which a box must overlap a true one to match it, intersection over union.
        bands: A name of the config's ``channel_display_groups``, or 1 to 3 channels, counted after
            ``channel_order`` from 0 as in Raster Vision. None takes the first of these groups, else
            the first three channels. What the config does to pixels on their way into the model is
            not done here.
        stretch: Two percentiles that become black and white; ``"minmax"`` for the least and the
            greatest value, as Raster Vision's MinMaxNormalize; ``"none"``. None leaves uint8 as it
            is, and takes the 2nd and 98th percentile of anything else.
        label: The column that names the runs; None takes the parameters in which they differ.
        max_px: Longest side of what is read for one cell; larger windows are thinned. A grid of
            more than a gigabyte of pixels is refused, in its cells.

    Returns:
        A figure, shown once as the last value of a cell.

    Raises:
        TableError: If a column is missing.
        NotFound: If no run has a scene or a group of that name.
        SpecError: If a window, `columns`, `show`, `classes`, `iou`, `bands`, `stretch` or `max_px`
            is malformed or names what there is not.
    """
    columns = _validate_columns(columns)
    view = _validate_options(
        GridOptions(show, columns, 0, max_px, class_names(classes), bands, stretch, iou)
    )
    table = require_columns(runs, ["run", "uri", *([label] if label else [])], "table of runs")
    if table.empty:
        return theme.empty_figure("No runs: the table is empty.")
    if group not in SCENE_GROUPS:
        raise NotFound(f"There is no group {group!r}. {did_you_mean(group, SCENE_GROUPS)}")
    parts = None if windows is None else _window_list(windows)
    if parts is not None and not parts:
        return theme.empty_figure("No windows: the table is empty.")
    asked = [scenes] if isinstance(scenes, str) else None if scenes is None else list(scenes)
    if parts is None and asked is not None:
        if not asked:
            return theme.empty_figure("No scenes: the list is empty.")
        parts = [(name, None) for name in asked]
    ids, uris = table["run"].astype(str), table["uri"].astype(str)
    heads = _column_headings(run_titles(table, label), columns)
    view = replace(view, across=len(heads))
    with ThreadPoolExecutor(READER_THREADS) as pool:
        sources = list(pool.map(load_run_source, ids, uris, repeat(group)))
        if not any(one.scenes for one in sources):
            return draw_grid(heads, [_error_row(sources, columns)], GridLegend())
        places = _grid_rows(sources, parts, group)
        if not places:
            return theme.empty_figure(f"The runs have no scenes in the group {group!r}.")
        validate_classes(view, places)
        validate_bands(view, places)
        view = replace(view, down=len(places))
        begun = RowReader(pool, sources, view).submit_rows(places)
        rows = [finish_row(place, found) for place, found in zip(places, begun, strict=True)]
    seen = set[int]().union(*(ids for _, ids in rows))
    shown = [row for row, _ in rows]
    return draw_grid(heads, shown, grid_legend(view, places, shown, seen))


def _validate_options(view: GridOptions) -> GridOptions:
    """The arguments that need no config to be judged."""
    if view.show not in SHOW_MODES:
        raise SpecError(f"show cannot be {view.show!r}. {did_you_mean(str(view.show), SHOW_MODES)}")
    if not (_is_number(view.iou) and 0 <= view.iou < 1):
        raise SpecError(f"iou cannot be {view.iou!r}. Give a number from 0 up to 1, such as 0.5.")
    if not (_is_number(view.max_px) and view.max_px >= 1):
        raise SpecError(f"max_px cannot be {view.max_px!r}. Give 1 or more pixels.")
    validate_stretch(view.stretch)
    return view


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _validate_columns(columns: Sequence[str]) -> list[str]:
    asked = [columns] if isinstance(columns, str) else list(columns)
    for word in asked:
        if word not in GRID_COLUMNS:
            raise SpecError(
                f"There is no column {word!r} to show. {did_you_mean(word, GRID_COLUMNS)}"
            )
    if not asked:
        raise SpecError("columns is empty. Name some of 'image', 'truth' and 'runs'.")
    return asked


def _column_headings(names: Sequence[Sequence[str]], columns: Sequence[str]) -> list[list[str]]:
    out: list[list[str]] = []
    for column in columns:
        out += [list(lines) for lines in names] if column == "runs" else [[column]]
    return out


def _error_row(sources: Sequence[RunSource], columns: Sequence[str]) -> CellRow:
    """One row that says of each run why nothing of it can be shown."""
    cells: list[GridCell] = []
    for column in columns:
        if column == "runs":
            cells += [GridCell(words=cell_error_text(one, one.error)) for one in sources]
        else:
            cells.append(GridCell(words="No run says where its scenes lie."))
    return CellRow("", [], cells, aspect=0.8)


def _grid_rows(
    sources: Sequence[RunSource], parts: Sequence[SceneWindow] | None, group: str
) -> list[GridRow]:
    known = source_by_scene(sources)
    labels: dict[str, raster.SceneLabels] = {}

    def place(name: str, window: raster.Window | None) -> GridRow:
        if name not in known:
            raise NotFound(f"No run has a scene {name!r}. {did_you_mean(name, known)}")
        one = known[name]
        if name not in labels:
            labels[name] = one.labels(name)
        return GridRow(name, window, one, labels[name])

    if parts is not None:
        return [place(name, window) for name, window in parts]
    of_group = [s.id for one in sources for s in one.scenes if s.group == group]
    return [place(name, None) for name in _evenly_spaced(list(dict.fromkeys(of_group)), MAX_SCENES)]


def _window_list(windows: Any) -> list[SceneWindow]:
    """The scene and the pixels of each window.

    Raises:
        TableError: If the table lacks a column.
        SpecError: If it is neither a window nor a row of them.
    """
    import pandas as pd

    if isinstance(windows, pd.DataFrame):
        table = require_columns(windows, WINDOW_COLUMNS, "table of windows")
        windows = table[list(WINDOW_COLUMNS)].to_dict("records")
    if isinstance(windows, Mapping) or (isinstance(windows, pd.Series) and "scene" in windows):
        windows = [windows]
    listed = _as_list(windows)
    if listed and isinstance(listed[0], str):
        listed = [listed]  # a single window
    out: list[SceneWindow] = []
    for one in listed:
        row = one.to_dict() if isinstance(one, pd.Series) and "scene" in one else one
        if isinstance(row, Mapping):
            values = [row[name] for name in WINDOW_COLUMNS if name in row]
        else:
            values = _as_list(row)
        if len(values) != len(WINDOW_COLUMNS):
            raise _window_error(row)
        out.append((str(values[0]), raster.Window.from_value(values[1:])))
    return out


def _as_list(values: Any) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise _window_error(values)
    return list(values)


def _window_error(value: Any) -> SpecError:
    return SpecError(f"{value!r} is no window. Give scene, col, row, width and height.")


def _evenly_spaced(names: list[str], most: int) -> list[str]:
    if len(names) <= most:
        return names
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
