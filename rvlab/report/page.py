"""A report as a self-contained HTML file with tables and embedded PNG pictures.

It also works in a sandboxed frame, as on Kubeflow's pages: it has no scripts, links or fonts and
makes no requests. The templates escape values, and a policy in the page's head forbids scripts and
requests.
"""

from __future__ import annotations

from rvlab.frame.input_tables import RunsLike, single_run
from rvlab.model import STATES
from rvlab.report import pictures
from rvlab.report.markdown import CLASS_TABLE_HEADINGS, summary_parts
from rvlab.report.parts import try_part
from rvlab.report.pictures import Picture
from rvlab.report.render import render_html
from rvlab.report.run_summary import (
    MISSING_TEXT,
    Pairs,
    RunSummary,
    format_metric,
    load_run_summary,
)

SCENES_SHOWN = 6
GRID_BYTES, PLOT_BYTES = 1_450_000, 300_000  # of PNG: a third more in base64, so a page is < 3 MB
METRIC_TILES = {
    "f1": "macro F1",
    "mean_iou": "mean IoU",
    "accuracy": "accuracy",
    "precision": "macro precision",
    "recall": "macro recall",
}


def render_page(run: RunsLike, *, scenes: int = SCENES_SHOWN) -> str:
    """Render a run as a self-contained HTML page of at most 3 MB.

    Args:
        run: A run, its URI, or its row of the table of runs.
        scenes: The largest number of scenes to show, the worst first.

    Returns:
        The text of the file. A picture that cannot be drawn is replaced by the reason.

    Raises:
        SpecError: If `run` is not exactly one run.
        StoreError: If the store does not answer or refuses.
    """
    return render_summary_page(
        load_run_summary(single_run(run, "The run of a page")), scenes=scenes
    )


def render_summary_page(found: RunSummary, *, scenes: int = SCENES_SHOWN) -> str:
    """Render the page of a loaded run; see `render_page`."""
    state = found.format_field("state")
    words = [found.format_field(name) for name in ("recipe", "duration", "device")]
    predictions = pictures.predictions_picture(found, scenes=scenes, most_bytes=GRID_BYTES)
    return render_html(
        "page.html.j2",
        run=found,
        state_class=state if state in STATES else "",
        summary=" · ".join(word for word in words if word != MISSING_TEXT),
        tiles=try_part("The metrics", lambda: _metric_tiles(found)),
        predictions=predictions,
        scenes_note=_scenes_note(found, predictions, scenes),
        heads=CLASS_TABLE_HEADINGS,
        confusion=pictures.confusion_picture(found, most_bytes=PLOT_BYTES),
        curves=pictures.curves_picture(found, most_bytes=PLOT_BYTES),
        **summary_parts(found),
    )


def _metric_tiles(found: RunSummary) -> Pairs:
    known = [name for name in METRIC_TILES if name in found.metrics]
    return [(METRIC_TILES[name], format_metric(found.metrics[name])) for name in known]


def _scenes_note(found: RunSummary, picture: Picture, most: int) -> str:
    if picture.png is None:
        return ""
    known = len(found.scenes)
    if known <= 1:
        return ""
    which = f"{most} worst of the {known}" if known > most else f"{known}"
    return f"The {which} scenes of {found.group}, the worst first."
