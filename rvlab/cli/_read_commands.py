"""The commands that print tables or texts of runs; each returns its exit status, or None for 0."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from typing import TYPE_CHECKING, Any, TextIO

from rvlab.cli._commands import open_lab
from rvlab.cli._printable import printable
from rvlab.cli._tables import plain_value, print_table, shorten, wants_table
from rvlab.errors import SpecError, TableError
from rvlab.frame.params import differing_columns
from rvlab.model.tables import COLUMNS_SHOWN

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.frame.run_selector import RunSelector
    from rvlab.lab import Lab


def show_runs(
    table: pd.DataFrame,
    args: argparse.Namespace,
    *,
    default_sort: str | None = None,
    empty: str = "No runs.",
) -> None:
    """Print rows of the table of runs: state, metrics and differing parameters first."""
    params = differing_columns(table)
    first = [c for c in map(str, table.columns[:COLUMNS_SHOWN]) if c.startswith("metrics.")]
    shown = ["state", *first, *params]
    shown += differing_columns(table, [c for c in ("epochs", "experiment") if c in table])
    shown += [c for c in ("tags", "note", "step", "error") if c in table and table[c].notna().any()]
    shown += [c for c in ("priority", "archived") if c in table and (table[c].fillna(0) != 0).any()]
    shown += ["duration", "name"]
    print_table(table, args, shown=shown, pinned=["state"], default_sort=default_sort, empty=empty)


def show_ended_runs(table: pd.DataFrame, args: argparse.Namespace) -> int:
    """Print runs that were started or awaited; return 1 if the options of the table are wrong.

    The runs exist already, so the error is printed, and then the table without these options.
    """
    try:
        show_runs(table, args)
    except (SpecError, TableError) as exc:
        print(f"rvlab: {printable(exc)}", file=sys.stderr)
        args.columns = args.sort = None
        show_runs(table, args)
        return 1
    return 0


def _select_runs(lab: Lab, args: argparse.Namespace, **filters: Any) -> tuple[pd.DataFrame, int]:
    """Return the table of the named runs and the number of archived ones that are left out."""
    table = lab.runs(args.runs or None, **filters)
    hidden = 0 if args.all else int(table["archived"].sum())
    if hidden:
        table = table[~table["archived"]]
        print(f"Archived runs are hidden ({hidden}); --all shows them.", file=sys.stderr)
    return table, hidden


def cmd_runs(args: argparse.Namespace) -> None:
    filters: dict[str, Any] = {"state": args.state or None, "tags": args.tag or None}
    table, hidden = _select_runs(open_lab(args), args, **filters)
    show_runs(
        table,
        args,
        default_sort="created",
        empty="No runs but archived ones." if hidden else "No runs yet.",
    )


def cmd_show(args: argparse.Namespace) -> None:
    lab = open_lab(args)
    row = lab.runs(lab.run(args.run)).reset_index().iloc[0]
    found = {str(name): plain_value(value) for name, value in row.items()}
    if args.json:
        print(json.dumps(found, indent=2, allow_nan=False))
        return
    present = {name: value for name, value in found.items() if value is not None}
    width = max(map(len, present))
    for name, value in present.items():
        print(printable(f"{name:{width}}  {' '.join(str(value).split())}"))


def cmd_experiments(args: argparse.Namespace) -> None:
    from rvlab.actions.overview import summarize_experiments

    args.runs = None
    runs, _ = _select_runs(open_lab(args), args)
    table = summarize_experiments(runs, args.metric, ascending=args.ascending)
    print_table(table, args, pinned=["runs"], empty="No experiments yet.")


def cmd_recipes(args: argparse.Namespace) -> None:
    from rvlab.actions.overview import list_recipes
    from rvlab.recipes import find_recipe
    from rvlab.recipes.literals import UNKNOWN_DEFAULT
    from rvlab.recipes.signature import REQUIRED

    if wants_table(args):
        print_table(list_recipes(), args)
        return
    for name, row in list_recipes().iterrows():
        print(f"{name}: {row['description']}")
        for one in find_recipe(str(name)).signature.parameters.values():
            default = "" if one.default is UNKNOWN_DEFAULT else f" = {one.default!r}"
            text = " (required)" if one.default is REQUIRED else default
            limits = f"  # {one.limits}" if one.limits else ""
            print(f"    {one.name}: {one.type_text or 'any'}{text}{limits}")


def cmd_best(args: argparse.Namespace) -> None:
    lab = open_lab(args)
    table, _ = _select_runs(lab, args)
    found = lab.best(table, args.metric, ascending=args.ascending)
    if args.id:
        print(found.id)
        return
    show_runs(lab.runs(found), args)


def cmd_compare(args: argparse.Namespace) -> None:
    from rvlab import compare

    table, _ = _select_runs(open_lab(args), args)
    board = compare.board(
        table, args.metric, ascending=args.ascending, across_sets=args.across_sets
    )
    shown = [name for name in map(str, board) if name != "uri"]
    print_table(board, args, shown=shown, pinned=shown[:2])


def cmd_table(args: argparse.Namespace) -> None:
    """Print a table of `rvlab.Lab`, whose method has the name of the command."""
    table = getattr(open_lab(args), args.command)(args.runs or None)
    print_table(table, args, empty=f"These runs have no {args.command}.")


def cmd_download(args: argparse.Namespace) -> None:
    table = open_lab(args).download(args.runs or None, kind=args.kind or None, to=args.to)
    print_table(table, args)


def cmd_wait(args: argparse.Namespace) -> int:
    table = open_lab(args).wait(
        args.runs or None, timeout_s=args.timeout, progress=sys.stderr.isatty()
    )
    status = show_ended_runs(table, args)
    return status or int(bool((table["state"] != "succeeded").any()))


def cmd_watch(args: argparse.Namespace) -> int:
    return watch_until_ended(open_lab(args), args.run or None, sys.stdout)


def watch_until_ended(lab: Lab, runs: RunSelector, out: TextIO) -> int:
    """Print one line per run, rewritten in a terminal, until all have ended; return the status."""
    from rvlab.actions.watch import monitor_runs
    from rvlab.errors import WaitInterrupted

    monitor = monitor_runs(lab.store, lab.engine, runs)
    rewrites = out.isatty()
    shown: list[str] = []

    def show() -> None:
        nonlocal shown
        lines = printable(monitor.text()).splitlines()
        if lines == shown:
            return
        if rewrites:  # what is wrapped or scrolled cannot be rewritten
            width, height = shutil.get_terminal_size()
            start = f"\x1b[{len(shown)}F\x1b[J" if shown else ""
            more = len(lines) - (height - 2)
            lines = [*lines[: height - 2], f"… and {more} more"] if more > 0 else lines
            print(start + "\n".join(shorten(one, width - 1) for one in lines), flush=True, file=out)
        else:
            new = [line for line in lines if line not in shown]
            print("\n".join(new), flush=True, file=out)
        shown = lines

    monitor.on_change = show
    monitor.start()
    try:
        monitor.join()
    except KeyboardInterrupt as exc:
        raise WaitInterrupted("The runs continue.") from exc
    return int(any(one.state != "succeeded" for one in monitor.runs))


def cmd_logs(args: argparse.Namespace) -> None:
    lab = open_lab(args)
    if args.follow:
        lab.logs(args.run, args.step, tail=args.tail, follow=True)
    else:
        text = lab.logs(args.run, args.step, tail=args.tail)
        print(printable(text) if text else "The run has no log yet.")


def cmd_doctor(args: argparse.Namespace) -> int:
    from rvlab.actions.check import check_all, checks_table

    results = check_all(args.store, args.engine, args.profile)
    if wants_table(args):
        print_table(checks_table(results), args)
    else:
        width = max(len(f"{one.subject}: {one.check}") for one in results)
        for one in results:
            line = f"{one.state:11}  {f'{one.subject}: {one.check}':{width}}  {one.detail}"
            print(printable(line.rstrip()))
            if one.remedy and one.state in ("failed", "not checked"):
                print(printable(f"{'':11}  -> {one.remedy}"))
    return int(any(one.state == "failed" for one in results))


def cmd_clean(args: argparse.Namespace) -> None:
    table = open_lab(args).clean(older_than_s=args.older_than * 3600, dry_run=args.dry_run)
    print_table(table, args, empty="Nothing is left over.")
