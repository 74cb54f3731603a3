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


def render_experiment_page(facts: ExperimentSummary) -> str:
    """Render the report of an experiment as HTML, of at most 5 MB for 20 runs.

    A part that cannot be shown is replaced by the reason.
    """
    script = files("rvlab.report").joinpath("templates/sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    board = try_part("The leaderboard", lambda: facts.leaderboard)
    seeds = try_part("The means over seeds", lambda: facts.seed_rows)
    tests = try_part("The test", lambda: facts.test_sentences)
    parameters = try_part("The parameters", lambda: parameter_pictures(facts))
    return render_html(
        "experiment.html.j2",
        script=script,
        script_hash=digest,
        title=facts.title,
        states=facts.states,
        period=try_part("The period", lambda: facts.period),
        number=len(facts.runs),
        metric=facts.metric,
        differences=try_part("What differs", lambda: facts.differences),
        constants=try_part("What all runs share", lambda: facts.constants),
        scored_on=try_part("What was scored", lambda: facts.scored_on),
        board=board,
        left_out=_left_out(facts, board),
        tests=[tests] if isinstance(tests, str) else tests,
        seeds=seeds,
        curves=curves_of_best(facts),
        confusion=confusion_of_best(facts),
        parameters=parameters,
        worst=worst_windows(facts),
        failure_headings=FAILURE_HEADINGS,
        failures=try_part("The runs that failed", lambda: facts.failures),
        example=try_part("The run", lambda: facts.example_heading),
        environment=try_part("The run", lambda: facts.environment),
        python=try_part("The lines", lambda: facts.repeat_python),
        command=try_part("The command", lambda: facts.repeat_shell),
        source=try_part("The source", lambda: facts.source),
        source_note=try_part("The versions of the source", lambda: facts.source_note),
    )


def _left_out(facts: ExperimentSummary, board: object) -> str:
    shown = len(board[1]) if isinstance(board, tuple) else 0
    more = len(facts.board) - shown if shown else 0
    return f"The best {shown} runs; {more} more are left out." if more else ""
