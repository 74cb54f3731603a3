"""``rvlab``: the notebook's verbs in a shell."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from rvlab.errors import RvlabError, SpecError


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
    runs.add_argument("--sort", default="created", metavar="COLUMN", help="such as metrics.f1")
    logs = verb("logs", _logs, "print what a run printed")
    logs.add_argument("run")
    logs.add_argument("step", nargs="?")
    cancel = verb("cancel", _cancel, "end a run, with all its processes")
    cancel.add_argument("run", nargs="+")
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
    shown = ["name", "experiment", "state", "duration"]
    shown += [c for c in table if c.startswith("params.") and table[c].nunique(dropna=False) > 1]
    shown += [c for c in ("metrics.f1", "metrics.mean_iou") if c in table]
    if args.sort not in shown:
        shown.append(args.sort)
    table = table.sort_values(args.sort, ascending=False)[shown]
    table["duration"] = table["duration"].dt.round("s")
    print(table.to_string() if len(table) else "No runs yet.")


def _logs(args: argparse.Namespace) -> None:
    print(_lab(args).logs(args.run, args.step))


def _cancel(args: argparse.Namespace) -> None:
    _lab(args).cancel(args.run)


if __name__ == "__main__":
    sys.exit(main())
