"""The command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import LocalEngine
from rvlab.cli import main
from rvlab.model import Run
from rvlab.recipes import find_recipe
from rvlab.store import Store, server
from rvlab.submission import SubmitOptions, prepare_runs
from rvlab.version import __version__
from tests.compare.samples import confusion, scene_matrices
from tests.conftest import TINY
from tests.frame.samples import Made


def test_recipes_lists_names_and_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("neon_trees: Tree crowns in real airborne imagery")
    assert "    raw_uri: str (required)" in out
    assert "    lr: float = 0.01  # above 0" in out
    assert "    chip_px: int = 128  # at least 16, at most scene_px" in out


def test_a_run_is_submitted_awaited_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(tmp_path / "store")]
    args = ["-a", "raises", "raised in a shell", "-a", "epochs", "3", "--wait"]
    assert main([*store, "submit", str(TINY), "-e", "shell", *args]) == 1
    uri, verdict = capsys.readouterr().out.splitlines()
    assert verdict == "failed: RuntimeError: raised in a shell"
    assert main([*store, "runs", "shell"]) == 0
    assert "failed" in capsys.readouterr().out
    assert main([*store, "logs", uri, "configure"]) == 0
    assert "raised in a shell" in capsys.readouterr().out


def test_watch_prints_a_line_per_run_until_all_have_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made(Store(tmp_path / "store"))
    made.ended({"lr": 0.1}, {"f1": 0.5})
    assert main(["--store", str(tmp_path / "store"), "watch"]) == 0
    words = capsys.readouterr().out.splitlines()[-1].split()
    assert words == ["succeeded", "run", "0", "f1", "0.500"]
    made.ended({"lr": 0.2}, state="failed", step="train", error="no memory")
    assert main(["--store", str(tmp_path / "store"), "watch", "towns"]) == 1
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [" ".join(line.split()) for line in lines] == [
        "succeeded lr = 0.1 f1 0.500",
        "failed lr = 0.2 no memory",
    ]


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"rvlab {__version__}\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["submit", "synthetic_town", "-a", "lr", "fast"], "the parameter 'lr' is float"),
        (["submit", "synthetic_town", "-a", "epoch", "1"], "Did you mean 'epochs'?"),
        (["runs", "nowhere"], "No experiment or run 'nowhere'"),
        (["runs", "--sort", "metrics.g1"], "Unknown column 'metrics.g1'"),
        (["down"], "is not an embedded server of rvlab"),
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


def test_a_recipe_is_compiled_to_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    args = ["--store", "s3://bucket/runs", "compile", "synthetic_town", "-o"]
    assert main([*args, str(first)]) == 0
    assert main([*args, str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    assert "#    lr: float [Default: 0.01]" in first.read_text()
    assert main([*args, str(tmp_path / "no" / "a.yaml")]) == 1
    assert "a.yaml cannot be written: No such file" in capsys.readouterr().err
    assert main(["compile", "synthetic_town", "-o", str(first)]) == 1
    assert "Pods cannot reach the store None (the default)" in capsys.readouterr().err


def test_compile_names_the_setting_of_the_store_that_won(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["compile", "synthetic_town", "-o", str(tmp_path / "a.yaml")]
    Path("rvlab.toml").write_text('[profile.a]\nstore = "s3://bucket/runs"\n')
    assert main(args) == 0
    assert "write to s3://bucket/runs (`store` in rvlab.toml)." in capsys.readouterr().out
    monkeypatch.setenv("RVLAB_STORE", "s3://other/runs")
    assert main(args) == 0
    said = "write to s3://other/runs ($RVLAB_STORE, which overrides rvlab.toml)."
    assert said in capsys.readouterr().out
    assert main(["--store", "s3://third/runs", *args]) == 0
    assert "write to s3://third/runs (--store)." in capsys.readouterr().out
    monkeypatch.setenv("RVLAB_STORE", "embedded")
    assert main(args) == 1
    said = "reach the store 'embedded' ($RVLAB_STORE, which overrides rvlab.toml)."
    assert said in capsys.readouterr().err


def none(value: Any) -> Any:
    return None if pd.isna(value) else value


@pytest.mark.parametrize(
    ("skills", "scenes", "status", "said"),
    [
        ((1.2, 0.2), 12, 0, "The candidate passes a margin of 0.01 macro F1."),
        ((0.2, 1.2), 12, 3, "The candidate fails a margin of 0.01 macro F1."),
        ((1.2, 0.2), 3, 4, "do not show whether"),
    ],
)
def test_the_exit_status_of_gate_is_its_verdict(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    skills: tuple[float, float],
    scenes: int,
    status: int,
    said: str,
) -> None:
    made = Made(Store(tmp_path / "store"))
    runs = [made.ended({"lr": 0.1}, experiment=name) for name in ("new", "old")]
    matrices = scene_matrices(np.random.default_rng(0), scenes, skills)
    for run, each in zip(runs, matrices, strict=True):
        rows = confusion({run.id: each}).drop(columns="run").to_dict("records")
        made.table(
            run,
            "confusion",
            [{**{str(k): v for k, v in r.items()}, "scene": none(r["scene"])} for r in rows],
        )
    args = ["gate", runs[0].id, "--baseline", runs[1].uri, "--margin", "0.01"]
    assert main(["--store", str(tmp_path / "store"), *args]) == status
    assert said in capsys.readouterr().out


def test_gate_on_a_missing_run_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made(Store(tmp_path / "store"))
    run = made.ended({"lr": 0.1})
    store = ["--store", str(tmp_path / "store")]
    assert main([*store, "gate", run.id, "--baseline", "gone"]) == 1
    assert "No experiment or run 'gone'" in capsys.readouterr().err


def test_runs_are_tagged_noted_archived_cloned_and_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    made = Made(store)
    run, other = made.ended({"lr": 0.01}), made.ended({"lr": 0.1})

    def rvlab(*args: str, status: int = 0) -> str:
        assert main(["--store", store.uri, *args]) == status
        printed = capsys.readouterr()
        return printed.err if status else printed.out

    rvlab("tag", run.id, "good", "for the paper")
    rvlab("tag", run.id, "best", "--remove", "good")
    rvlab("note", run.id, "the one")
    shown = rvlab("runs")
    assert "best, for the paper" in shown
    assert "the one" in shown
    rvlab("archive", run.id, other.id)
    assert rvlab("runs") == "No runs but archived ones.\n"
    rvlab("archive", other.id, "--undo")
    assert main(["--store", store.uri, "runs"]) == 0
    printed = capsys.readouterr()
    assert run.id not in printed.out
    assert other.id in printed.out
    assert printed.err == "Archived runs are hidden (1); --all shows them.\n"
    assert run.id in rvlab("runs", "--all")

    assert "has no recipe.py" in rvlab("clone", run.id, status=1)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert "Nothing has been deleted" in rvlab("delete", run.id, status=1)
    rvlab("delete", run.id, "--yes-delete", run.id)
    monkeypatch.setattr("builtins.input", lambda _: other.id)
    rvlab("delete", other.id)
    assert rvlab("runs") == "No runs yet.\n"


def test_clone_has_the_options_of_submit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    found = find_recipe("synthetic_town")
    (run,) = prepare_runs(store, found, [{"lr": 0.1}], SubmitOptions("towns", "local"))
    args = ["--store", store.uri, "clone", run.id]
    assert main([*args, "-a", "lr", "3e-4", "--seed", "5", "-e", "clones"]) == 0
    clone = Run.from_uri(capsys.readouterr().out.strip())
    LocalEngine().cancel(store, clone)
    record = store.get_json(clone.key("spec.json"))
    assert (clone.experiment, record["parent"], record["seed"]) == ("clones", run.id, 5)
    assert record["params"]["lr"] == 3e-4
    assert main([*args, "-a", "lrr", "1"]) == 1
    assert "Did you mean 'lr'?" in capsys.readouterr().err


def test_up_starts_and_down_stops_the_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", f"embedded:{tmp_path / 's3'}"]
    assert main([*store, "up"]) == 0
    found = server.find_server(tmp_path / "s3")
    assert found is not None
    out = capsys.readouterr().out
    assert found.endpoint in out
    assert found.secret_key not in out
    assert main([*store, "down"]) == 0
    assert main([*store, "down"]) == 0
    assert capsys.readouterr().out.splitlines() == ["Stopped.", "It was not running."]
    assert server.find_server(tmp_path / "s3") is None


def test_a_closed_pipe_is_not_a_traceback(tmp_path: Path) -> None:
    made = Made(Store(tmp_path / "store"))
    made.ended({"lr": 0.1})
    code = "import sys; from rvlab.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--store", str(tmp_path / "store"), "runs"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.extended
def test_demo_trains_and_ranks_small_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["lr=0.01", "epochs=1", "scene_px=128", "chip_px=64", "--columns", "rank,f1", "--csv"]
    assert main(["--store", str(tmp_path / "store"), "demo", *small]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "rank,metrics.f1"
    assert out.splitlines()[1].startswith("1,0.")
    assert "succeeded" in err


def test_warnings_are_one_line_on_stderr(tmp_path: Path) -> None:
    made = Made(Store(tmp_path / "store"))
    run = made.ended({"lr": 0.1})
    broken = f"towns/annotations/{run.id}/20991231-000000-000000-ffffff.json"
    made.store.put(broken, b"no record")
    command = [sys.executable, "-m", "rvlab", "--store", str(tmp_path / "store"), "runs"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith("rvlab: ")
    assert f"left out of the table: {broken}" in line
    assert run.id in done.stdout


def test_sweep_takes_lists_and_submit_takes_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    args = ["--store", store.uri]
    wrong = ["sweep", "synthetic_town", "lr=1e-3,1e-2", "chip_px=64,7"]
    assert main([*args, *wrong]) == 1
    said = "rvlab: synthetic_town: chip_px must be at least 16, got 7.\n"
    assert capsys.readouterr().err == said
    assert main([*args, "submit", "synthetic_town", "chip_px=7"]) == 1
    assert capsys.readouterr().err == said
    assert main([*args, "submit", "synthetic_town", "-a", "lr", "1", "lr=2"]) == 1
    assert "'lr' is given twice" in capsys.readouterr().err
    assert not store.folders()

    right = ["sweep", str(TINY), "lr=1e-3,1e-2", "raises=a", "-e", "shell", "--priority", "-2"]
    assert main([*args, *right, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert main([*args, "submit", str(TINY), "epochs=3", "-a", "raises", "b", "-e", "shell"]) == 0
    single = Run.from_uri(capsys.readouterr().out.strip())
    assert main([*args, "cancel", "shell"]) == 0
    assert [row["params.lr"] for row in rows] == [1e-3, 1e-2]
    assert {(row["priority"], row["params.raises"]) for row in rows} == {(-2, "a")}
    params = store.get_json(single.key("spec.json"))["params"]
    assert (params["epochs"], params["raises"]) == (3, "b")
