"""``rvlab``: the notebook's verbs in a shell."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from rvlab.errors import RvlabError, SpecError

VERDICTS = {"passes": 0, "fails": 3, "cannot tell": 4}
"""Exit statuses of ``rvlab gate``; 1 is an error and 2 a wrong command line, as everywhere."""

GATE = "test whether a run may replace another: exit 0 passes, 3 fails, 4 cannot tell"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    args = _parser().parse_args(argv)
    try:
        return int(args.call(args) or 0)
    except RvlabError as exc:
        print(f"rvlab: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rvlab", description=__doc__)
    parser.add_argument("--store", help="a folder, s3://bucket/prefix or embedded[:FOLDER]")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def verb(name: str, call: Any, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(call=call)
        return added

    verb("up", _up, "start the embedded S3 server and say how to reach it")
    verb("down", _down, "stop the embedded S3 server; its data stay")
    verb("recipes", _recipes, "list the recipes that come with rvlab, and their parameters")
    submit = verb("submit", _submit, "start a run and return at once")
    submit.add_argument("recipe", help="a shipped name, a path or a module")
    submit.add_argument(
        "-a", "--arg", nargs=2, action="append", default=[], metavar=("KEY", "VALUE")
    )
    submit.add_argument("-e", "--experiment", default="default")
    submit.add_argument("-s", "--splits", type=int, default=1)
    submit.add_argument("--seed", type=int)
    submit.add_argument("--wait", action="store_true", help="wait until it has ended")
    runs = verb("runs", _runs, "print the table of runs")
    runs.add_argument("experiment", nargs="?")
    runs.add_argument("--all", action="store_true", help="archived runs, too")
    runs.add_argument("--sort", default="created", metavar="COLUMN", help="such as metrics.f1")
    logs = verb("logs", _logs, "print what a run printed")
    logs.add_argument("run")
    logs.add_argument("step", nargs="?")
    gate = verb("gate", _gate, GATE)
    gate.add_argument("candidate", nargs="+", help="a run, or several of one setting, by id or URI")
    gate.add_argument("--baseline", nargs="+", required=True, help="the same")
    gate.add_argument("--metric", default="f1", help="such as f1, mean_iou or f1.road")
    gate.add_argument("--margin", type=float, default=0.0, help="how much worse it may be")
    gate.add_argument("--group", default="validation", help="the group of scenes")
    gate.add_argument("--level", type=float, default=0.95, help="the level of the interval")
    cancel = verb("cancel", _cancel, "end a run, with all its processes")
    cancel.add_argument("run", nargs="+")
    clone = verb("clone", _clone, "start a run again, with what is given changed")
    clone.add_argument("run")
    clone.add_argument(
        "-a", "--arg", nargs=2, action="append", default=[], metavar=("KEY", "VALUE")
    )
    clone.add_argument("-e", "--experiment", help="where it goes; by default where the run is")
    clone.add_argument("--seed", type=int)
    tag = verb("tag", _tag, "add tags to a run, and take others away")
    tag.add_argument("run")
    tag.add_argument("tag", nargs="*")
    tag.add_argument("--remove", action="append", default=[], metavar="TAG")
    note = verb("note", _note, "write a note on a run, in place of an earlier one")
    note.add_argument("run")
    note.add_argument("text", help="'' clears it")
    archive = verb("archive", _archive, "put runs out of sight; nothing of them is lost")
    archive.add_argument("run", nargs="+")
    archive.add_argument("--undo", action="store_true", help="bring them back")
    delete = verb("delete", _delete, "delete runs for good; asks for their name")
    delete.add_argument("run", nargs="+")
    delete.add_argument("--yes-delete", metavar="NAME", help="the name, for scripts")
    return parser


def _lab(args: argparse.Namespace) -> Any:
    from rvlab.lab import Lab

    return Lab(args.store)


def _folder(args: argparse.Namespace) -> str | None:
    """The folder of the embedded server that is meant."""
    from rvlab.lab import EMBEDDED, store_text

    kind, _, folder = store_text(args.store).partition(":")
    if kind != EMBEDDED:
        raise SpecError(
            f"The store {store_text(args.store)!r} is not an embedded server of rvlab's."
        )
    return folder or None


def _up(args: argparse.Namespace) -> None:
    from rvlab.store import server

    found = server.start(_folder(args))
    print(f"{found.endpoint}, bucket {found.bucket!r}, data and credentials in {found.folder}")


def _down(args: argparse.Namespace) -> None:
    from rvlab.store import server

    print("Stopped." if server.stop(_folder(args)) else "It was not running.")


def _recipes(_args: argparse.Namespace) -> None:
    from rvlab.recipes import find, shipped
    from rvlab.recipes.signature import REQUIRED, UNKNOWN

    for name in shipped():
        print(name)
        for parameter in find(name).signature.parameters.values():
            default = "" if parameter.default is UNKNOWN else f" = {parameter.default!r}"
            text = " (required)" if parameter.default is REQUIRED else default
            print(f"    {parameter.name}: {parameter.annotation or 'any'}{text}")


def _submit(args: argparse.Namespace) -> int:
    from rvlab.recipes import find

    lab = _lab(args)
    parameters = find(args.recipe).signature.parameters
    params = {k: _value(v, parameters.get(k), args.recipe) for k, v in args.arg}
    run = lab.submit(
        args.recipe, experiment=args.experiment, splits=args.splits, seed=args.seed, params=params
    )
    print(run.uri)
    if not args.wait:
        return 0
    row = lab.wait(run).iloc[0]
    print(row["state"] if row["state"] == "succeeded" else f"{row['state']}: {row['error']}")
    return 0 if row["state"] == "succeeded" else 1


def _value(text: str, parameter: Any, recipe: str) -> Any:
    """A value from the shell: as JSON reads it where the parameter takes that, else the text."""
    if parameter is None or parameter.hint is str:
        return text
    try:
        value = json.loads(text.lower() if text in ("True", "False") else text)
        return parameter.checked(value, recipe)
    except ValueError:  # not JSON, or not of the parameter's type
        return text


def _runs(args: argparse.Namespace) -> None:
    from rvlab.errors import TableError, did_you_mean

    table = _lab(args).runs(args.experiment)
    if args.sort not in table:
        raise TableError(f"There is no column {args.sort!r}. {did_you_mean(args.sort, table)}")
    hidden = 0 if args.all else int(table["archived"].sum())
    if hidden:
        table = table[~table["archived"]]
        print(f"Archived runs are hidden ({hidden}); --all shows them.", file=sys.stderr)
    shown = ["name", "experiment", "state", "duration"]
    shown += [c for c in ("tags", "note") if table[c].notna().any()]
    shown += ["archived"] if table["archived"].any() else []
    shown += [c for c in table if c.startswith("params.") and table[c].nunique(dropna=False) > 1]
    shown += [c for c in ("metrics.f1", "metrics.mean_iou") if c in table]
    if args.sort not in shown:
        shown.append(args.sort)
    table = table.sort_values(args.sort, ascending=False)[shown]
    table["duration"] = table["duration"].dt.round("s")
    empty = "No runs but archived ones." if hidden else "No runs yet."
    print(table.to_string() if len(table) else empty)


def _logs(args: argparse.Namespace) -> None:
    print(_lab(args).logs(args.run, args.step))


def _gate(args: argparse.Namespace) -> int:
    from rvlab import compare

    lab = _lab(args)
    found = compare.gate(
        lab.runs(args.candidate),
        lab.runs(args.baseline),
        args.metric,
        args.margin,
        group=args.group,
        level=args.level,
    )
    print(found)
    return VERDICTS[found.verdict]


def _cancel(args: argparse.Namespace) -> None:
    _lab(args).cancel(args.run)


def _clone(args: argparse.Namespace) -> None:
    from rvlab.engines.repeat import recorded
    from rvlab.frame.select import one_present

    lab = _lab(args)
    run = one_present(lab.store, args.run, "clone")
    _, recipe = recorded(lab.store, run)
    parameters = recipe.signature.parameters
    params = {k: _value(v, parameters.get(k), recipe.name) for k, v in args.arg}
    print(lab.clone(run, experiment=args.experiment, seed=args.seed, params=params).uri)


def _tag(args: argparse.Namespace) -> None:
    _lab(args).tag(args.run, *args.tag, remove=args.remove)


def _note(args: argparse.Namespace) -> None:
    _lab(args).note(args.run, args.text)


def _archive(args: argparse.Namespace) -> None:
    _lab(args).archive(args.run, undo=args.undo)


def _delete(args: argparse.Namespace) -> None:
    _lab(args).delete(args.run, confirm=args.yes_delete)


if __name__ == "__main__":
    sys.exit(main())
