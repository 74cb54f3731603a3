"""The commands; each returns its exit status, or None for 0."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rvlab.cli._printable import printable
from rvlab.errors import SpecError

EXIT_STATUS = {"passes": 0, "fails": 3, "cannot tell": 4}
"""Exit statuses of ``rvlab gate``; 1 is an error and 2 a usage error, as for other commands."""


def _open_lab(args: argparse.Namespace) -> Any:
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


def cmd_recipes(_args: argparse.Namespace) -> None:
    from rvlab.recipes import find_recipe, shipped_recipes
    from rvlab.recipes.signature import REQUIRED, UNKNOWN_DEFAULT

    for name in shipped_recipes():
        print(name)
        for parameter in find_recipe(name).signature.parameters.values():
            default = "" if parameter.default is UNKNOWN_DEFAULT else f" = {parameter.default!r}"
            text = " (required)" if parameter.default is REQUIRED else default
            print(f"    {parameter.name}: {parameter.annotation or 'any'}{text}")


def cmd_doctor(args: argparse.Namespace) -> int:
    from rvlab.actions.check import run_checks

    lab = _open_lab(args)
    results = run_checks(lab.store, lab.engine)
    width = max(len(f"{one.subject}: {one.check}") for one in results)
    for one in results:
        line = f"{one.state:11}  {f'{one.subject}: {one.check}':{width}}  {one.detail}"
        print(printable(line.rstrip()))
        if one.remedy and one.state != "ok":
            print(printable(f"{'':11}  -> {one.remedy}"))
    return int(any(one.state == "failed" for one in results))


def cmd_submit(args: argparse.Namespace) -> int:
    from rvlab.recipes import find_recipe

    lab = _open_lab(args)
    signature = find_recipe(args.recipe).signature
    params = signature.from_text(dict(args.arg))
    run = lab.submit(
        args.recipe, experiment=args.experiment, splits=args.splits, seed=args.seed, params=params
    )
    print(run.uri)
    if run.link:
        print(run.link)
    if not args.wait:
        return 0
    row = lab.wait(run).iloc[0]
    ended = row["state"] if row["state"] == "succeeded" else f"{row['state']}: {row['error']}"
    print(printable(ended))
    return 0 if row["state"] == "succeeded" else 1


def cmd_watch(args: argparse.Namespace) -> int:
    from rvlab.actions.watch import monitor_runs
    from rvlab.errors import WaitInterrupted

    lab = _open_lab(args)
    monitor = monitor_runs(lab.store, lab.engine, args.run or None)
    rewrites = sys.stdout.isatty()
    shown = ""

    def show() -> None:
        nonlocal shown
        text = printable(monitor.text())
        if text == shown:
            return
        if rewrites and shown:
            print(f"\x1b[{shown.count(chr(10)) + 1}F\x1b[J", end="")
        print(text, flush=True)
        shown = text

    monitor.on_change = show
    monitor.start()
    try:
        monitor.join()
    except KeyboardInterrupt as exc:
        raise WaitInterrupted("The runs continue.") from exc
    return int(any(one.state != "succeeded" for one in monitor.runs))


def cmd_runs(args: argparse.Namespace) -> None:
    from rvlab.errors import TableError, did_you_mean

    table = _open_lab(args).runs(args.experiment)
    if args.sort not in table:
        raise TableError(f"Unknown column {args.sort!r}. {did_you_mean(args.sort, table)}")
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
    print(printable(table.to_string()) if len(table) else empty)


def cmd_logs(args: argparse.Namespace) -> None:
    print(printable(_open_lab(args).logs(args.run, args.step)))


def cmd_retry(args: argparse.Namespace) -> None:
    _open_lab(args).retry(args.run)


def cmd_compile(args: argparse.Namespace) -> None:
    from rvlab.pipeline.compile import compile_pipeline
    from rvlab.recipes import find_recipe
    from rvlab.settings import load_profile, store_setting

    settings = load_profile(args.profile)
    store = args.store or settings.store
    source = "--store" if args.store else store_setting(None, settings)
    if not store or not store.startswith("s3://"):
        raise SpecError(
            f"Pods cannot reach the store {store!r} ({source}). Pass --store s3://bucket/prefix, "
            "or set `store` in rvlab.toml."
        )
    text = compile_pipeline(find_recipe(args.recipe), settings, store=store)
    try:
        args.output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise SpecError(f"{args.output} cannot be written: {exc.strerror}.") from exc
    print(printable(f"{args.output}: runs of this pipeline write to {store} ({source})."))


def cmd_gate(args: argparse.Namespace) -> int:
    from rvlab import compare

    lab = _open_lab(args)
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
    _open_lab(args).cancel(args.run)


def cmd_clone(args: argparse.Namespace) -> None:
    from rvlab.clone import load_recorded
    from rvlab.frame.select import require_one

    lab = _open_lab(args)
    run = require_one(lab.store, args.run, "clone")
    _, recipe = load_recorded(lab.store, run)
    params = recipe.signature.from_text(dict(args.arg))
    print(lab.clone(run, experiment=args.experiment, seed=args.seed, params=params).uri)


def cmd_tag(args: argparse.Namespace) -> None:
    _open_lab(args).tag(args.run, *args.tag, remove=args.remove)


def cmd_note(args: argparse.Namespace) -> None:
    _open_lab(args).note(args.run, args.text)


def cmd_archive(args: argparse.Namespace) -> None:
    _open_lab(args).archive(args.run, undo=args.undo)


def cmd_clean(args: argparse.Namespace) -> None:
    table = _open_lab(args).clean(older_than_s=args.older_than * 3600, dry_run=args.dry_run)
    print(table.to_string(index=False) if len(table) else "Nothing is left over.")


def cmd_delete(args: argparse.Namespace) -> None:
    _open_lab(args).delete(args.run, confirm=args.yes_delete)
