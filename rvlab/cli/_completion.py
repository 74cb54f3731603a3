"""Completion of commands, options and recipes in bash and zsh, as a script that shtab writes."""

from __future__ import annotations

import argparse

_PREAMBLE = {
    "bash": """
_rvlab_recipes() {{
  compgen -W "{names}" -- "$1"
  compgen -f -X '!*.py' -- "$1"
  compgen -d -S / -- "$1"
}}
""",
    "zsh": """
_rvlab_recipes() {{
  _values recipe {names}
  _files -g '*.py'
}}
""",
}


def complete_recipes(action: argparse.Action) -> None:
    """Complete an argument with the included recipes and Python files."""
    action.complete = {"bash": "_rvlab_recipes", "zsh": "_rvlab_recipes"}  # type: ignore[attr-defined]


def completion_script(shell: str) -> str:
    """Return the script that completes ``rvlab`` in a shell.

    Args:
        shell: ``bash`` or ``zsh``.
    """
    import shtab

    from rvlab.cli._parser import build_parser
    from rvlab.recipes import shipped_recipes

    names = " ".join(shipped_recipes())
    preamble = {name: text.format(names=names) for name, text in _PREAMBLE.items()}
    return str(shtab.complete(build_parser(), shell, preamble=preamble))


def cmd_completion(args: argparse.Namespace) -> None:
    print(completion_script(args.shell))
