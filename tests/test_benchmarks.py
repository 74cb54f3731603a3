"""Smoke tests of the scripts in benchmarks/ with few runs, without time limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rvlab import Lab

FOLDER = Path(__file__).parents[1] / "benchmarks"


def script(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sample_runs_have_the_records_of_real_runs(tmp_path: Path) -> None:
    options = ("--experiments", 2, "--evals", "--epochs", 3, "--steps")
    script("sample_runs.py", "--runs", 12, "--store", tmp_path / "store", *options)
    lab = Lab(tmp_path / "store")
    runs = lab.runs()
    assert runs["state"].tolist() == ["succeeded"] * 12
    assert runs.columns.str.startswith("params.").sum() == 20
    assert runs.columns.str.startswith("metrics.").sum() == 20
    assert lab.history(runs).groupby("run").size().tolist() == [3] * 12
    assert lab.evals(runs)["run"].nunique() == lab.steps(runs)["run"].nunique() == 12


@pytest.mark.extended
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("memory.py", ("--runs", 40), "40 runs, "),
        ("runs_new.py", ("--runs", 40, "--new", 3), "3 of them new"),
        ("runs_cold.py", ("--runs", 40, "--loose-runs", 30), "not compacted, 30 runs"),
        ("runs_warm.py", ("--runs", 40, "--peer-repeats", 1), "mlflow: 40 runs"),
        ("cancel.py", ("--runs", 40), "40 queued runs cancelled"),
        ("history.py", ("--runs", 3, "--epochs", 5), "3 runs x 5 series x 5 epochs"),
        ("objects.py", ("--side", 600, "--objects", 9, "--runs", 3), "3 runs, 17 true and"),
    ],
)
def test_benchmark_runs_to_completion(
    tmp_path: Path, name: str, arguments: tuple[object, ...], expected: str
) -> None:
    output = script(name, "--data", tmp_path, "--repeats", 1, *arguments)
    assert expected in output
    assert "goal" in output


@pytest.mark.extended
def test_benchmark_of_predictions_runs_to_completion(tmp_path: Path) -> None:
    output = script("predict.py", "--side", 300, "--chip", 64, "--labels", "--store", tmp_path)
    assert "image: 300 × 300 px" in output
    assert "\neval: " in output
    assert "goal" in output


@pytest.mark.extended
def test_benchmark_of_comparisons_runs_to_completion(tmp_path: Path) -> None:
    output = script("compare.py", "--runs", 150, "--repeats", 1, "--pictures", tmp_path)
    assert output.startswith("150 runs x 20 parameters")
    assert output.count("goal") == 4
    assert {p.name for p in tmp_path.iterdir()} == {
        "parallel.png", "importance.png", "scatter.png"
    }  # fmt: skip
