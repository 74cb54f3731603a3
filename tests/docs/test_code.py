"""Pieces of code in the pages: Python, shell commands, settings."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from rvlab.cli._parser import build_parser
from rvlab.settings import load_profile
from tests.docs.calls import is_expression, wrong_calls
from tests.docs.pages import ROOT, Code, blocks, codes

LANGUAGES = {"python", "shell", "inline", "toml", "yaml", "json", "sh", "bash", "text", ""}
HISTORY = ("CHANGELOG.md", "docs/decisions/")  # name what was removed or rejected, too
COMMANDS = build_parser()


def test_every_block_has_a_language_that_is_tested() -> None:
    assert {code.language for code in codes()} - LANGUAGES == {"{toctree}", "{eval-rst}"}
    assert len(blocks("python")) > 60
    assert len(blocks("toml")) >= 4


def test_python_blocks_compile_and_call_existing_functions() -> None:
    wrong = []
    for code in blocks("python"):
        try:
            compile(code.text, code.place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            wrong.append(f"{code.place}: {error}")
            continue
        wrong += [f"{code.place}: {one}" for one in wrong_calls(code.text)]
    assert not wrong, "\n".join(wrong)


def test_calls_in_sentences_and_tables_fit_their_functions() -> None:
    wrong = []
    seen = 0
    for code in blocks("inline"):
        text = code.text.replace("…", "...").replace("()", "(...)")
        if not code.page.startswith(HISTORY) and is_expression(text):
            seen += 1
            wrong += [f"{code.place}: {one}" for one in wrong_calls(text)]
    assert not wrong, "\n".join(wrong)
    assert seen > 100


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("lab.runs('towns').sort_values('metrics.f1')", None),
        ("lab.sweep('synthetic_town', rvlab.grid(lr=[1e-3], seed=[1]), width=4)", None),
        ("lab.store", None),
        ("lab.submit(recipe, **params)", None),
        ("lab.hystory(board)", "lab.hystory does not exist"),
        ("lab.hystory", "lab.hystory does not exist"),
        ("plot.curves()", "missing a required argument"),
        ("plot.curves(board, colour='lr')", "unexpected keyword argument 'colour'"),
        ("lab.submit('synthetic_town', learning_rate=1)", "no parameter learning_rate"),
        ("lab.sweep('synthetic_town', rvlab.grid(rate=[1]))", "no parameter rate"),
    ],
)
def test_wrong_calls_are_found(source: str, expected: str | None) -> None:
    found = list(wrong_calls(source))
    assert (expected is None) == (found == []), found
    assert expected is None or expected in found[0]


def shell_commands(code: Code) -> list[str]:
    """Return the lines of a block that call ``rvlab``, without comments and redirections."""
    text = code.text.replace("\\\n", " ")
    lines = [text] if code.language == "inline" else text.splitlines()
    found = []
    for line in lines:
        match = re.match(r"\s*(?:\$ )?(?:\.venv/bin/)?rvlab( [^#|>&;]*|$)", line)
        if match:
            found.append(match[1].strip())
    return found


def test_rvlab_commands_parse(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = []
    seen = 0
    for code in blocks("shell", "sh", "bash", "inline"):
        if code.page.startswith(HISTORY):
            continue
        for line in shell_commands(code):
            arguments = shlex.split(re.sub(r"[\[\]]|…", "", line))
            if arguments and arguments[0].isupper():
                continue  # a placeholder
            if code.language == "inline" and len(arguments) <= 1:
                arguments = [*arguments, "--help"]  # the name of a command in a sentence
            seen += 1
            try:
                COMMANDS.parse_args(arguments)
            except SystemExit as left:
                if left.code:
                    wrong.append(f"{code.place}: rvlab {line}: {capsys.readouterr().err}")
    assert not wrong, "\n".join(wrong)
    assert seen > 20


def test_settings_in_pages_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RVLAB_PROFILE", raising=False)
    for number, code in enumerate(blocks("toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(code.text)
        profiles = tomllib.loads(code.text).get("profile", {})
        made = [load_profile(name, path) for name in profiles]
        assert len(made) != 1 or made == [load_profile(path=path)], code.place
    for code in blocks("yaml"):
        assert list(yaml.safe_load_all(code.text)), code.place
    for code in blocks("json"):
        assert json.loads(code.text), code.place


@pytest.mark.extended
def test_code_of_mlflow_and_tensorboard_in_the_comparison_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    given = """
import numpy as np, optuna, torch
losses, image, model = [1.0, 0.5], np.zeros((8, 8, 3), np.uint8), torch.nn.Linear(1, 1)
optuna.logging.set_verbosity(optuna.logging.ERROR)
train = lambda lr: lr
"""
    code = [
        block
        for tool in ("MLflow", "TensorBoard")
        for block in re.findall(rf"\*\*{tool}\*\*\n\n```python\n(.*?)```", page, re.DOTALL)
    ]
    assert len(code) >= 10
    checks = """
assert list(board["metrics.f1"]) == [0.91] and board["params.lr"][0] == "0.001"
assert losses == [1.0, 0.5] and worst["scene"].iloc[0] == "b"
assert len(mlflow.search_runs(experiment_names=["towns"])) == 25
"""
    script = tmp_path / "comparison.py"
    script.write_text("\n".join([given, *code, checks]))
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
