"""The command ``rvlab``: the notebook's functions in a shell."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from rvlab.cli._parser import parse_arguments
from rvlab.cli._printable import printable
from rvlab.errors import RvlabError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    args = parse_arguments(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: _print_warning(message)
            status = int(args.call(args) or 0)
        sys.stdout.flush()
        return status
    except RvlabError as exc:
        print(f"rvlab: {printable(exc)}", file=sys.stderr)
        return 1
    except TimeoutError as exc:
        print(f"rvlab: {printable(exc)}", file=sys.stderr)
        return 124
    except BrokenPipeError:  # such as by `rvlab runs | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the interpreter's last flush
        return 141
    except KeyboardInterrupt as exc:
        if str(exc):  # what happens to the runs
            print(f"rvlab: {printable(exc)}", file=sys.stderr)
        return 130


def _print_warning(message: Warning | str) -> None:
    """Print a warning in one line, without the place in the source."""
    print(f"rvlab: {printable(message)}", file=sys.stderr)
