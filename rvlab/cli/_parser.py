"""The command line: its commands and their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rvlab.cli import _commands as verbs
from rvlab.cli._report_commands import add_report_commands
from rvlab.version import __version__

DESCRIPTION = "rvlab: the notebook's functions in a shell."
GATE_HELP = "test whether a run may replace another: exit 0 passes, 3 fails, 4 cannot tell"


def build_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="rvlab", description=DESCRIPTION)
    made.add_argument("--version", action="version", version=f"rvlab {__version__}")
    made.add_argument("--store", help="a folder, s3://bucket/prefix or embedded[:FOLDER]")
    made.add_argument("--engine", default="local", help="local, kubeflow, rehearse or a plugin's")
    made.add_argument("--profile", help="a profile of rvlab.toml")
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    def verb(name: str, call: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(call=call)
        return added

    verb("up", verbs.cmd_up, "start the embedded S3 server and print its address")
    verb("down", verbs.cmd_down, "stop the embedded S3 server; its data remain")
    verb(
        "recipes", verbs.cmd_recipes, "list the recipes that come with rvlab, and their parameters"
    )
    verb("doctor", verbs.cmd_doctor, "check the store and the engine before the first run")
    migrate = verb("migrate", verbs.migrate, "convert a store that an earlier version wrote")
    migrate.add_argument("location", nargs="?", metavar="STORE", help="by default that of --store")
    submit = verb("submit", verbs.cmd_submit, "start a run and return at once")
    submit.add_argument("recipe", help="a shipped name, a path or a module")
    submit.add_argument(
        "-a", "--arg", nargs=2, action="append", default=[], metavar=("KEY", "VALUE")
    )
    submit.add_argument("-e", "--experiment", default="default")
    submit.add_argument("-s", "--splits", type=int, default=1)
    submit.add_argument("--seed", type=int)
    submit.add_argument("--wait", action="store_true", help="wait until it has ended")
    runs = verb("runs", verbs.cmd_runs, "print the table of runs")
    runs.add_argument("experiment", nargs="?")
    runs.add_argument("--all", action="store_true", help="archived runs, too")
    runs.add_argument("--sort", default="created", metavar="COLUMN", help="such as metrics.f1")
    watch = verb("watch", verbs.cmd_watch, "show steps, epochs and metrics until runs have ended")
    watch.add_argument("run", nargs="*", help="runs or experiments; by default all")
    logs = verb("logs", verbs.cmd_logs, "print the log of a run")
    logs.add_argument("run")
    logs.add_argument("step", nargs="?")
    _add_run_commands(verb)
    add_report_commands(verb)
    return made


def _add_run_commands(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands for existing runs."""
    retry = verb(
        "retry", verbs.cmd_retry, "start runs again that failed, were lost or not submitted"
    )
    retry.add_argument("run", nargs="+")
    compiled = verb("compile", verbs.cmd_compile, "write a recipe's Kubeflow pipeline as YAML")
    compiled.add_argument("recipe", help="a shipped name, a path or a module")
    compiled.add_argument("-o", "--output", required=True, type=Path, help="the file to write")
    gate = verb("gate", verbs.cmd_gate, GATE_HELP)
    gate.add_argument("candidate", nargs="+", help="a run, or several of one setting, by id or URI")
    gate.add_argument("--baseline", nargs="+", required=True, help="likewise")
    gate.add_argument("--metric", default="f1", help="such as f1, mean_iou or f1.road")
    gate.add_argument("--margin", type=float, default=0.0, help="tolerated loss of the metric")
    gate.add_argument("--group", help="the scene group; by default that of the run's metrics")
    gate.add_argument("--level", type=float, default=0.95, help="the level of the interval")
    cancel = verb("cancel", verbs.cmd_cancel, "cancel a run and stop all its processes")
    cancel.add_argument("run", nargs="+")
    clone = verb("clone", verbs.cmd_clone, "start a run again, with changed parameters")
    clone.add_argument("run")
    clone.add_argument(
        "-a", "--arg", nargs=2, action="append", default=[], metavar=("KEY", "VALUE")
    )
    clone.add_argument(
        "-e", "--experiment", help="the clone's experiment; by default that of the run"
    )
    clone.add_argument("--seed", type=int)
    tag = verb("tag", verbs.cmd_tag, "add tags to a run, and remove others")
    tag.add_argument("run")
    tag.add_argument("tag", nargs="*")
    tag.add_argument("--remove", action="append", default=[], metavar="TAG")
    note = verb("note", verbs.cmd_note, "write a run's note, replacing an earlier one")
    note.add_argument("run")
    note.add_argument("text", help="'' clears it")
    archive = verb("archive", verbs.cmd_archive, "hide runs from tables; their records remain")
    archive.add_argument("run", nargs="+")
    archive.add_argument("--undo", action="store_true", help="show them again")
    clean = verb("clean", verbs.cmd_clean, "remove what interrupted submissions left in the store")
    clean.add_argument("--dry-run", action="store_true", help="list it without removing it")
    clean.add_argument(
        "--older-than",
        type=float,
        default=1.0,
        metavar="HOURS",
        help="minimum age of what is removed; by default 1",
    )
    delete = verb("delete", verbs.cmd_delete, "delete runs for good; asks for their name")
    delete.add_argument("run", nargs="+")
    delete.add_argument("--yes-delete", metavar="NAME", help="the name, for scripts")
