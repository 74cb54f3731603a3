"""Records as pandas tables."""

from rvlab.frame.run_selector import find_run, resolve_runs, select_listings
from rvlab.frame.runs import runs_table
from rvlab.frame.steps import steps_table
from rvlab.frame.tables import (
    artifacts_table,
    confusion_table,
    evals_table,
    history_table,
    scene_fingerprints_table,
)

__all__ = [
    "artifacts_table",
    "confusion_table",
    "evals_table",
    "find_run",
    "history_table",
    "resolve_runs",
    "runs_table",
    "scene_fingerprints_table",
    "select_listings",
    "steps_table",
]
