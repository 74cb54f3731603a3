"""Completion of the shell command, and its documented exit statuses."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rvlab.cli import main
from rvlab.cli._parser import EXIT_STATUSES, build_parser

RUNNING = Path(__file__).parents[1] / "docs" / "running.md"


def complete(shell: str, *words: str) -> list[str]:
    """Return what a real bash offers after some words, the last of which is incomplete."""
    from rvlab.cli._completion import completion_script

    quoted = " ".join(f"'{word}'" for word in words)
    ask = f"""
{completion_script(shell)}
COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE='{" ".join(words)}'
COMP_POINT=${{#COMP_LINE}}
$(complete -p rvlab | sed 's/.*-F \\([^ ]*\\).*/\\1/') rvlab '{words[-1]}' '{words[-2]}'
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    command = ["bash", "--norc", "--noprofile", "-c", ask]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_options_and_recipes() -> None:
    assert {"runs", "recipes", "retry"} <= set(complete("bash", "rvlab", "r"))
    assert complete("bash", "rvlab", "runs", "--js") == ["--json"]
    assert complete("bash", "rvlab", "completion", "z") == ["zsh"]
    found = complete("bash", "rvlab", "submit", "synth")
    assert "synthetic_town" in found


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_accepts_the_script() -> None:
    from rvlab.cli._completion import completion_script

    ask = 'autoload -U compinit; compinit -u -D; eval "$SCRIPT"; print -r -- $_comps[rvlab]'
    environ = {**os.environ, "SCRIPT": completion_script("zsh")}
    command = ["zsh", "-f", "-c", ask]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    assert (done.stdout.strip(), done.stderr) == ("_shtab_rvlab", "")


def test_the_script_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh"):
        assert main(["completion", shell]) == 0
        out = capsys.readouterr().out
        assert "_rvlab_recipes" in out
        assert "synthetic_town" in out


def test_exit_statuses_are_the_same_in_help_and_documentation() -> None:
    help_ = build_parser().format_help()
    text = RUNNING.read_text()
    documented = dict(re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE))
    assert {int(number) for number in documented} == set(EXIT_STATUSES)
    for number, meaning in EXIT_STATUSES.items():
        assert f"{number:3}  {meaning}" in help_
        assert documented[str(number)].replace("`", "") == meaning


def test_every_command_is_documented() -> None:
    text = RUNNING.read_text()
    (commands,) = (
        one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction)
    )
    assert not [name for name in commands.choices if f"`rvlab {name}" not in text]
