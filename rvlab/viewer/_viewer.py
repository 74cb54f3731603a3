"""Making a viewer of a table of runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Any

from rvlab.errors import MissingExtra, NotFound, SpecError, did_you_mean
from rvlab.plot.titles import format_param_value, require_columns, run_titles
from rvlab.raster import Window
from rvlab.raster.run_source import load_run_source
from rvlab.raster.scene import SCENE_GROUPS

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.viewer.widget import Viewer

JUMP_COLUMNS = ("scene", "col", "row", "width", "height")
MIN_HEIGHT_PX, MAX_HEIGHT_PX = 200, 4000
SOURCE_READERS = 8


def viewer(
    runs: pd.DataFrame,
    *,
    group: str = "validation",
    scene: str | None = None,
    windows: pd.DataFrame | None = None,
    label: str | None = None,
    height_px: int = 520,
) -> Viewer:
    """A map of scenes in JupyterLab: image, truth, predictions and errors, swiped over one another.

    It reads tiles of the rasters as they are looked at, in threads of the kernel, and sends them
    to the page through the notebook's own connection: nothing is fetched from the internet, no port
    is opened, and imagery needs no CRS.

    Args:
        runs: One row per run with columns (or index) ``run`` and ``uri``; the ``params.*`` in which
            the runs differ become the titles.
        group: ``train``, ``validation`` or ``test``: whose scenes there are to choose from, and
            which is shown of a scene that is in several.
        scene: The scene to begin with, of any group; None begins with the first of `windows`, or of
            the group.
        windows: Where *next worst* goes, in the order of this table: ``scene, col, row, width,
            height`` in pixels, and ``score`` to be told if it has one. ``lab.windows(runs)`` makes
            one.
        label: The column that names the runs; None takes the parameters in which they differ.
        height_px: Of the map.

    Returns:
        The widget; ``close()`` ends its threads.

    Raises:
        MissingExtra: If anywidget is not installed.
        TableError: If a column is missing.
        NotFound: If no run has that scene, or there is no such group.
        SpecError: If a window or the height is malformed.
    """
    try:
        from rvlab.viewer.widget import Viewer
    except ImportError as exc:
        raise MissingExtra("The viewer needs anywidget: pip install 'rvlab[local]'.") from exc
    from rvlab.viewer.catalog import Catalog

    if group not in SCENE_GROUPS:
        raise NotFound(f"There is no group {group!r}. {did_you_mean(group, SCENE_GROUPS)}")
    if isinstance(height_px, bool) or not MIN_HEIGHT_PX <= height_px <= MAX_HEIGHT_PX:
        raise SpecError(
            f"height_px is {MIN_HEIGHT_PX} to {MAX_HEIGHT_PX} pixels, not {height_px!r}."
        )
    table = require_columns(runs, ["run", "uri", *([label] if label else [])], "table of runs")
    ids, uris = table["run"].astype(str), table["uri"].astype(str)
    with ThreadPoolExecutor(SOURCE_READERS) as pool:
        sources = list(pool.map(load_run_source, ids, uris, repeat(group)))
    names = [", ".join(lines) for lines in run_titles(table, label)] if len(table) else []
    catalog = Catalog(sources, names)
    jumps = _jump_list(windows)
    scenes = catalog.scenes(group)
    more = [*([scene] if scene else []), *(jump["scene"] for jump in jumps)]
    for name in more:
        if name not in catalog.all_scenes:
            raise NotFound(f"No run has a scene {name!r}. {did_you_mean(name, catalog.all_scenes)}")
    scenes = list(dict.fromkeys([*scenes, *more]))
    first = scene or next((jump["scene"] for jump in jumps), "")
    words = "" if scenes else _empty_message(table, sources, group)
    return Viewer(catalog, scenes, scene=first, windows=jumps, words=words, height_px=height_px)


def _jump_list(windows: Any) -> list[dict[str, Any]]:
    """The windows as the page takes them, in their order."""
    if windows is None:
        return []
    table = require_columns(windows, JUMP_COLUMNS, "table of windows")
    out = []
    for row in table.to_dict("records"):
        window = Window.from_value([row[name] for name in JUMP_COLUMNS[1:]])
        words = f"score {format_param_value(row['score'])}" if "score" in row else ""
        sides = {name: getattr(window, name) for name in JUMP_COLUMNS[1:]}
        out.append({"scene": str(row["scene"]), "words": words, **sides})
    return out


def _empty_message(table: pd.DataFrame, sources: Any, group: str) -> str:
    if table.empty:
        return "No runs: the table is empty."
    errors = [str(one.error) for one in sources if one.error]
    if len(errors) == len(sources):
        return errors[0]
    return f"The runs have no scenes in the group {group!r}."
