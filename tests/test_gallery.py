"""The gallery: its scripts, their pictures and the page that shows them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import demo_env

GALLERY = Path(__file__).parent.parent / "docs" / "gallery"
PAGE = (GALLERY / "README.md").read_text(encoding="utf-8")
SCRIPTS = sorted(GALLERY.glob("[!_]*.py"))
EACH = pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)


@pytest.mark.slow
@pytest.mark.timeout(7200)  # a busy machine needs an hour for the demo at full size
@pytest.mark.parametrize("name", ["demo", pytest.param("full_demo", marks=pytest.mark.extended)])
def test_every_script_draws_a_picture_of_the_demo_runs(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    out, _ = request.getfixturevalue(name)
    done = subprocess.run(
        [sys.executable, str(GALLERY), "--out", str(tmp_path)],
        env=demo_env(out),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {f"{script.stem}.png" for script in SCRIPTS}
    for picture in tmp_path.iterdir():
        shown = pixels(picture)
        assert min(shown.shape[:2]) >= 200, picture.name
        assert max(shown.shape[:2]) <= 2500, picture.name
        drawn = (shown != 255).any(axis=-1).mean()
        assert drawn > 0.01, f"{picture.name} is blank"
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 8, picture.name


def test_page_links_exactly_the_existing_scripts() -> None:
    links = re.findall(r"\]\((\w+\.(?:py|png))\)", PAGE)
    assert sorted(links) == sorted(f"{s.stem}{end}" for s in SCRIPTS for end in (".py", ".png"))
    assert set(re.findall(r"\]\(#(\w+)\)", PAGE)) == {script.stem for script in SCRIPTS}
    assert re.findall(r"^## (\w+)$", PAGE, re.MULTILINE) == re.findall(r"\((\w+)\.py\)", PAGE)


@EACH
def test_script_is_short_and_has_the_question_of_the_page(script: Path) -> None:
    source = script.read_text(encoding="utf-8")
    question = ast.get_docstring(ast.parse(source))
    assert question is not None
    assert question.endswith("?")
    assert f"## {script.stem}\n\n{question} [{script.name}]({script.name})" in PAGE
    assert len(source.splitlines()) <= 16
    assert "lab = rvlab.Lab()\n" in source
    assert source.endswith(f'savefig("{script.stem}.png")\n')


@EACH
def test_picture_of_each_script_exists_and_is_small(script: Path) -> None:
    picture = script.with_suffix(".png")
    assert picture.stat().st_size <= 600_000
    assert pixels(picture).std() > 1


def test_gallery_has_no_pictures_without_a_script() -> None:
    assert {p.stem for p in GALLERY.glob("*.png")} == {script.stem for script in SCRIPTS}


def pixels(picture: Path) -> np.ndarray:
    with Image.open(picture) as image:
        return np.asarray(image.convert("RGB"))
