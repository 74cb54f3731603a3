"""Grid of the predictions of several runs, side by side in the same windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

from rvlab import raster
from rvlab.errors import NotFound, RasterError, SpecError, did_you_mean
from rvlab.frame.input_tables import RunsLike, load_rows, require_columns
from rvlab.frame.params import run_labels
from rvlab.plot._grid.colorize import choose_error_colors
from rvlab.plot._grid.layout import CellRow, GridCell, draw_grid
from rvlab.plot._grid.legend import grid_legend
from rvlab.plot._grid.options import (
    SHOW_MODES,
    GridOptions,
    GridRow,
    as_class_names,
    validate_bands,
    validate_classes,
)
from rvlab.plot._grid.read import RowReader, cell_error_text, finish_row
from rvlab.plot._style.figure import empty_figure, plot_function
from rvlab.raster.config import RGB
from rvlab.raster.display import validate_stretch
from rvlab.raster.gdal import Heads, share_heads
from rvlab.raster.scene import (
    SCENE_GROUPS,
    RunSource,
    default_group,
    load_run_sources,
    require_group,
    source_by_scene,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

GRID_COLUMNS = ("image", "truth", "runs")
WINDOW_COLUMNS = ("scene", "col", "row", "width", "height")
NO_SCENES = "No run has readable scenes."
MAX_SCENES = 4  # scenes that are shown if `windows` and `scenes` are None
READER_THREADS = 20
"""Each thread initializes PROJ with its first dataset of GDAL: 7 ms of processor time, 2 MB."""

SceneWindow = tuple[str, raster.Window | None]


@plot_function
def predictions(
    runs: RunsLike,
    windows: pd.DataFrame
    | pd.Series[Any]
    | Mapping[str, Any]
    | Iterable[Mapping[str, Any] | Sequence[Any]]
    | Sequence[Any]
    | None = None,
    *,
    group: str | None = None,
    scenes: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    show: Literal["labels", "errors", "overlay", "scores"] = "labels",
    classes: str | Sequence[str] | None = None,
    iou: float = 0.5,
    bands: str | Sequence[int] | None = None,
    stretch: Literal["minmax", "none"] | tuple[float, float] | None = None,
    label: str | None = None,
    max_px: int = 512,
    margin_px: int = 0,
) -> Figure:
    """Draw predictions in windows: a row per window; image, truth and one column per run.

    All cells of a row show the same window. The text below each prediction is the run's macro F1 in
    the window, or the F1 of the class if `classes` is a single class. The best F1 of a row is bold.
    ``≈`` marks an F1 of a window so large that only the displayed pixels were counted. Boxes and
    classified cells are matched in the complete scene, and count in the window that contains their
    centre. A cell that cannot be read or compared shows the reason. It has no ``ax``, since the
    grid determines the size: save or show the figure.

    >>> plot.predictions(board.head(3), show="errors", classes="building")

    Args:
        runs: The table of runs, with columns (or index) ``run`` and ``uri``, or runs; the
            parameters in which they differ become the titles.
        windows: A table with columns ``scene, col, row, width, height``, a sequence of such dicts
            or tuples, or a single row, dict or tuple; in pixels of the scene, clipped to it. None
            shows complete scenes.
        group: ``train``, ``validation``, ``test`` or a scene group of the config. Without
            `windows` and `scenes`, up to four evenly spaced scenes of this group are shown. If
            a scene id is in several groups, the scene of this group is used. Default: validation,
            or test without it.
        scenes: Ids of the scenes to show if `windows` is None, of any group.
        columns: Which of ``image``, ``truth`` and ``runs`` to show, in this order. Default: all,
            but no truth if none of the scenes has labels.
        show: ``labels`` paints every class in its color. ``errors`` paints true positives, false
            positives, false negatives and confused classes over the image in light grey.
            ``overlay`` outlines the classes of interest over the image. ``scores`` shows the
            probability of the first class of interest (semantic segmentation and chip
            classification) or the score of each box (object detection).
        classes: The class or classes of interest; None means all except the null class.
        iou: The intersection over union above which a box matches a true box.
        bands: A name in the config's ``channel_display_groups``, or 1 to 3 channel numbers, counted
            from 0 after ``channel_order`` as in Raster Vision. None uses the first display group,
            else the first three channels. The config's transformers are not applied.
        stretch: Two percentiles that become black and white; ``"minmax"`` for the smallest and
            largest value, as Raster Vision's MinMaxNormalize; or ``"none"``. None does not stretch
            uint8, and stretches other types from the 2nd to the 98th percentile.
        label: The column that names the runs; None uses the parameters in which they differ.
        max_px: Longest side of the pixels that are read for a cell; larger windows are subsampled.
            A row shows an error if a grid of such rows would need more than a gigabyte of pixels.
        margin_px: Pixels of the scene that are added on each side of the `windows`, such as 30 for
            the windows of `rvlab.Lab.objects`, which end at the object.

    Returns:
        A figure, which a notebook shows once as the last value of a cell.

    Raises:
        TableError: If a column is missing.
        NotFound: If no run has the scene, or if the group is unknown.
        SpecError: If `runs` is empty, or a window, `columns`, `show`, `classes`, `iou`, `bands`,
            `stretch`, `max_px` or `margin_px` is invalid or names something that does not exist.
        RasterError: If not a single picture could be read.
    """
    shown = _validate_columns(GRID_COLUMNS if columns is None else columns)
    options = _validate_options(
        GridOptions(show, shown, 0, max_px, as_class_names(classes), bands, stretch, iou)
    )
    others = [label] if label else []
    table = require_columns(load_rows(runs), ["run", "uri", *others], "table of runs")
    if not isinstance(margin_px, int) or isinstance(margin_px, bool) or margin_px < 0:
        raise SpecError(f"margin_px must be an integer of at least 0, got {margin_px!r}.")
    parts = None if windows is None else _window_list(windows, margin_px)
    if parts is not None and not parts:
        return empty_figure("No windows: the table is empty.")
    requested = [scenes] if isinstance(scenes, str) else None if scenes is None else list(scenes)
    if parts is None and requested is not None:
        if not requested:
            return empty_figure("No scenes: the list is empty.")
        parts = [(name, None) for name in requested]
    ids, uris = table["run"].astype(str), table["uri"].astype(str)
    named = run_labels(table, label)
    shared_heads: Heads = {}
    with ThreadPoolExecutor(
        READER_THREADS, initializer=share_heads, initargs=(shared_heads,)
    ) as pool:
        sources = load_run_sources(zip(ids, uris, strict=True), pool, group)
        readable = any(one.scenes for one in sources)
        group = default_group(sources) if group is None else group
        if readable or group not in SCENE_GROUPS:
            require_group(group, sources)
        if not readable:
            _require_pictures([_error_row(sources, shown)])
        grid_rows = _grid_rows(sources, parts, group)
        if not grid_rows:
            return empty_figure(f"The runs have no scenes in the group {group!r}.")
        if columns is None and not any(row.labels.scene.truth for row in grid_rows):
            shown = [column for column in shown if column != "truth"]
        heads = _column_headings([named[run] for run in ids], shown)
        validate_classes(options, grid_rows)
        validate_bands(options, grid_rows)
        options = replace(
            options, columns=shown, figure_columns=len(heads), figure_rows=len(grid_rows)
        )
        if show == "errors":
            options = replace(options, error_colors=_error_colors(options, grid_rows))
        begun = RowReader(pool, sources, options).submit_rows(grid_rows)[::-1]
        # Taken off the list, so that what a row has read is freed once it is finished.
        rows = [finish_row(grid_row, begun.pop()) for grid_row in grid_rows]
    _require_pictures([row for row, _ in rows])
    return draw_grid(heads, [row for row, _ in rows], grid_legend(options, grid_rows, rows))


def _error_colors(options: GridOptions, grid_rows: Sequence[GridRow]) -> Sequence[RGB]:
    """Choose colors of errors that differ from those of all classes of interest in the figure."""
    each = [grid_row.run_classes for grid_row in grid_rows]
    return choose_error_colors({own.colors[i] for own in each for i in options.class_ids(own)})


def _validate_options(options: GridOptions) -> GridOptions:
    """Validate the arguments that do not depend on a config."""
    if options.show not in SHOW_MODES:
        raise SpecError(
            f"show cannot be {options.show!r}. {did_you_mean(str(options.show), SHOW_MODES)}"
        )
    if not (_is_number(options.iou) and 0 <= options.iou < 1):
        raise SpecError(f"iou must be at least 0 and less than 1, got {options.iou!r}.")
    if not (_is_number(options.max_px) and options.max_px >= 1):
        raise SpecError(f"max_px must be at least 1, got {options.max_px!r}.")
    validate_stretch(options.stretch)
    return options


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _validate_columns(columns: Sequence[str]) -> list[str]:
    requested = [columns] if isinstance(columns, str) else list(columns)
    for word in requested:
        if word not in GRID_COLUMNS:
            raise SpecError(f"columns cannot contain {word!r}. {did_you_mean(word, GRID_COLUMNS)}")
    if not requested:
        raise SpecError("columns is empty. Name some of 'image', 'truth' and 'runs'.")
    return requested


def _column_headings(names: Sequence[Sequence[str]], columns: Sequence[str]) -> list[list[str]]:
    out: list[list[str]] = []
    for column in columns:
        out += [list(lines) for lines in names] if column == "runs" else [[column]]
    return out


def _error_row(sources: Sequence[RunSource], columns: Sequence[str]) -> CellRow:
    """Build one row that shows the error of each run."""
    cells: list[GridCell] = []
    for column in columns:
        if column == "runs":
            cells += [GridCell(message=cell_error_text(one, one.error)) for one in sources]
        else:
            cells.append(GridCell(message=NO_SCENES))
    return CellRow("", [], cells, aspect=0.8)


def _require_pictures(rows: Sequence[CellRow]) -> None:
    """Raise if no cell has a picture, with the reasons that the cells would show."""
    cells = [cell for row in rows for cell in row.cells]
    if any(cell.pixels is not None for cell in cells):
        return
    reasons = list(dict.fromkeys(cell.message for cell in cells if cell.message))
    if NO_SCENES in reasons and len(reasons) > 1:
        reasons.remove(NO_SCENES)
    more = f" ({len(reasons) - 1} more errors in other cells.)" if len(reasons) > 1 else ""
    raise RasterError(f"No picture of this grid could be read. {reasons[0]}{more}")


def _grid_rows(
    sources: Sequence[RunSource], parts: Sequence[SceneWindow] | None, group: str
) -> list[GridRow]:
    known = source_by_scene(sources)
    labels: dict[str, raster.SceneLabels] = {}

    def grid_row(name: str, window: raster.Window | None) -> GridRow:
        if name not in known:
            raise NotFound(f"No run has a scene {name!r}. {did_you_mean(name, known)}")
        one = known[name]
        if name not in labels:
            labels[name] = raster.SceneLabels.of_run(one, name)
        return GridRow(name, window, one, labels[name])

    if parts is not None:
        return [grid_row(name, window) for name, window in parts]
    of_group = [scene.id for one in sources for scene in one.in_group(group)]
    return [
        grid_row(name, None) for name in _evenly_spaced(list(dict.fromkeys(of_group)), MAX_SCENES)
    ]


def _window_list(windows: Any, margin_px: int) -> list[SceneWindow]:
    """Return the scene and pixel window of each item of `windows`, with a margin on each side.

    Raises:
        TableError: If the table lacks a column.
        SpecError: If an item is not a window.
    """
    import pandas as pd

    if isinstance(windows, pd.DataFrame):
        table = require_columns(windows, WINDOW_COLUMNS, "table of windows")
        windows = table[list(WINDOW_COLUMNS)].to_dict("records")
    if isinstance(windows, Mapping) or (isinstance(windows, pd.Series) and "scene" in windows):
        windows = [windows]
    listed = _require_list(windows)
    if listed and isinstance(listed[0], str):
        listed = [listed]  # a single window
    out: list[SceneWindow] = []
    for one in listed:
        row = one.to_dict() if isinstance(one, pd.Series) and "scene" in one else one
        if isinstance(row, Mapping):
            values = [row[name] for name in WINDOW_COLUMNS if name in row]
        else:
            values = _require_list(row)
        if len(values) != len(WINDOW_COLUMNS):
            raise _window_error(row)
        out.append((str(values[0]), raster.Window.from_value(values[1:]).with_margin(margin_px)))
    return out


def _require_list(values: Any) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise _window_error(values)
    return list(values)


def _window_error(value: Any) -> SpecError:
    return SpecError(f"{value!r} is not a window. Give scene, col, row, width and height.")


def _evenly_spaced(names: list[str], max_count: int) -> list[str]:
    if len(names) <= max_count:
        return names
    return [names[round(i * (len(names) - 1) / (max_count - 1))] for i in range(max_count)]
