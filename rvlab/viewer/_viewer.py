"""Construction of a viewer from a table of runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from rvlab.errors import MissingExtra, NotFound, SpecError, did_you_mean
from rvlab.frame.input_tables import require_columns
from rvlab.frame.params import format_param_value, run_labels
from rvlab.raster import Window
from rvlab.raster.scene import default_group, load_run_sources, require_group

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.viewer.widget import Viewer

JUMP_COLUMNS = ("scene", "col", "row", "width", "height")
MIN_HEIGHT_PX, MAX_HEIGHT_PX = 200, 4000
SOURCE_READERS = 8


def viewer(
    runs: pd.DataFrame,
    *,
    group: str | None = None,
    scene: str | None = None,
    windows: pd.DataFrame | None = None,
    label: str | None = None,
    height_px: int = 520,
) -> Viewer:
    """Show a map of scenes in JupyterLab: image, labels, predictions and errors, with a swipe.

    Threads of the kernel read tiles of the rasters on demand and send them to the page through the
    notebook's connection. The viewer needs no internet access, opens no port, and shows imagery
    without a CRS.

    Args:
        runs: One row per run with columns (or index) ``run`` and ``uri``; the ``params.*`` in which
            the runs differ become the titles.
        group: ``train``, ``validation``, ``test`` or a scene group of the config: the scenes to
            choose from, and the preferred group of a scene that is in several. Default: validation,
            or test without it.
        scene: First scene to show, of any group; None takes the first of `windows`, or of the
            group.
        windows: Windows that the button *Next worst* shows, in the order of this table, with
            columns ``scene, col, row, width, height`` in pixels and optionally ``score``, as
            ``lab.windows(runs)`` returns it.
        label: Column that names the runs; None uses the parameters in which they differ.
        height_px: Height of the map.

    Returns:
        The widget; ``close()`` stops its threads.

    Raises:
        MissingExtra: If anywidget is not installed.
        TableError: If a column is missing.
        NotFound: If no run has the scene, or the group is unknown.
        SpecError: If a window or the height is invalid.
    """
    try:
        from rvlab.viewer.widget import Viewer
    except ImportError as exc:
        raise MissingExtra("The viewer needs anywidget: pip install 'rvlab[local]'.") from exc
    from rvlab.viewer.catalog import Catalog

    if isinstance(height_px, bool) or not MIN_HEIGHT_PX <= height_px <= MAX_HEIGHT_PX:
        raise SpecError(
            f"height_px must be {MIN_HEIGHT_PX} to {MAX_HEIGHT_PX} pixels, got {height_px!r}."
        )
    table = require_columns(runs, ["run", "uri", *([label] if label else [])], "table of runs")
    ids, uris = table["run"].astype(str), table["uri"].astype(str)
    with ThreadPoolExecutor(SOURCE_READERS) as pool:
        sources = load_run_sources(zip(ids, uris, strict=True), pool, group)
    group = default_group(sources) if group is None else group
    require_group(group, sources)
    named = run_labels(table, label)
    names = [", ".join(named[run]) for run in ids]
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
    """Convert the table of windows to rows for the page, in its order."""
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
