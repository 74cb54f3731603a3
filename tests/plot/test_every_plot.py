"""Contract of every plot: text of data is not markup, lists work, dark styles are readable."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder  # type: ignore[import-untyped]
from fontTools.pens.ttGlyphPen import TTGlyphPen  # type: ignore[import-untyped]
from matplotlib import font_manager
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from rvlab import plot
from rvlab.plot._style import plain_text
from rvlab.plot._style.text_wrap import width_in_letters
from tests.plot.every_plot import PLOT_NAMES, draw_every_plot, figure_of, sweep, two_runs

pytest.importorskip("sklearn")

NAMES = sorted(PLOT_NAMES)
EACH = pytest.mark.parametrize("name", NAMES)
ODD_WORDS = ["$a%$b", "${IN}_{OUT}^$"]
ODD_TEXT = [*ODD_WORDS, "<b>&amp;", "_hidden", r"\$x\$ \frac", "{0}", "50%"]
CJK = ["\u5efa\u7269", "\u9053\u8def"]


def texts(figure: Figure) -> list[Text]:
    figure.canvas.draw()
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]


def png(figure: Figure) -> np.ndarray:
    figure.savefig(data := io.BytesIO(), format="png", dpi=60)
    data.seek(0)
    return plt.imread(data)


def test_every_public_plot_is_in_the_list(tmp_path: Path) -> None:
    assert {name.split()[0] for name in NAMES} == set(plot.__all__)
    assert set(NAMES) == set(draw_every_plot([1], ["a", "b"], two_runs(tmp_path, ["a", "b"])))


@EACH
def test_text_of_data_is_drawn_letter_by_letter(name: str, tmp_path: Path) -> None:
    figure = draw_every_plot(ODD_TEXT, ODD_WORDS, two_runs(tmp_path, ODD_WORDS))[name]()
    found = texts(figure)
    shown = "\n".join(t.get_text() for t in found)
    wanted = {"importance": [], "scatter of numbers": []}.get(
        name, ODD_WORDS if "confusion" in name or name.startswith("predictions") else ODD_TEXT[:2]
    )
    for word in wanted:
        assert word in shown.replace("\n", "").replace("_ ", "_") or word in shown, word
    for text in found:
        if any(letter in text.get_text() for letter in "{}<>%\\") and "mathdefault" not in str(
            text.get_text()
        ):
            assert not text.get_parse_math()
            assert not text.get_usetex()


def test_legend_has_labels_that_begin_with_an_underscore() -> None:
    ax = plot.scatter(sweep(["_hidden", "_x"]), "params.lr", hue="params.p")
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["_hidden", "_x"]


def test_powers_of_ten_remain_mathematics_and_titles_of_the_caller_too() -> None:
    _, ax = plt.subplots()
    ax.set_title("$R^2$")
    plot.scatter(sweep(["$a%$b"]), "params.lr", hue="params.p", ax=ax, log_x=True)
    figure = figure_of(ax)
    figure.canvas.draw()
    assert ax.title.get_parse_math()
    assert any(t.get_text().startswith("$\\mathdefault{10^{") for t in ax.get_xticklabels())
    assert all(t.get_parse_math() for t in ax.get_xticklabels())


def test_axes_of_the_caller_get_literal_ticks() -> None:
    _, ax = plt.subplots()
    ax.plot([0, 1], [0, 1])
    figure_of(ax).canvas.draw()  # creates the ticks
    plot.scatter(sweep(["$a%$b", "${IN}$"]), "params.p", ax=ax)
    figure_of(ax).canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["$a%$b", "${IN}$"]


@EACH
@pytest.mark.parametrize(
    "values",
    [
        pytest.param([[0, 1, 2], [3, 1, 2]], id="lists"),
        pytest.param([{"w": 1}, {"w": 2}], id="dicts"),
        pytest.param([[["flip", 0.5]], []], id="nested lists"),
        pytest.param([np.array([0, 1]), np.array([2, 3])], id="arrays"),
        pytest.param([{1, 2}, {3}], id="sets"),
        pytest.param([[1], None], id="missing"),
        pytest.param([True, 1, "1"], id="mixed types"),
    ],
)
def test_values_that_cannot_be_hashed_group_and_color(
    name: str, values: list[Any], tmp_path: Path
) -> None:
    figure = draw_every_plot(values, ["a", "b"], two_runs(tmp_path, ["a", "b"]))[name]()
    figure.canvas.draw()


def test_colors_of_equal_lists_are_equal_and_of_others_differ() -> None:
    ax = plot.scatter(sweep([[0, 1], [0, 2]]), "params.lr", hue="params.p", trend=False)
    colors = np.asarray(ax.collections[0].get_facecolor())
    assert (colors[0] == colors[2]).all()
    assert (colors[0] != colors[1]).any()
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["[0, 1]", "[0, 2]"]


def test_long_lists_that_begin_alike_have_different_labels() -> None:
    bands = [[*range(12), 12], [*range(12), 13]]
    ax = plot.scatter(sweep(bands), "params.p")
    assert [t.get_text() for t in ax.get_xticklabels()] == [str(one) for one in bands]


@EACH
def test_dark_style_is_readable_and_leaves_no_trace(name: str, tmp_path: Path) -> None:
    with plt.style.context("dark_background"):
        before = dict(matplotlib.rcParams)
        draw = draw_every_plot(["a", "b"], ["a", "b"], two_runs(tmp_path, ["a", "b"]))[name]
        figure = draw()
        assert dict(matplotlib.rcParams) == before
        shown = png(figure)
        paper = shown[2, -3, :3]  # a corner of the figure
        for text in texts(figure):
            if text.get_gid() not in {"score", "cell"} and is_on_paper(text, figure):
                assert contrast(to_rgb(text.get_color()), paper) >= 4.5, text
        for ax in figure.axes:
            for line in ax.lines:
                if line.get_gid() != "scale bar" and len(line.get_xdata()):
                    assert contrast(to_rgb(line.get_color()), paper) >= 1.5, line


def is_on_paper(text: Text, figure: Figure) -> bool:
    """Return whether a text has no picture, cell or halo behind it."""
    boxes = [
        mesh.get_window_extent()
        for ax in figure.axes
        for mesh in (*ax.images, *(c for c in ax.collections if "Mesh" in type(c).__name__))
    ]
    x, y = text.get_window_extent().get_points().mean(axis=0)
    return not text.get_path_effects() and not any(box.contains(x, y) for box in boxes)


def contrast(one: Any, other: Any) -> float:
    """Return the contrast ratio of two colors (WCAG 2.2)."""
    light = []
    for color in (one, other):
        share = np.asarray(color, float)[:3]
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(light) / min(light)


@EACH
def test_own_figures_look_the_same_in_every_style(name: str, tmp_path: Path) -> None:
    draw = draw_every_plot(["a", "b"], ["a", "b"], two_runs(tmp_path, ["a", "b"]))[name]
    if name.startswith("scatter"):
        return  # drawn with pyplot, in the style of the caller
    plain = png(draw())
    with plt.style.context("dark_background"):
        assert np.abs(png(draw()) - plain).max() < 0.02


@EACH
def test_letters_without_a_glyph_do_not_warn(name: str, tmp_path: Path) -> None:
    words = [f"\U000f1234{i}" for i in range(2)]  # private use: in no font
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw_every_plot(words, words, two_runs(tmp_path, words))[name]()
        shown = "".join(t.get_text() for t in texts(figure))
    assert "\U000f1234" not in shown


@pytest.fixture
def cjk_font(tmp_path: Path) -> Iterator[str]:
    """Register a small font that has the letters of `CJK`."""
    builder, pen = FontBuilder(1000, isTTF=True), TTGlyphPen(None)
    for corner in ((0, 0), (0, 900), (900, 900), (900, 0)):
        (pen.lineTo if corner != (0, 0) else pen.moveTo)(corner)
    pen.closePath()
    letters = sorted(set("".join(CJK)))
    glyphs = [".notdef", *(f"g{i}" for i in range(len(letters)))]
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(one): glyphs[i + 1] for i, one in enumerate(letters)})
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 50)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Noto Sans CJK JP", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=900)
    builder.setupPost()
    builder.save(path := tmp_path / "cjk.ttf")
    known = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(path)
    yield "Noto Sans CJK JP"
    font_manager.fontManager.ttflist[:] = known
    font_manager.fontManager._findfont_cached.cache_clear()


@EACH
def test_installed_font_with_cjk_letters_is_used(
    name: str, tmp_path: Path, cjk_font: str, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw_every_plot(CJK, CJK, two_runs(tmp_path, CJK))[name]()
        found = [t for t in texts(figure) if any(one in t.get_text() for one in "".join(CJK))]
    if name not in {"importance", "scatter of numbers"}:
        assert found
    assert all(cjk_font in t.get_fontfamily() for t in found)
    assert not caplog.records  # such as a bold font that was not found
    assert plain_text.NO_GLYPH not in "".join(t.get_text() for t in texts(figure))


def test_ideographs_count_as_two_letters() -> None:
    assert [width_in_letters(text) for text in ("ab", CJK[0], f"a{CJK[0]}\u2013")] == [2, 4, 6]
    assert width_in_letters("TRUE_POSITIVES") > len("TRUE_POSITIVES")
