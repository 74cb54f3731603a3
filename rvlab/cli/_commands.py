"""The commands; each returns its exit status, or None for 0."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from rvlab.cli._printable import printable
from rvlab.cli._tables import parse_pairs, parse_points
from rvlab.errors import SpecError

if TYPE_CHECKING:
    from rvlab.recipes.signature import Signature

EXIT_STATUS = {"passes": 0, "fails": 3, "cannot tell": 4}
"""Exit statuses of ``rvlab gate``; 1 is an error and 2 a usage error, as for other commands."""


DEMO_RECIPE = "synthetic_town"
DEMO_POINTS = [{"lr": lr, "width": width} for lr in (1e-3, 1e-2) for width in (4, 8)]
"""The recipe of ``rvlab demo`` and the parameters of its runs."""


def open_lab(args: argparse.Namespace) -> Any:
    from rvlab.lab import Lab

    return Lab(args.store, args.engine, profile=args.profile)


def _server_folder(args: argparse.Namespace) -> str | None:
    """Return the folder of the selected embedded server."""
    from rvlab.actions.open_store import EMBEDDED, store_text

    kind, _, folder = store_text(args.store).partition(":")
    if kind != EMBEDDED:
        raise SpecError(f"The store {store_text(args.store)!r} is not an embedded server of rvlab.")
    return folder or None


def cmd_up(args: argparse.Namespace) -> None:
    from rvlab.store import server

    found = server.start_server(_server_folder(args))
    print(f"{found.endpoint}, bucket {found.bucket!r}, data and credentials in {found.folder}")


def cmd_down(args: argparse.Namespace) -> None:
    from rvlab.store import server

    print("Stopped." if server.stop_server(_server_folder(args)) else "It was not running.")


def migrate(args: argparse.Namespace) -> None:
    from rvlab.actions.migrate import migrate_store
    from rvlab.lab import Lab

    store = Lab(args.location or args.store).store
    number = migrate_store(store)
    print(f"{store.uri}: {number} experiments converted." if number else "Nothing to convert.")


def _params(args: argparse.Namespace, signature: Signature) -> dict[str, Any]:
    """Return the parameters of ``NAME=VALUE`` and of ``-a NAME VALUE``."""
    given = dict(args.arg)
    return signature.from_text({**given, **parse_pairs(args.params, given)})


def cmd_submit(args: argparse.Namespace) -> int:
    from rvlab.recipes import find_recipe

    lab = open_lab(args)
    params = _params(args, find_recipe(args.recipe).signature)
    options = {"splits": args.splits, "seed": args.seed, "priority": args.priority}
    run = lab.submit(args.recipe, experiment=args.experiment, params=params, **options)
    print(run.uri)
    if run.link:
        print(run.link)
    if not args.wait:
        return 0
    row = lab.wait(run, progress=sys.stderr.isatty()).iloc[0]
    ended = row["state"] if row["state"] == "succeeded" else f"{row['state']}: {row['error']}"
    print(printable(ended))
    return 0 if row["state"] == "succeeded" else 1


def cmd_predict(args: argparse.Namespace) -> int:
    from rvlab.actions.predict import save_prediction

    if bool(args.images) == bool(args.source):
        raise SpecError("predict needs images, or a --source for each source of the run's imagery.")
    lab = open_lab(args)
    bands = [int(one) if one.isdigit() else one for one in args.bands.split(",")]
    run = lab.predict(
        args.run,
        tuple(args.source) if args.source else args.images,
        labels=args.labels or None,
        overlap=None if args.run_options else args.overlap,
        scores=args.scores,
        bands=bands if args.bands else None,
        experiment=args.experiment,
        splits=args.splits,
        priority=args.priority,
        trust_code=args.trust_code,
    )
    print(run.uri, file=sys.stderr)
    row = lab.wait(run, progress=sys.stderr.isatty()).iloc[0]
    if row["state"] != "succeeded":
        print(printable(f"{row['state']}: {row['error']}"), file=sys.stderr)
        return 1
    for path in save_prediction(lab.store, lab.artifacts(run), args.output):
        print(printable(path))
    return 0


def cmd_demo(args: argparse.Namespace) -> int:
    from rvlab import compare
    from rvlab.cli._read_commands import watch_until_ended
    from rvlab.cli._tables import print_table
    from rvlab.recipes import find_recipe

    lab = open_lab(args)
    params = {"epochs": 6, **_params(args, find_recipe(DEMO_RECIPE).signature)}
    left = [{name: one[name] for name in one if name not in params} for one in DEMO_POINTS]
    points = [one for number, one in enumerate(left) if one not in left[:number]]
    runs = lab.sweep(DEMO_RECIPE, points, experiment=args.experiment, **params)
    print("\n".join(run.uri for run in runs), file=sys.stderr)
    status = watch_until_ended(lab, runs, sys.stderr)
    print_table(compare.board(lab.runs(runs)), args, pinned=["rank"])
    where = repr(args.store) if args.store else ""
    print(f"In a notebook: rvlab.Lab({where}).viewer({args.experiment!r})", file=sys.stderr)
    return status


def cmd_sweep(args: argparse.Namespace) -> int:
    from rvlab.cli._read_commands import show_ended_runs
    from rvlab.recipes import find_recipe
    from rvlab.submission import grid

    lab = open_lab(args)
    signature = find_recipe(args.recipe).signature
    axes = {
        name: [signature.from_text({name: text})[name] for text in texts]
        for name, texts in parse_points(args.params).items()
    }
    options = {"splits": args.splits, "seed": args.seed, "priority": args.priority}
    runs = lab.sweep(args.recipe, grid(**axes), experiment=args.experiment, **options)
    print("\n".join(run.uri for run in runs), file=sys.stderr)
    if not args.wait:
        return show_ended_runs(lab.runs(runs), args)
    table = lab.wait(runs, progress=sys.stderr.isatty())
    status = show_ended_runs(table, args)
    return status or int(bool((table["state"] != "succeeded").any()))


def cmd_retry(args: argparse.Namespace) -> None:
    open_lab(args).retry(args.run)


def cmd_compile(args: argparse.Namespace) -> None:
    from rvlab.pipeline.compile import compile_for_upload
    from rvlab.recipes import find_recipe
    from rvlab.settings import load_profile, store_setting

    settings = load_profile(args.profile)
    store = args.store or settings.store
    source = "--store" if args.store else store_setting(None, settings)
    remedy = "Pass --store s3://bucket/prefix, or set `store` in rvlab.toml."
    recipe = find_recipe(args.recipe)
    text = compile_for_upload(recipe, settings, store=store, source=source, remedy=remedy)
    try:
        args.output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise SpecError(f"{args.output} cannot be written: {exc.strerror}.") from exc
    print(printable(f"{args.output}: runs of this pipeline write to {store} ({source})."))


def cmd_gate(args: argparse.Namespace) -> int:
    from rvlab import compare

    lab = open_lab(args)
    found = compare.gate(
        lab.runs(args.candidate),
        lab.runs(args.baseline),
        args.metric,
        args.margin,
        group=args.group,
        level=args.level,
    )
    print(printable(found))
    return EXIT_STATUS[found.verdict]


def cmd_cancel(args: argparse.Namespace) -> None:
    open_lab(args).cancel(args.run)


def cmd_clone(args: argparse.Namespace) -> None:
    from rvlab.clone import load_recorded
    from rvlab.frame.run_selector import require_one

    lab = open_lab(args)
    run = require_one(lab.store, args.run, "clone")
    _, recipe = load_recorded(lab.store, run)
    params = _params(args, recipe.signature)
    options = {"seed": args.seed, "priority": args.priority}
    print(lab.clone(run, experiment=args.experiment, params=params, **options).uri)


def cmd_tag(args: argparse.Namespace) -> None:
    open_lab(args).tag(args.run, *args.tag, remove=args.remove)


def cmd_note(args: argparse.Namespace) -> None:
    open_lab(args).note(args.run, args.text)


def cmd_archive(args: argparse.Namespace) -> None:
    open_lab(args).archive(args.run, undo=args.undo)


def cmd_delete(args: argparse.Namespace) -> None:
    open_lab(args).delete(args.run, confirm=args.yes_delete)
