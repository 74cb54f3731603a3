"""Tables of the shell command: their width, their options, JSON and CSV."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import json
import math
import os
import pty
import struct
import subprocess
import sys
import termios
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvlab.cli import main
from rvlab.cli._parser import parse_arguments
from rvlab.cli._tables import fit_text, parse_points, plain_value, short_names
from rvlab.errors import SpecError
from rvlab.store import Store
from tests.frame.samples import Made

ERROR = "RuntimeError: CUDA out of memory. " * 8
LR = 0.1 + 0.2  # 0.30000000000000004: 17 digits


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Return a store with three runs, of which one failed."""
    made = Made(Store(tmp_path / "store"))
    made.ended({"lr": LR, "names": ["a", "b"]}, {"f1": 0.5, "mean_iou": 1 / 3}, name="n" * 60)
    made.ended({"lr": 0.01, "names": ["ü"]}, {"f1": 0.7})
    made.ended({"lr": 0.1}, state="failed", step="train", error=ERROR, experiment="old")
    return str(tmp_path / "store")


def printed(capsys: pytest.CaptureFixture[str], *args: str, status: int = 0) -> str:
    capsys.readouterr()
    assert main(args) == status
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_runs_fit_the_terminal_with_whole_ids(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["--store", store, "runs"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert all(len(line.split()[0]) == 22 for line in lines[1:])
    assert lines[0].split()[:2] == ["run", "state"]
    assert ("Hidden for lack of space: " in err) == (width < 200)
    assert ("…" in out) == (width >= 120)


def test_a_pipe_gets_every_character(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "--store", store, "runs")
    assert "n" * 60 in out
    assert ERROR.strip() in out


def test_columns_sort_limit_and_reverse(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = ["--store", store, "runs"]
    rows = printed(capsys, *table, "--columns", "state,f1,lr", "--sort", "f1", "--limit", "2")
    assert [line.split() for line in rows.splitlines()] == [
        ["state", "f1", "lr"],
        ["succeeded", "0.7", "0.01"],
        ["succeeded", "0.5", "0.3"],
    ]
    rows = printed(capsys, *table, "--columns", "f1", "--sort", "metrics.f1", "--reverse")
    assert rows.split() == ["f1", "0.5", "0.7"]
    assert "source_sha256" in printed(capsys, *table, "--columns", "all")
    rows = printed(capsys, *table, "--columns", "run,state", "old")
    assert rows.split()[2:] == ["20261123-154203-000002", "failed"]
    assert "failed" not in printed(capsys, *table, "--state", "succeeded")
    assert main([*table, "--columns", "stat"]) == 1
    assert "Unknown column 'stat'. Did you mean 'state' or 'started'?" in capsys.readouterr().err
    Made(Store(store)).ended({"lr": "fast"})
    assert main([*table, "--sort", "lr"]) == 1
    assert "The column 'params.lr' has values without an order." in capsys.readouterr().err
    for wrong in (["--limit", "0"], ["--json", "--csv"], ["--unknown"]):
        with pytest.raises(SystemExit) as exit_:
            main([*table, *wrong])
        assert exit_.value.code == 2


def test_json_and_csv_have_full_precision_iso_times_and_nothing_else(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = json.loads(printed(capsys, "--store", store, "runs", "--json"))
    assert [one["run"][-6:] for one in everything] == ["000002", "000001", "000000"]
    failed, other, first = everything
    assert (first["params.lr"], first["metrics.mean_iou"]) == (LR, 1 / 3)
    assert datetime.fromisoformat(first["created"]).utcoffset() is not None
    assert first["duration"] == 30.0
    assert (failed["metrics.f1"], other["metrics.mean_iou"]) == (None, None)
    assert failed["error"] == ERROR
    text = printed(capsys, "--store", store, "runs", "--csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == list(first)
    assert float(rows[2]["params.lr"]) == LR
    assert json.loads(rows[1]["params.names"]) == ["ü"]
    assert (rows[0]["metrics.f1"], rows[0]["created"]) == ("", failed["created"])


@pytest.mark.parametrize(
    "command",
    [
        ["runs"],
        ["experiments"],
        ["recipes"],
        ["best", "towns"],
        ["compare", "towns"],
        ["evals"],
        ["history"],
        ["confusion"],
        ["steps"],
        ["artifacts"],
        ["wait", "towns"],
        ["clean", "--dry-run"],
    ],
)
def test_every_table_is_json_and_csv(
    store: str, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    rows = json.loads(printed(capsys, "--store", store, *command, "--json"))
    table = pd.read_csv(io.StringIO(printed(capsys, "--store", store, *command, "--csv")))
    assert len(table) == len(rows)
    if rows:
        assert list(table) == list(rows[0])
    assert printed(capsys, "--store", store, *command)


def test_one_run_is_shown_and_the_best_is_an_id(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    best = printed(capsys, "--store", store, "best", "towns", "--id").strip()
    assert best.endswith("000001")
    shown = json.loads(printed(capsys, "--store", store, "show", "000000", "--json"))
    assert shown["params.lr"] == LR
    assert "names" not in printed(capsys, "--store", store, "show", "000002")
    assert main(["--store", store, "compare", "--metric", "f2"]) == 1
    assert "f2" in capsys.readouterr().err


def test_archived_runs_are_ranked_only_with_all(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", store, "archive", "000001"]) == 0
    best = ["--store", store, "best", "towns", "--id"]
    assert printed(capsys, *best).strip().endswith("000000")
    assert printed(capsys, *best, "--all").strip().endswith("000001")
    for command in ("compare", "experiments"):
        hides = ["--store", store, command, "--csv"]
        assert "0.7" not in printed(capsys, *hides)
        assert "0.7" in printed(capsys, *hides, "--all")


def test_table_of_awaited_runs_is_printed_also_with_a_wrong_column(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", store, "wait", "towns", "--columns", ","]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert "--columns needs names such as run,state,f1 or 'all', got ','." in err


def test_arguments_after_options_belong_to_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("archive --undo", "delete --yes-delete x", "report --metric f1", "notebook"):
        assert parse_arguments([*command.split(), "a"]).run == ["a"]
    assert parse_arguments(["archive", "a", "--undo", "b"]).run == ["a", "b"]
    assert parse_arguments(["tag", "a", "--remove", "x", "b"]).tag == ["b"]
    assert parse_arguments(["logs", "a", "--tail", "3", "train"]).step == "train"
    for wrong in (["logs", "a", "--tail", "3", "b", "c"], ["archive", "a", "--wrong"]):
        with pytest.raises(SystemExit):
            parse_arguments(wrong)
        assert f"usage: rvlab {wrong[0]}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_arguments(["runs", "--limit", "abc"])
    assert "must be a positive integer, got 'abc'" in capsys.readouterr().err


def test_metrics_of_the_table_of_runs_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Made(Store(tmp_path)).ended({"lr": 1}, {"rv_average_f1": 0.25})
    assert "rv_average_f1" in printed(capsys, "--store", str(tmp_path), "runs")


def test_wait_exits_with_1_if_a_run_did_not_succeed(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, "--store", store, "wait", "towns")
    printed(capsys, "--store", store, "wait", status=1)
    Made(Store(store)).queued(engine="kubeflow")
    printed(capsys, "--store", store, "wait", "--timeout", "0", status=124)


def test_text_of_tables_cannot_control_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made(Store(tmp_path))
    made.ended({"lr": "\x1b[31m\x9b\u202e"}, name="\x1b]0;title\x07")
    for form in ([], ["--json"], ["--csv"]):
        out = printed(capsys, "--store", str(tmp_path), "runs", "--columns", "lr,name", *form)
        assert not set("\x1b\x07\x9b\u202e") & set(out)
        assert "1b" in out


def test_short_names_are_used_where_they_are_unique() -> None:
    assert short_names(["state", "metrics.f1", "params.lr", "params.state"]) == {
        "state": "state",
        "metrics.f1": "f1",
        "params.lr": "lr",
        "params.state": "params.state",
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.integers(25, 90))
def test_lines_are_never_wider_than_the_terminal(texts: list[str], width: int) -> None:
    table = pd.DataFrame({"run": range(len(texts)), "name": texts, "建物": texts, "x": 0.5})
    text, hidden = fit_text(table, width, ["run"])
    assert len(text.splitlines()) == len(texts) + 1
    assert max(len(line) for line in text.splitlines()) <= width
    assert set(hidden) <= {"name", "建物", "x"}


def test_values_are_plain() -> None:
    time = pd.Timestamp("2026-11-23T15:42:01.5Z")
    given_ = [time, pd.Timedelta("90s"), pd.NA, math.inf, {"a": time}, True, "a"]
    held = ["2026-11-23T15:42:01.500000+00:00", 90.0, None, None]
    assert plain_value(given_) == [*held, {"a": held[0]}, True, "a"]


def test_lists_of_a_sweep_are_parsed() -> None:
    assert parse_points(["lr=1e-3,1e-2", "name=a", 'names=[["a","b"],"c"]']) == {
        "lr": ["1e-3", "1e-2"],
        "name": ["a"],
        "names": ['["a", "b"]', "c"],
    }
    for wrong, why in (
        (["lr"], "is not NAME=VALUE"),
        (["lr=1", "lr=2"], "is given twice"),
        (["lr=[1"], "is not a JSON list"),
    ):
        with pytest.raises(SpecError, match=why):
            parse_points(wrong)


def test_output_fits_a_real_terminal(store: str) -> None:
    def run(*args: str, columns: int) -> str:
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        command = [sys.executable, "-m", "rvlab", "--store", store, *args]
        with subprocess.Popen(command, stdout=follower, stderr=subprocess.PIPE, env=environ):
            os.close(follower)
            text = b""
            with contextlib.suppress(OSError):  # the end of a terminal
                while data := os.read(leader, 65536):
                    text += data
        os.close(leader)
        return text.decode()

    for command in ("runs", "watch"):
        lines = run(command, columns=50).splitlines()
        assert len(lines) >= 3
        assert max(len(line.replace("\x1b[3F\x1b[J", "")) for line in lines) <= 50
