"""A run as one HTML file that needs nothing else: tables, and pictures as PNG within it.

It shows in a sandboxed frame too, as Kubeflow's pages have it: no script, no link, no font, nothing
is fetched. A policy in its head forbids what an oversight would let in.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from rvlab.compare.addresses import Runs, one
from rvlab.report import pictures
from rvlab.report.facts import NOTHING, PER_CLASS, Facts, Pairs, count, facts, number
from rvlab.report.markdown import HEADS
from rvlab.report.pictures import Picture
from rvlab.report.style import STYLE

SCENES = 6
GRID_BYTES, PLOT_BYTES = 1_450_000, 300_000  # of PNG: a third more in base64, so a page is < 3 MB
TILES = {
    "f1": "macro F1",
    "mean_iou": "mean IoU",
    "accuracy": "accuracy",
    "precision": "macro precision",
    "recall": "macro recall",
}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(run: Runs, *, scenes: int = SCENES) -> str:
    """A run as one self-contained HTML page of at most 3 MB.

    Args:
        run: A run, its URI, or its row of the table of runs.
        scenes: How many of its scenes to show at most, the worst first.

    Returns:
        The text of the file. A picture that cannot be drawn is a sentence that says why.

    Raises:
        SpecError: If it is not one run.
        StoreError: If the store does not answer or refuses.
    """
    return page_of(facts(one(run, "The run of a page")), scenes=scenes)


def page_of(found: Facts, *, scenes: int = SCENES) -> str:
    """The page of a run that was read already; see `page`."""
    body = [
        _head(found),
        _tiles(found),
        _predictions(found, scenes),
        _two(
            _section("Classes", _classes(found)),
            _section("Confusion", _figure(pictures.confusion(found, most_bytes=PLOT_BYTES))),
        ),
        _section("Training", _figure(pictures.curves(found, most_bytes=PLOT_BYTES))),
        _two(
            _section("Parameters", _pairs(found.params, "The recipe has no parameters.")),
            _section("Scored on", _pairs(found.scored_on, "This run was not evaluated."))
            + _section("Costs", _pairs(found.spent, "Nothing was measured.")),
        ),
        _two(_section("Run", _pairs(found.about, "")), _section("Records", _records(found))),
    ]
    return sheet(found.name, "\n".join(body))


def sheet(title: str, body: str) -> str:
    """A whole HTML document.

    Args:
        title: Plain text.
        body: HTML.
    """
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(found: Facts) -> str:
    state = found.said("state")
    words = [found.said(name) for name in ("recipe", "duration", "device")]
    rest = " · ".join(escape(word) for word in words if word != NOTHING)
    told = f'<p class="error">{escape(found.error)}</p>' if found.error else ""
    return (
        f"<header><h1>{escape(found.name)}</h1>"
        f"<p>{escape(found.run.experiment)} / {escape(found.run.id)}</p>"
        f'<p><span class="state {escape(state)}">{escape(state)}</span> {rest}</p>{told}</header>'
    )


def _tiles(found: Facts) -> str:
    shown = [(word, found.metrics[name]) for name, word in TILES.items() if name in found.metrics]
    if not shown:
        return ""
    tiles = "".join(
        f"<div><b>{number(value)}</b><span>{escape(word)}</span></div>" for word, value in shown
    )
    return f'<div class="tiles">{tiles}</div>'


def _predictions(found: Facts, most: int) -> str:
    picture = pictures.predictions(found, scenes=most, most_bytes=GRID_BYTES)
    known, note = len(found.scenes), ""
    if picture.png is not None and known > 1:
        which = f"{most} worst of the {known}" if known > most else f"{known}"
        note = f"<p>The {which} scenes of {escape(str(found.group))}, the worst first.</p>"
    return _section("Predictions", note + _figure(picture))


def _classes(found: Facts) -> str:
    if found.group is None:
        return "<p>This run was not evaluated.</p>"
    rows = []
    for name in found.classes:
        of = found.of_class(name)
        rows.append([name, *(number(of[m]) for m in PER_CLASS[:-1]), count(of["truth_count"])])
    head = "".join(f"<th>{escape(word)}</th>" for word in HEADS)
    note = ""
    if found.missed_as_null:
        lost = count(found.missed_as_null)
        note = f"<p>{lost} labelled pixels were predicted as null; they are misses.</p>"
    body = _rows(rows)
    return f'<div class="wide"><table class="numbers"><tr>{head}</tr>{body}</table></div>{note}'


def _records(found: Facts) -> str:
    lines = escape("\n".join(found.lines))
    return f'<p class="uri">{escape(found.run.uri)}</p><p>In a notebook:</p><pre>{lines}</pre>'


def _figure(picture: Picture) -> str:
    if picture.png is None:
        return f"<p>{escape(picture.words)}</p>"
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><img alt="{escape(picture.words)}" width="{picture.width}" '
        f'height="{picture.height}" src="data:image/png;base64,{data}"></figure>'
    )


def _pairs(pairs: Pairs, none: str) -> str:
    return f'<table class="pairs">{_rows(pairs)}</table>' if pairs else f"<p>{escape(none)}</p>"


def _rows(rows: Sequence[Sequence[str]]) -> str:
    return "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _two(left: str, right: str) -> str:
    return f'<div class="two"><div>{left}</div><div>{right}</div></div>'
