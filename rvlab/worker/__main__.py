"""Command line of the worker: ``python -m rvlab.worker STEP RUN_URI [--split I N]``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from rvlab.errors import RvlabError
from rvlab.model import STEPS
from rvlab.worker.threads import limit_threads

PATH_VARIABLE = "RVLAB_PATH"
"""Environment variable with the folders that recipes may import from, like PYTHONPATH."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one step, or all of them, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rvlab.worker", description=__doc__)
    parser.add_argument("step", choices=[*STEPS, "run"], help="run: all steps, one by one")
    parser.add_argument("run_uri", help="{store}/{experiment}/{run}")
    parser.add_argument("--split", nargs=2, type=int, metavar=("I", "N"), help="piece I of N")
    args = parser.parse_args(argv)
    split, of = args.split or (None, None)
    if split is not None and not 0 <= split < of:
        parser.error(f"--split {split} {of}: I counts from 0 to N - 1.")
    limit_threads()
    extend_import_path()
    try:
        if args.step == "run":
            from rvlab.worker.run_all import run_all

            return run_all(args.run_uri)
        from rvlab.worker.step import run_step

        return run_step(args.run_uri, args.step, split=split, of=of)[0]
    except RvlabError as exc:
        print(f"rvlab: {exc}", file=sys.stderr)
        return 1


def extend_import_path() -> None:
    """Add the folders in RVLAB_PATH to ``sys.path``, so that recipes can import from them.

    They are appended, so that a ``logging.py`` beside a recipe does not shadow Python's own.
    """
    folders = os.environ.get(PATH_VARIABLE, "").split(os.pathsep)
    sys.path.extend(folder for folder in folders if folder and folder not in sys.path)


if __name__ == "__main__":
    sys.exit(main())
