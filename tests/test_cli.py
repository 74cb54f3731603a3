"""The same verbs in a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab.cli import main
from rvlab.store import server
from tests.conftest import TINY


def test_recipes_lists_their_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "neon_trees"
    assert "    raw_uri: str (required)" in out
    assert "    lr: float = 0.01" in out


def test_a_run_is_submitted_waited_for_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(tmp_path / "store")]
    args = ["-a", "raises", "told in a shell", "-a", "epochs", "3", "--wait"]
    assert main([*store, "submit", str(TINY), "-e", "shell", *args]) == 1
    uri, verdict = capsys.readouterr().out.splitlines()
    assert verdict == "failed: RuntimeError: told in a shell"
    assert main([*store, "runs", "shell"]) == 0
    assert "failed" in capsys.readouterr().out
    assert main([*store, "logs", uri, "configure"]) == 0
    assert "told in a shell" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["submit", "synthetic_town", "-a", "lr", "fast"], "the parameter 'lr' is float"),
        (["submit", "synthetic_town", "-a", "epoch", "1"], "Did you mean 'epochs'?"),
        (["runs", "nowhere"], "There is no experiment or run 'nowhere'"),
        (["runs", "--sort", "metrics.g1"], "There is no column 'metrics.g1'"),
        (["down"], "is not an embedded server of rvlab's"),
    ],
)
def test_errors_are_one_line_and_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    assert main(["--store", str(tmp_path / "store"), *args]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rvlab: ")
    assert said in error
    assert len(error.splitlines()) == 1


def test_up_and_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", f"embedded:{tmp_path / 's3'}"]
    assert main([*store, "up"]) == 0
    found = server.find(tmp_path / "s3")
    assert found is not None
    out = capsys.readouterr().out
    assert found.endpoint in out
    assert found.secret_key not in out
    assert main([*store, "down"]) == 0
    assert main([*store, "down"]) == 0
    assert capsys.readouterr().out.splitlines() == ["Stopped.", "It was not running."]
    assert server.find(tmp_path / "s3") is None
