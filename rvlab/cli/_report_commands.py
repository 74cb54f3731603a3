"""The commands that write files about runs: reports and notebooks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rvlab.cli._commands import open_lab
from rvlab.cli._printable import printable


def add_report_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands.

    Args:
        add: A function of a command's name, its function and its help that returns its parser.
    """
    for name, call, text in (
        ("report", cmd_report, "write an HTML report of an experiment or a run"),
        ("notebook", cmd_notebook, "write a notebook about an experiment"),
    ):
        command = add(name, call, text)
        command.add_argument("run", nargs="+", help="an experiment, or runs")
        command.set_defaults(remaining="run")
        by_default = "by default named after the experiment"
        command.add_argument("-o", "--output", type=Path, help=f"the file; {by_default}")
        command.add_argument("--metric", default="metrics.f1", help="the leaderboard's metric")
        command.add_argument(
            "--ascending", action="store_true", default=None, help="less is better"
        )


def cmd_report(args: argparse.Namespace) -> None:
    path = args.output or f"{_file_stem(args.run)}.html"
    print(printable(open_lab(args).report(args.run, path, **_order(args))))


def cmd_notebook(args: argparse.Namespace) -> None:
    path = args.output or f"{_file_stem(args.run)}.ipynb"
    print(printable(open_lab(args).notebook(args.run, path, **_order(args))))


def _order(args: argparse.Namespace) -> dict[str, Any]:
    return {"metric": args.metric, "ascending": args.ascending}


def _file_stem(names: Sequence[str]) -> str:
    """Return a name for a file about runs: the experiment's or the run's, if there is one."""
    return names[0].rstrip("/").rpartition("/")[2] if len(names) == 1 else "runs"
