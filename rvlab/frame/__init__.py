"""Records as pandas tables."""

from rvlab.frame.runs import runs
from rvlab.frame.select import picked, rolls, run_named
from rvlab.frame.steps import steps
from rvlab.frame.tables import artifacts, confusion, evals, history, scenes

__all__ = [
    "artifacts",
    "confusion",
    "evals",
    "history",
    "picked",
    "rolls",
    "run_named",
    "runs",
    "scenes",
    "steps",
]
