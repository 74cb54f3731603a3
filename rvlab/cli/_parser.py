"""The command line: its commands and their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rvlab.cli import _commands as verbs
from rvlab.cli import _read_commands as readers
from rvlab.cli._completion import cmd_completion, complete_recipes
from rvlab.cli._model_commands import add_model_commands
from rvlab.cli._report_commands import add_report_commands
from rvlab.cli._tables import add_table_options
from rvlab.version import __version__

DESCRIPTION = "rvlab: the notebook's functions in a shell."
GATE_HELP = "test whether a run may replace another: exit 0 passes, 3 fails, 4 cannot tell"
RUNS_HELP = "runs or experiments, by name, id, the end of an id, or URI; by default all"

EXIT_STATUSES = {
    0: "success",
    1: "an error; or a run did not succeed (submit --wait, sweep --wait, wait, watch); or a check "
    "failed (doctor); sweep and wait print the table also if --columns or --sort is wrong",
    2: "wrong usage: an unknown command or option",
    3: "gate, promote: the candidate fails",
    4: "gate, promote: the data cannot tell",
    124: "wait --timeout: the time is over; the runs continue",
    130: "interrupted; runs continue",
    141: "the reader of the output closed it, such as head",
}
"""What each exit status means; ``rvlab --help`` and ``docs/running.md`` list them."""

_LAB_TABLES = {
    "evals": "metrics by group, scene and class",
    "history": "losses and metrics by epoch",
    "confusion": "confusion matrices",
    "steps": "steps with times, memory and processor time",
    "artifacts": "files of runs with their URIs",
    "configs": "keys of Raster Vision's configs in which runs differ",
}
"""Commands that print a table of `rvlab.Lab`: the name of its method, and its rows."""


class _Commands:
    """Adds commands to a parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def add(self, name: str, call: Any, text: str) -> argparse.ArgumentParser:
        """Add a command."""
        added = self._commands.add_parser(name, help=text, description=text)
        added.set_defaults(call=call, parser=added)
        return added

    def add_table(
        self, name: str, call: Any, text: str, *, sorts: bool = True
    ) -> argparse.ArgumentParser:
        """Add a command that prints a table of runs."""
        added = self.add(name, call, text)
        added.add_argument("runs", nargs="*", metavar="RUN", help=RUNS_HELP)
        added.set_defaults(remaining="runs")
        add_table_options(added, sorts=sorts)
        return added


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line, in which runs and parameters may also come after options."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    name = getattr(args, "remaining", None)
    given = getattr(args, name) if name else None
    takes_rest = isinstance(given, list) or (name and given is None and len(rest) == 1)
    if rest and (not takes_rest or any(one.startswith("-") for one in rest)):
        args.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest and name:
        setattr(args, name, [*given, *rest] if isinstance(given, list) else rest[0])
    return args


def build_parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {number:3}  {text}" for number, text in EXIT_STATUSES.items())
    made = argparse.ArgumentParser(
        prog="rvlab",
        description=DESCRIPTION,
        epilog=f"exit statuses:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"rvlab {__version__}")
    made.add_argument("--store", help="a folder, s3://bucket/prefix or embedded[:FOLDER]")
    made.add_argument("--engine", default="local", help="local, kubeflow, rehearse or a plugin's")
    made.add_argument("--profile", help="a profile of rvlab.toml")
    commands = _Commands(made)
    _add_start_commands(commands)
    _add_tables(commands)
    _add_run_commands(commands)
    _add_store_commands(commands)
    return made


def _add_start_commands(commands: _Commands) -> None:
    """Add the commands that start runs."""
    submit = commands.add("submit", verbs.cmd_submit, "start a run and return at once")
    sweep = commands.add("sweep", verbs.cmd_sweep, "start a run for each combination of values")
    for one in (submit, sweep):
        recipe = one.add_argument("recipe", help="a shipped name, a path or a module")
        complete_recipes(recipe)
        one.add_argument("-e", "--experiment", default="default")
        one.add_argument("-s", "--splits", type=int, default=1)
        one.add_argument("--wait", action="store_true", help="wait until they have ended")
    predict = commands.add(
        "predict", verbs.cmd_predict, "predict new imagery with the model of a run, and save it"
    )
    predict.add_argument("run", help="a run by its id or URI, or a promoted model by its name")
    predict.add_argument("images", nargs="*", help="files, URIs, patterns or STAC items")
    predict.set_defaults(remaining="images")
    predict.add_argument(
        "--source",
        action="append",
        metavar="FILE",
        help="a file or a pattern for each source of a MultiRasterSource, in place of images",
    )
    predict.add_argument("-o", "--output", default="predictions", metavar="FOLDER")
    predict.add_argument("--labels", action="append", help="a file or a pattern; may be repeated")
    predict.add_argument(
        "--overlap",
        type=float,
        default=0.25,
        help="fraction of a window that overlaps the next; by default 0.25",
    )
    predict.add_argument(
        "--run-options",
        action="store_true",
        help="use the predict options of the model's run instead of --overlap",
    )
    predict.add_argument(
        "--no-scores", dest="scores", action="store_false", help="labels only, no scores"
    )
    predict.add_argument("--bands", default="", metavar="A,B", help="such as 4,3,2 or red,green")
    predict.add_argument("-e", "--experiment", help="by default that of the run and -predictions")
    predict.add_argument("-s", "--splits", type=int, default=1)
    predict.add_argument("--trust-code", action="store_true", help="run code of the bundle")
    demo = commands.add(
        "demo", verbs.cmd_demo, "train four small runs in minutes, watch them and rank them"
    )
    demo.add_argument("-e", "--experiment", default="demo")
    _add_values(demo)
    add_table_options(demo)
    _add_values(submit)
    sweep.add_argument(
        "params", nargs="+", metavar="NAME=A,B", help="values, such as lr=1e-3,1e-2 epochs=8"
    )
    sweep.set_defaults(remaining="params")
    add_table_options(sweep)
    clone = commands.add("clone", verbs.cmd_clone, "start a run again, with changed parameters")
    clone.add_argument("run")
    clone.add_argument("-e", "--experiment", help="by default that of the run")
    _add_values(clone)
    for one in (submit, sweep, clone):
        one.add_argument("--seed", type=int)
    for one in (submit, sweep, clone, predict):
        one.add_argument(
            "--priority", type=int, default=0, help="the highest starts first; by default 0"
        )
    retry = commands.add(
        "retry", verbs.cmd_retry, "start runs again that failed, were lost or not submitted"
    )
    retry.add_argument("run", nargs="+")
    retry.set_defaults(remaining="run")
    cancel = commands.add("cancel", verbs.cmd_cancel, "cancel a run and stop all its processes")
    cancel.add_argument("run", nargs="+")
    cancel.set_defaults(remaining="run")


def _add_values(parser: argparse.ArgumentParser) -> None:
    """Add the two ways to give parameters of a recipe."""
    parser.add_argument("params", nargs="*", metavar="NAME=VALUE", help="such as lr=0.001")
    parser.set_defaults(remaining="params")
    parser.add_argument(
        "-a",
        "--arg",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="the same, as in Raster Vision's command",
    )


def _add_tables(commands: _Commands) -> None:
    """Add the commands that print tables."""
    runs = commands.add_table("runs", readers.cmd_runs, "print the table of runs")
    runs.add_argument("--state", action="append", help="only runs in this state; may be repeated")
    runs.add_argument("--tag", action="append", help="only runs with this tag; may be repeated")
    show = commands.add("show", readers.cmd_show, "print all columns of one run")
    show.add_argument("run")
    show.add_argument("--json", action="store_true", help="print a JSON object")
    experiments = commands.add("experiments", readers.cmd_experiments, "list the experiments")
    add_table_options(experiments)
    best = commands.add_table("best", readers.cmd_best, "print the best run by a metric")
    best.add_argument("--id", action="store_true", help="print its id only")
    compared = commands.add_table(
        "compare", readers.cmd_compare, "rank runs, with the parameters in which they differ"
    )
    compared.add_argument(
        "--across-sets", action="store_true", help="rank runs of different evaluation sets together"
    )
    for one in (runs, experiments, best, compared):
        one.add_argument("--all", action="store_true", help="archived runs, too")
    for one in (experiments, best, compared):
        one.add_argument("--metric", default="metrics.f1", help="such as f1 or mean_iou")
        one.add_argument("--ascending", action="store_true", default=None, help="less is better")
    for name, rows in _LAB_TABLES.items():
        commands.add_table(name, readers.cmd_table, f"print the table of {rows}")
    recipes = commands.add(
        "recipes", readers.cmd_recipes, "list the included recipes, their parameters and limits"
    )
    add_table_options(recipes, sorts=False)


def _add_run_commands(commands: _Commands) -> None:
    """Add the commands for existing runs."""
    watch = commands.add(
        "watch", readers.cmd_watch, "show steps, epochs and metrics until runs have ended"
    )
    watch.add_argument("run", nargs="*", help=RUNS_HELP)
    watch.set_defaults(remaining="run")
    wait = commands.add_table("wait", readers.cmd_wait, "wait until runs have ended")
    wait.add_argument("--timeout", type=float, metavar="SECONDS")
    logs = commands.add("logs", readers.cmd_logs, "print the log of a run")
    logs.add_argument("run")
    logs.add_argument("step", nargs="?", help="such as train or predict-0; by default all")
    logs.set_defaults(remaining="step")
    logs.add_argument("-f", "--follow", action="store_true", help="until the run has ended")
    logs.add_argument("--tail", type=int, metavar="N", help="the last N lines")
    download = commands.add_table("download", readers.cmd_download, "download files of runs")
    download.add_argument("--kind", action="append", help="such as bundle or labels")
    download.add_argument("--to", default="downloads", metavar="FOLDER")
    add_report_commands(commands.add)
    gate = commands.add("gate", verbs.cmd_gate, GATE_HELP)
    gate.add_argument("candidate", nargs="+", help="a run, or several of one setting, by id or URI")
    gate.add_argument("--baseline", nargs="+", required=True, help="likewise")
    gate.add_argument("--metric", default="f1", help="such as f1, mean_iou or f1.road")
    gate.add_argument("--margin", type=float, default=0.0, help="tolerated loss of the metric")
    gate.add_argument("--group", help="the scene group; by default that of the run's metrics")
    gate.add_argument("--level", type=float, default=0.95, help="the level of the interval")
    add_model_commands(commands.add)
    tag = commands.add("tag", verbs.cmd_tag, "add tags to a run, and remove others")
    tag.add_argument("run")
    tag.add_argument("tag", nargs="*")
    tag.set_defaults(remaining="tag")
    tag.add_argument("--remove", action="append", default=[], metavar="TAG")
    note = commands.add("note", verbs.cmd_note, "write a run's note, replacing an earlier one")
    note.add_argument("run")
    note.add_argument("text", help="'' clears it")
    archive = commands.add(
        "archive", verbs.cmd_archive, "hide runs from tables; their records remain"
    )
    archive.add_argument("run", nargs="+")
    archive.set_defaults(remaining="run")
    archive.add_argument("--undo", action="store_true", help="show them again")
    delete = commands.add("delete", verbs.cmd_delete, "delete runs for good; asks for their name")
    delete.add_argument("run", nargs="+")
    delete.set_defaults(remaining="run")
    delete.add_argument("--yes-delete", metavar="NAME", help="the name, for scripts")


def _add_store_commands(commands: _Commands) -> None:
    """Add the commands for stores, engines and the shell itself."""
    doctor = commands.add(
        "doctor", readers.cmd_doctor, "check this machine, the store and the engine"
    )
    add_table_options(doctor, sorts=False)
    compiled = commands.add(
        "compile", verbs.cmd_compile, "write a recipe's Kubeflow pipeline as YAML"
    )
    complete_recipes(compiled.add_argument("recipe", help="a shipped name, a path or a module"))
    compiled.add_argument("-o", "--output", required=True, type=Path, help="the file to write")
    commands.add("up", verbs.cmd_up, "start the embedded S3 server and print its address")
    commands.add("down", verbs.cmd_down, "stop the embedded S3 server; its data remain")
    clean = commands.add(
        "clean", readers.cmd_clean, "remove what interrupted submissions left in the store"
    )
    clean.add_argument("--dry-run", action="store_true", help="list it without removing it")
    clean.add_argument(
        "--older-than",
        type=float,
        default=1.0,
        metavar="HOURS",
        help="minimum age of what is removed; by default 1",
    )
    add_table_options(clean)
    migrate = commands.add(
        "migrate", verbs.migrate, "convert a store that an earlier version wrote"
    )
    migrate.add_argument("location", nargs="?", metavar="STORE", help="by default that of --store")
    completion = commands.add(
        "completion", cmd_completion, "print a script that completes commands and options"
    )
    completion.add_argument("shell", choices=("bash", "zsh"))
