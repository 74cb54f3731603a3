"""The commands for promoted models; each returns its exit status, or None for 0."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from rvlab.cli._commands import EXIT_STATUS, open_lab
from rvlab.cli._printable import printable
from rvlab.cli._tables import add_table_options, print_table
from rvlab.errors import GateNotPassed


def add_model_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands.

    Args:
        add: A function of a command's name, its function and its help that returns its parser.
    """
    models = add("models", cmd_models, "list promoted models and their versions")
    models.add_argument("model", nargs="?", help="a model, by default all")
    models.set_defaults(remaining="model")
    other = models.add_mutually_exclusive_group()
    other.add_argument("--log", action="store_true", help="which versions were current, and why")
    other.add_argument("--card", action="store_true", help="print the card of the current version")
    add_table_options(models)
    promote = add(
        "promote", cmd_promote, "make a run the next version of a model if the gate passes"
    )
    promote.add_argument("run")
    promote.add_argument("model", help="its name, such as vegas-buildings")
    promote.add_argument("--baseline", nargs="+", help="by default the run of the current version")
    promote.add_argument("--metric", help="by default f1, of an object detection object_f1")
    promote.add_argument("--margin", type=float, default=0.0, help="tolerated loss of the metric")
    promote.add_argument("--group", help="the scene group; by default that of the run's metrics")
    promote.add_argument("--level", type=float, default=0.95, help="the level of the interval")
    promote.add_argument("--override", metavar="REASON", help="promote although it does not pass")
    promote.add_argument("--note", default="", help="what users of the model should know")
    promote.add_argument("--license", help="such as apache-2.0")
    rollback = add("rollback", cmd_rollback, "make another version of a model the current one")
    rollback.add_argument("model")
    rollback.add_argument("--to", required=True, type=_version, help="the version, or 'none'")
    rollback.add_argument("--why", default="", metavar="REASON")


def cmd_models(args: argparse.Namespace) -> None:
    lab = open_lab(args)
    if args.log or args.card:
        if args.model is None:
            args.parser.error("--log and --card need a model")
        if args.card:
            from rvlab.actions.model_version import ModelVersion, select_version

            record = select_version(lab.store, args.model)
            if record is None:
                lab.models(args.model)  # raises NotFound, with similar names
            else:
                print(printable(ModelVersion(lab.store, record).card))
            return
        print_table(lab.model_log(args.model), args)
        return
    table = lab.models(args.model)
    metrics = [name for name in map(str, table.columns[3:6]) if name.startswith("metrics.")]
    shown = [
        "version",
        "current",
        *metrics,
        "gate",
        "promoted",
        "promoted_by",
        "run",
        "override",
        "note",
    ]
    optional = [name for name in ("override", "note") if table[name].isna().all()]
    shown = [name for name in shown if name not in optional]
    print_table(table, args, shown=shown, pinned=["version", "current"], empty="No models yet.")


def cmd_promote(args: argparse.Namespace) -> int:
    lab = open_lab(args)
    names = ("baseline", "metric", "margin", "group", "level", "override", "note", "license")
    try:
        made = lab.promote(args.run, args.model, **{name: getattr(args, name) for name in names})
    except GateNotPassed as exc:
        print(f"rvlab: {printable(exc)}", file=sys.stderr)
        return EXIT_STATUS.get(exc.verdict, EXIT_STATUS["cannot tell"])
    print(printable(f"{made}: {made.record.gate}. {made.record.gate_sentence}"))
    print(printable(made.uri))
    return 0


def cmd_rollback(args: argparse.Namespace) -> None:
    open_lab(args).rollback(args.model, to=args.to, why=args.why)


def _version(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a version such as 2, or 'none', got {text!r}")
    return int(text)
