"""Texts of a store must not control the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab.cli import main
from rvlab.cli._printable import printable
from rvlab.store import Store
from tests.frame.samples import Made

HOSTILE = "\x1b]0;title\x07\x1b[2J\x1b[31m red \x9b31m \u202egpj.exe \x08\x7f"


def test_control_characters_are_printed_as_escapes() -> None:
    assert printable("\x1b[2J\x9b\u202e") == "\\x1b[2J\\x9b\\u202e"
    assert printable("a\tb\r50%\nä €") == "a\tb\r50%\nä €"


def test_names_and_logs_of_a_store_do_not_control_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    run = Made(store).ended({"lr": HOSTILE}, {"f1": 0.5}, name=HOSTILE)
    store.put(run.log_key("train"), HOSTILE.encode())
    for command in (["runs"], ["logs", run.uri], ["logs", f"towns/{HOSTILE}"]):
        main(["--store", str(tmp_path), *command])
        printed = capsys.readouterr()
        for text in (printed.out, printed.err):
            assert not set("\x1b\x07\x08\x7f\x9b\u202e") & set(text)
        assert "\\x1b" in printed.out + printed.err
