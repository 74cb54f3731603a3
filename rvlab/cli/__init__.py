"""``rvlab``: the notebook's verbs in a shell."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rvlab.cli._parser import parser
from rvlab.errors import RvlabError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    args = parser().parse_args(argv)
    try:
        return int(args.call(args) or 0)
    except RvlabError as exc:
        print(f"rvlab: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
