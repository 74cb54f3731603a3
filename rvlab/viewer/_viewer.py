"""Making a viewer of a table of runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Any

from rvlab.errors import MissingExtra, NotFound, SpecError, did_you_mean
from rvlab.plot.table import short, titles, with_columns
from rvlab.raster import Window
from rvlab.raster.scene import GROUPS
from rvlab.raster.source import source

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.viewer.widget import Viewer

WINDOW_COLUMNS = ("scene", "col", "row", "width", "height")
LEAST_PX, MOST_PX = 200, 4000
READERS = 8


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

    if group not in GROUPS:
        raise NotFound(f"There is no group {group!r}. {did_you_mean(group, GROUPS)}")
    if isinstance(height_px, bool) or not LEAST_PX <= height_px <= MOST_PX:
        raise SpecError(f"height_px is {LEAST_PX} to {MOST_PX} pixels, not {height_px!r}.")
    table = with_columns(runs, ["run", "uri", *([label] if label else [])], "table of runs")
    ids, uris = table["run"].astype(str), table["uri"].astype(str)
    with ThreadPoolExecutor(READERS) as pool:
        sources = list(pool.map(source, ids, uris, repeat(group)))
    names = [", ".join(lines) for lines in titles(table, label)] if len(table) else []
    catalog = Catalog(sources, names)
    jumps = _jumps(windows)
    scenes = catalog.scenes(group)
    more = [*([scene] if scene else []), *(jump["scene"] for jump in jumps)]
    for name in more:
        if name not in catalog.every_scene:
            raise NotFound(
                f"No run has a scene {name!r}. {did_you_mean(name, catalog.every_scene)}"
            )
    scenes = list(dict.fromkeys([*scenes, *more]))
    first = scene or next((jump["scene"] for jump in jumps), "")
    words = "" if scenes else _nothing(table, sources, group)
    return Viewer(catalog, scenes, scene=first, windows=jumps, words=words, height_px=height_px)


def _jumps(windows: Any) -> list[dict[str, Any]]:
    """The windows as the page takes them, in their order."""
    if windows is None:
        return []
    table = with_columns(windows, WINDOW_COLUMNS, "table of windows")
    out = []
    for row in table.to_dict("records"):
        window = Window.of([row[name] for name in WINDOW_COLUMNS[1:]])
        words = f"score {short(row['score'])}" if "score" in row else ""
        sides = {name: getattr(window, name) for name in WINDOW_COLUMNS[1:]}
        out.append({"scene": str(row["scene"]), "words": words, **sides})
    return out


def _nothing(table: pd.DataFrame, sources: Any, group: str) -> str:
    if table.empty:
        return "No runs: the table is empty."
    errors = [str(one.error) for one in sources if one.error]
    if len(errors) == len(sources):
        return errors[0]
    return f"The runs have no scenes in the group {group!r}."
