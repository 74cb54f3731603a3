"""The text of a log, and how it is shown."""

from __future__ import annotations

import json
import pickle

import pytest

from rvlab.display.log_text import MAX_SHOWN_LINES, LogText, PrintedLog
from rvlab.display.printable import collapse_returns, plain_lines

BAR = "Epoch 0:   0%|     |\rEpoch 0:  50%|##   |\rEpoch 0: 100%|#####|"
SCRIPT = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"start\n{BAR}\nend\n", "start\nEpoch 0: 100%|#####|\nend\n"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("old\rnew\r", "new"),
        ("no bar\n", "no bar\n"),
        ("\r\r\n", "\n"),
    ],
)
def test_progress_bars_collapse_to_their_last_state(text: str, shown: str) -> None:
    assert collapse_returns(text) == shown


def test_log_is_a_string_and_shows_itself_as_lines() -> None:
    text = "\x1b[31mred\x1b[0m\nline\n"
    log = LogText(text, "train")
    assert log == text
    assert str(log) == text
    assert "line" in log
    assert json.loads(json.dumps(log)) == text
    assert pickle.loads(pickle.dumps(log)) == text  # noqa: S301  its own bytes
    assert repr(log) == "red\nline\n"
    assert log.tail(1) == "line"
    assert log.tail(5) == text.rstrip("\n")
    assert plain_lines("\x1b]0;title\x07\x1b[2Ka") == "\\x1b]0;title\\x07a"


def test_html_of_a_log_is_escaped_and_limited() -> None:
    html = LogText(f"{SCRIPT}\n\x1b[31mred\x1b[0m\n", f"train {SCRIPT}")._repr_html_()
    assert SCRIPT not in html
    assert html.count("&lt;script&gt;") == 2
    assert ">2 lines<" in html
    assert "\x1b" not in html
    long = LogText("".join(f"line {n}\n" for n in range(MAX_SHOWN_LINES + 10)))._repr_html_()
    assert "the first 10 are not shown" in long
    assert "line 9\n" not in long
    assert f"line {MAX_SHOWN_LINES + 9}" in long
    assert "The log is empty." in LogText("")._repr_html_()


def test_log_in_ipython_is_shown_as_lines_and_once_if_it_was_printed() -> None:
    from IPython.core.formatters import DisplayFormatter

    formatter = DisplayFormatter()
    data, _ = formatter.format(LogText("a\nb"))
    assert data["text/plain"] == "a\nb"
    assert "<pre" in data["text/html"]
    assert formatter.format(PrintedLog("a\nb")) == ({}, {})
