"""Display of a store's texts as text in Chromium, without running scripts."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rvlab import compare
from rvlab.frame import runs_table
from rvlab.model import Run
from rvlab.report.experiment import load_experiment_summary
from rvlab.report.experiment_page import render_experiment_page
from rvlab.report.kubeflow import emit
from rvlab.report.markdown import markdown
from rvlab.report.page import render_page
from rvlab.report.render import escape_markdown, render_html, render_markdown
from rvlab.report.run_summary import load_run_summary
from rvlab.store import Store, register_store
from tests.compare.samples import confusion, scene_matrices, table
from tests.frame.samples import Made
from tests.security.conftest import Opened
from tests.security.made import ALL, HOSTILE, hostile_run

Open = Callable[[str], Opened]

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose name, parameters, classes, scenes and error are hostile."""
    root = tmp_path_factory.mktemp("hostile")
    register_store(Store(root))
    return hostile_run(root, state="failed", step="eval", error=ALL)


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # fonts lack some of the characters
        return render_page(run)


@pytest.fixture
def board() -> pd.DataFrame:
    """A leaderboard with hostile columns, strings, lists and an index of hostile names."""
    rows: dict[str, dict[str, Any]] = {}
    for i, (kind, text) in enumerate(HOSTILE.items()):
        rows[text] = {"metrics.f1": i / 20, "note": text, f"params.{text}": f"{kind} {text}"}
        rows[text] |= {"params.list": [text, {text: i}], "params.mixed": text if i % 2 else i / 3}
    made = pd.DataFrame.from_dict(rows, orient="index")
    return made.rename_axis(index="run", columns=ALL)


@pytest.mark.parametrize("kind", ["script", "handler", "closing", "comment"])
def test_unescaped_markup_is_detected(opened: Open, kind: str) -> None:
    made = pd.DataFrame({"name": [HOSTILE[kind]]})
    with pd.option_context("display.max_colwidth", None):
        assert opened(made.to_html(escape=False)).attacked


def test_style_that_loads_a_resource_is_detected(opened: Open) -> None:
    assert opened(f'<p style="color: {HOSTILE["style"]}">text</p>').attacked


def test_a_styled_board_shows_names_columns_and_values_as_text(
    opened: Open, board: pd.DataFrame
) -> None:
    found = opened(compare.styled(board).to_html())
    assert not found.attacked
    for text in HOSTILE.values():
        assert words(text) in found.text
        assert words(f"params.{text}") in found.text
        assert words(str([text, {text: 0}]))[:40] in found.text
    assert found.links == []


def test_styled_board_of_a_store_shows_text(opened: Open, run: Run) -> None:
    made = runs_table(Store(run.store), [run])
    columns = [str(c) for c in made if str(c).startswith("params.")]
    ranked = compare.board(made, columns=[*columns, "name", "error", "user"])
    found = opened(compare.styled(ranked).to_html())
    assert not found.attacked
    assert found.text.count(words(HOSTILE["handler"])) > 3


def test_a_plain_table_shows_text(opened: Open, board: pd.DataFrame) -> None:
    with pd.option_context("display.max_colwidth", None, "display.max_columns", None):
        found = opened(board._repr_html_())
    assert not found.attacked
    for kind, text in HOSTILE.items():
        if kind != "cell":  # pandas shows a line break as \\n
            assert words(f"params.{text}") in found.text


@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no policy"])
def test_a_report_page_shows_text(opened: Open, html: str, policy: bool) -> None:
    assert POLICY.search(html)
    found = opened(html if policy else POLICY.sub("", html))
    assert not found.attacked
    assert found.links == []
    for text in HOSTILE.values():
        assert words(f"p {text}") in found.text
    for tag in ("script", "iframe", "svg", "object", "embed", "base", "form", "a"):
        assert found.page.locator(tag).count() == 0
    assert found.page.locator("body").is_visible()


@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no policy"])
def test_a_report_of_an_experiment_shows_text(
    opened: Open, run: Run, tmp_path: Path, policy: bool
) -> None:
    store = Store(run.store)
    other = Made(store).ended({"lr": ALL}, {"f1": 0.5}, experiment="town", name=ALL)
    store.put(run.key("recipe.py"), ALL.encode())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        summary = load_experiment_summary(store, runs_table(store, [run, other]))
        html = render_experiment_page(summary)
    found = opened(html if policy else POLICY.sub("", html))
    assert not found.attacked
    assert found.links == []
    for text in HOSTILE.values():
        assert words(text) in found.text
    assert found.page.locator("script").count() == 1  # rvlab's own, which sorts
    for tag in ("iframe", "svg", "object", "embed", "base", "form", "a"):
        assert found.page.locator(tag).count() == 0


@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no policy"])
def test_report_page_of_failures_shows_text(opened: Open, policy: bool) -> None:
    html = render_html("failed.html.j2", title=ALL, failures=list(HOSTILE.values()))
    found = opened(html if policy else POLICY.sub("", html))
    assert not found.attacked
    for text in HOSTILE.values():
        assert words(text) in found.text


def _mistune(text: str) -> str:
    import mistune

    plugins = ["table", "strikethrough", "url", "footnotes", "task_lists"]
    return str(mistune.create_markdown(escape=False, plugins=plugins)(text))


def _markdown_it(text: str) -> str:
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    made.validateLink = lambda url: True  # type: ignore[method-assign]
    return str(made.render(text))


@pytest.mark.parametrize("render", [_mistune, _markdown_it])
def test_a_markdown_report_has_no_html_and_no_link(
    opened: Open, run: Run, render: Callable[[str], str]
) -> None:
    text = markdown(load_run_summary(run)) + render_markdown(
        "failures.md.j2", failures=[*HOSTILE.values()]
    )
    html = render(text)
    found = opened(html)
    assert not found.attacked
    assert found.links == []
    assert not re.search(r"<(img|a|del|code|em|strong)[ >](?!Error)", html.split("<pre>")[0])
    for kind, one in HOSTILE.items():
        if kind != "cell":
            assert words(one) in found.text, kind
    assert found.page.locator("h1").count() == 1
    assert found.page.locator("td").count() > 3 * len(HOSTILE)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_escaped_markdown_is_one_line_without_markup(text: str) -> None:
    made = escape_markdown(text)
    assert len(made.splitlines()) == 1
    assert not re.search(r"(?<!\\)[<>`*_\[\]|]|(?<!\\)!\\?\[", made.replace("&lt;", ""))


def test_only_http_addresses_become_links(opened: Open, run: Run) -> None:
    others = [
        *HOSTILE.values(),
        "JaVaScRiPt:window.attacked=1",
        " https://example.org",
        "data:text/html,<script>parent.attacked=1</script>",
        "vbscript:x",
        "//example.org/x",
    ]
    http = [
        "https://example.org/plain",
        'https://example.org/"onmouseover="window.attacked=1',
        "https://example.org/'><script>window.attacked=1</script>",
    ]
    shown = [replace(run, link=link)._repr_html_() for link in [*others, *http]]
    found = opened("\n".join(shown))
    assert not found.attacked
    assert len(found.links) == len(http)
    assert all(target.startswith("https://example.org/") for target in found.links)
    assert found.text.count(run.id) == len(shown)


def test_the_result_of_a_comparison_shows_text(opened: Open) -> None:
    import numpy as np

    matrices = scene_matrices(np.random.default_rng(0), 12, [0.2, 0.9])
    sides = {"a": matrices[0], "b": matrices[1]}
    made = table({run: {"metrics.f1": 0.5, "name": ALL} for run in sides})
    counts = confusion(sides)
    labels = (HOSTILE["handler"], HOSTILE["script"])
    found = compare.test(
        made.loc[["a"]], made.loc[["b"]], confusion=counts, labels=labels, resamples=200
    )
    shown = opened(found._repr_html_())
    assert not shown.attacked
    for text in labels:
        assert words(text) in shown.text
    gate = compare.Gate("fails", 0.1, ALL, found) if hasattr(compare, "Gate") else None
    if gate is not None:
        assert not opened(gate._repr_html_()).attacked


def test_kubeflow_artifacts_of_a_run_show_text(opened: Open, run: Run, tmp_path: Path) -> None:
    class Output:
        def __init__(self, name: str) -> None:
            self.path = str(tmp_path / name)

    class Numbers:
        def log_metric(self, metric: str, value: float) -> None:
            assert value == value

    class Matrix:
        def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
            assert len(categories) == len(matrix)

    report, predictions = Output("report.md"), Output("predictions.html")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        emit(json.dumps({"run": run.uri, "split": 0}), Numbers(), Matrix(), report, predictions)
    html = Path(predictions.path).read_text(encoding="utf-8")
    assert not opened(POLICY.sub("", html)).attacked
    assert not opened(_mistune(Path(report.path).read_text(encoding="utf-8"))).attacked
