"""The report of an experiment, and reports of damaged runs."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rvlab import Lab, LocalEngine, compare
from rvlab.cli import main
from rvlab.errors import NotFound, RasterError, SpecError, TableError
from rvlab.report import experiment_pictures
from rvlab.report.experiment import ExperimentSummary, load_experiment_summary
from rvlab.report.experiment_page import render_experiment_page
from rvlab.report.markdown import markdown
from rvlab.report.page import render_page
from rvlab.report.run_summary import RunSummary, load_run_summary
from rvlab.store import Store
from tests.frame.samples import Made
from tests.report.samples import SOURCE, Towns, make_towns
from tests.report.test_kubeflow import HOSTILE, Tags, emitted


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Towns:
    return make_towns(tmp_path_factory.mktemp("towns"))


@pytest.fixture(scope="module")
def lab(towns: Towns) -> Lab:
    return Lab(towns.store, LocalEngine())


@pytest.fixture(scope="module")
def html(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = lab.report("town", tmp_path_factory.mktemp("report") / "town.html")
    return path.read_text(encoding="utf-8")


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures with the reason that they are left out, so that pages are rendered in no time."""

    def draw(*_: Any, **__: Any) -> Any:
        raise RasterError("Left out in this test.")

    for name in ("predictions", "curves", "scatter", "confusion"):
        monkeypatch.setattr(f"rvlab.plot.{name}", draw, raising=False)


def test_report_of_an_experiment_answers_each_question(lab: Lab, towns: Towns, html: str) -> None:
    found = Tags(html)
    assert found.open == []
    words = words_of(html)
    table = lab.runs("town").loc[[run.id for run in towns.scored]]
    assert "6 runs" in words
    assert "4 succeeded 1 failed 1 running" in words
    assert "lr 0.001, 0.01, 9.0, or none" in words
    assert "8 validation scenes" in words
    for value in table["metrics.f1"]:
        assert f"{value:.3f}" in words
    best, second = towns.scored[:2], towns.scored[2:4]
    assert compare.test(best, second).sentence in words
    seeds = compare.seeds(table)
    assert f"{seeds['f1.mean'].iloc[0]:.3f}" in words
    assert f"{towns.failed.id} run 4 failed train CUDA out of memory" in words
    assert SOURCE.strip() in found.text
    assert f"lab.clone('{towns.scored[0].prefix}')" in words
    assert f"clone {towns.scored[0].prefix}" in words
    alts = [str(attributes["alt"]).split()[0] for tag, attributes in found.tags if tag == "img"]
    assert alts == ["Image,", "Training", "Confusion", "metrics.f1"]
    assert [image.format for image in found.images()] == ["PNG"] * 4


def test_report_of_an_experiment_is_self_contained(html: str) -> None:
    found = Tags(html)
    tags = [tag for tag, _ in found.tags]
    assert tags.count("script") == 1
    assert not {"link", "iframe", "object", "base", "form", "a"} & set(tags)
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
        assert tag == "img" or "src" not in attributes
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    (policy,) = [a["content"] for _, a in found.tags if a.get("http-equiv")]
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )


def test_twenty_runs_take_at_most_five_megabytes() -> None:
    limits = (experiment_pictures.WINDOWS_BYTES, *[experiment_pictures.CHART_BYTES] * 4)
    assert sum(limits) * 4 / 3 + 200_000 < 5_000_000  # PNG files in base64, and all text


def test_leaders_are_of_two_settings(lab: Lab, towns: Towns) -> None:
    summary = load_experiment_summary(towns.store, lab.runs("town"))
    assert summary.leaders.index.tolist() == [towns.scored[0].id, towns.scored[2].id]
    assert [len(rows) for rows in summary.settings] == [2, 2]


@pytest.mark.usefixtures("no_pictures")
def test_one_run_has_the_report_of_a_run(lab: Lab, towns: Towns, tmp_path: Path) -> None:
    for selected in (towns.scored[0], [towns.scored[0].id], lab.runs("town").head(1)):
        text = lab.report(selected, tmp_path / "one.html").read_text(encoding="utf-8")
        assert text == render_page(towns.scored[0])
    both = lab.report(towns.scored[:2], tmp_path / "two.html")
    assert "2 runs" in both.read_text(encoding="utf-8")


def test_impossible_reports_are_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"The report .* cannot be written: the folder .* does not exist"
    ):
        lab.report("town", tmp_path / "missing" / "a.html")
    with pytest.raises(TableError, match="No run has the metric 'f2'"):
        lab.report("town", tmp_path / "a.html", metric="f2")
    with pytest.raises(NotFound, match=r"Nothing to report: the selection in .* is empty"):
        Lab(tmp_path / "empty").report(None, tmp_path / "a.html")


def test_report_of_runs_without_metrics_has_sentences(tmp_path: Path) -> None:
    made = Made(Store(tmp_path / "store"))
    made.queued({"lr": 0.1})
    made.ended({"lr": 0.2}, state="failed", error="no GPU", step="train")
    text = Lab(made.store).report("towns", tmp_path / "a.html").read_text(encoding="utf-8")
    found = Tags(text)
    assert found.images() == []
    for words in (
        "No run has metrics yet",
        "larger than chance? No run has been scored.",
        "no GPU",
        "not recorded",
    ):
        assert words in found.text
    assert "The first run" in found.text
    assert "best run " not in found.text.replace("best runs", "")


def test_runs_of_different_evaluation_sets_are_not_tested_together(tmp_path: Path) -> None:
    made = Made(Store(tmp_path / "store"))
    for number, eval_set in enumerate(["a", "a", "b"]):
        run = made.ended({"lr": number}, {"f1": 0.5 + number / 10})
        end = made.store.get_json(run.end_key)
        made.store.put_json(run.end_key, {**end, "eval_set": eval_set})
    summary = load_experiment_summary(made.store, Lab(made.store).runs("towns"))
    assert summary.best["params.lr"].tolist() == [1, 0]
    assert ("eval_set", "a, b") in summary.differences


def test_confusion_with_a_duplicate_row_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    towns = make_towns(tmp_path / "store")
    run, lab = towns.scored[0], Lab(towns.store)
    key = run.key("tables", "confusion.parquet")
    counts = pq.read_table(io.BytesIO(towns.store.get(key))).to_pylist()
    rows = [*counts, counts[0]]
    Made(towns.store).table(run, "confusion", rows)  # one row is there twice
    said = "two counts for one cell"
    for text in (lab.report(run, tmp_path / "a"), lab.report("town", tmp_path / "b")):
        found = Tags(text.read_text(encoding="utf-8"))
        assert found.text.count(said) >= 1
        assert len(found.images()) >= 2
    out = emitted(run.uri, tmp_path / "out")
    assert "could not be put into ClassificationMetrics: The table of confusion" in out.markdown
    assert f"The confusion matrix could not be drawn: The table of confusion has {said}" in (
        Tags(out.html).text
    )
    assert "Traceback" not in capsys.readouterr().err  # the page says it


RUN_PARTS = ("params", "eval_pairs", "cost_pairs", "about_pairs", "classes", "scenes", "matrix")
EXPERIMENT_PARTS = (
    *("period", "differences", "constants", "scored_on", "leaderboard", "test_sentences"),
    *("seed_rows", "failures", "environment", "repeat_python", "repeat_shell", "source"),
    *("source_note", "leaders"),
)
SENTENCE = re.compile("could not be (?:shown|drawn): ZeroDivisionError: damaged")


def fail(_: Any) -> Any:
    raise ZeroDivisionError("damaged")


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("parts", [RUN_PARTS, ("group",), ("metrics",)])
def test_parts_of_a_run_that_fail_are_one_sentence_each(
    parts: tuple[str, ...], towns: Towns, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in parts:
        monkeypatch.setattr(RunSummary, part, property(fail))
    text = Tags(render_page(towns.scored[0])).text
    assert len(SENTENCE.findall(text)) >= len(parts)
    assert "In a notebook:" in text
    written = markdown(load_run_summary(towns.scored[0])).replace("\\", "")
    assert SENTENCE.search(written)
    assert written.startswith("# run 0")


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("parts", [EXPERIMENT_PARTS, ("board",), ("evals",)])
def test_parts_of_an_experiment_that_fail_are_one_sentence_each(
    parts: tuple[str, ...], towns: Towns, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = load_experiment_summary(towns.store, lab.runs("town"))
    for part in parts:
        monkeypatch.setattr(ExperimentSummary, part, property(fail))
    text = Tags(render_experiment_page(summary)).text
    assert len(SENTENCE.findall(text)) >= len(parts)
    assert "How to repeat it" in text


def test_hostile_text_is_escaped_in_the_report_of_an_experiment(tmp_path: Path) -> None:
    towns = make_towns(
        tmp_path / "store",
        [(0.1, {"lr": HOSTILE, HOSTILE: ["<b>", 1]}), (0.2, {"lr": 0.1, HOSTILE: "<i>"})],
        error=HOSTILE,
        recipe=HOSTILE,
    )
    towns.store.put(towns.scored[0].key("recipe.py"), HOSTILE.encode())
    text = Lab(towns.store).report("town", tmp_path / "a.html").read_text(encoding="utf-8")
    found = Tags(text)
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert not {"b", "i"} & {tag for tag, _ in found.tags}
    assert found.text.count(HOSTILE) >= 6


def test_shell_writes_the_report(lab: Lab, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "town.html"
    assert main(["--store", lab.store.uri, "report", "town", "-o", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    assert "Leaderboard" in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_browser_sorts_the_leaderboard_by_keyboard(browser: Any, html: str, tmp_path: Path) -> None:
    path = tmp_path / "town.html"
    path.write_text(html, encoding="utf-8")
    page = browser.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    rows = "[...document.querySelector('.sortable').tBodies[0].rows]"
    column = f"{rows}.map((row) => row.cells[2].textContent)"
    ranked = page.evaluate(column)
    button = page.locator(".sortable").first.locator("th button", has_text="f1").first
    button.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(column) == [*ranked[3::-1], *ranked[4:]]  # missing values stay last
    assert page.locator("th[aria-sort=ascending]").count() == 1
    page.keyboard.press("Space")
    assert page.evaluate(column) == ranked
    assert page.locator("th[aria-sort=descending]").count() == 1
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
    page.emulate_media(color_scheme="light")
    assert requests == [path.as_uri()] or all(url.startswith("data:") for url in requests[1:])
    page.close()


def words_of(html: str) -> str:
    """Return the text of a page, with a space between its elements."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())
