"""The report of an experiment as a self-contained HTML file.

It makes no requests. Its only script sorts the tables; a policy in the page's head allows this
script, by its hash, and no other.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from rvlab.report.experiment import ExperimentSummary
from rvlab.report.experiment_pictures import (
    confusion_of_best,
    curves_of_best,
    parameter_pictures,
    worst_windows,
)
from rvlab.report.parts import try_part
from rvlab.report.render import render_html

FAILURE_HEADINGS = ("run", "name", "state", "step", "error")


def render_experiment_page(summary: ExperimentSummary) -> str:
    """Render the report of an experiment as HTML, of at most 5 MB for 20 runs.

    A part that cannot be shown is replaced by the reason.
    """
    script = files("rvlab.report").joinpath("templates/sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    board = try_part("The leaderboard", lambda: summary.leaderboard)
    seeds = try_part("The means over seeds", lambda: summary.seed_rows)
    tests = try_part("The test", lambda: summary.test_sentences)
    parameters = try_part("The parameters", lambda: parameter_pictures(summary))
    return render_html(
        "experiment.html.j2",
        script=script,
        script_hash=digest,
        title=summary.title,
        states=summary.states,
        period=try_part("The period", lambda: summary.period),
        number=len(summary.runs),
        metric=summary.metric,
        differences=try_part("What differs", lambda: summary.differences),
        constants=try_part("What all runs share", lambda: summary.constants),
        scored_on=try_part("What was scored", lambda: summary.scored_on),
        board=board,
        left_out=_left_out(summary, board),
        tests=[tests] if isinstance(tests, str) else tests,
        seeds=seeds,
        curves=curves_of_best(summary),
        confusion=confusion_of_best(summary),
        parameters=parameters,
        worst=worst_windows(summary),
        failure_headings=FAILURE_HEADINGS,
        failures=try_part("The runs that failed", lambda: summary.failures),
        example=try_part("The run", lambda: summary.example_heading),
        environment=try_part("The run", lambda: summary.environment),
        python=try_part("The lines", lambda: summary.repeat_python),
        command=try_part("The command", lambda: summary.repeat_shell),
        source=try_part("The source", lambda: summary.source),
        source_note=try_part("The versions of the source", lambda: summary.source_note),
    )


def _left_out(summary: ExperimentSummary, board: object) -> str:
    shown = len(board[1]) if isinstance(board, tuple) else 0
    more = len(summary.board) - shown if shown else 0
    return f"The best {shown} runs; {more} more are left out." if more else ""
