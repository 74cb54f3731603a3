"""What a notebook shows of an error."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rvlab.errors import DEBUG_VARIABLE, RvlabError, SpecError


def caught() -> RvlabError:
    try:
        raise SpecError("The value 0 is too small. Pass 1 or more.")
    except SpecError as exc:
        return exc


def test_notebook_shows_one_sentence_then_the_traceback_on_request() -> None:
    exc = caught()
    assert exc._render_traceback_() == ["SpecError: The value 0 is too small. Pass 1 or more."]
    again = "\n".join(exc._render_traceback_())
    assert "Traceback" in again
    assert "test_errors.py" in again
    assert "The value 0 is too small" in again
    assert len(caught()._render_traceback_()) == 1, "each error is shown briefly once"


def test_variable_shows_every_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    assert "test_errors.py" in "\n".join(caught()._render_traceback_())


IN_IPYTHON = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors="NoColor")
shell.run_cell("from rvlab.errors import SpecError")
shell.run_cell("def f():\\n    raise SpecError('Pass 1 or more.')\\nf()")
print("-- tb")
shell.run_cell("%tb")
print("-- bug")
shell.run_cell("1/0")
"""


def test_ipython_shows_a_sentence_the_traceback_for_tb_and_bugs_in_full() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_IPYTHON], capture_output=True, text=True, check=True
    )
    brief, full, bug = done.stdout.replace("-- bug", "-- tb").split("-- tb\n")
    assert brief.strip() == "SpecError: Pass 1 or more."
    assert "in f()" in full
    assert full.strip().endswith("SpecError: Pass 1 or more.")
    assert "ZeroDivisionError" in bug
    assert "Traceback (most recent call last)" in bug
