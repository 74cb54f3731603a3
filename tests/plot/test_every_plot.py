"""Contract of every plot: text of data is not markup, lists work, dark styles are readable.

Each plot is drawn as few times as possible: with odd words in two styles, and with odd values.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
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
from rvlab.plot._style import figure as figure_module
from rvlab.plot._style.figure import text_width_chars
from tests.plot.every_plot import PLOT_NAMES, draw_every_plot, sweep, two_runs
from tests.raster.samples import Experiment

pytest.importorskip("sklearn")

NAMES = sorted(PLOT_NAMES)
EACH = pytest.mark.parametrize("name", NAMES)
CJK = ["\u5efa\u7269", "\u9053\u8def"]
NO_LETTER = "\U000f1234"  # private use: in no font
ODD_WORDS = ["$a%$b", "${IN}_{OUT}^$"]
ODD_TEXT = [*ODD_WORDS, "<b>&amp;", "_hidden", r"\$x\$ \frac", "{0}", "50%"]
WORDS = [f"{ODD_WORDS[0]}{NO_LETTER}", f"{ODD_WORDS[1]}{CJK[0]}"]
VALUES = [
    *([0, 1, 2], [3, 1, 2], {"w": 1}, {"w": 2}, [["flip", 0.5]], np.array([0, 1])),
    *({1, 2}, {3}, None, True, 1, "1"),
]


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return two_runs(tmp_path_factory.mktemp("odd"), WORDS)


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rvlab.plot._importance.TREES", 5)
    monkeypatch.setattr("rvlab.plot._importance.REPEATS", 2)


def texts(figure: Figure) -> list[Text]:
    figure.canvas.draw()
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]


def png(figure: Figure) -> np.ndarray:
    figure.savefig(data := io.BytesIO(), format="png", dpi=60)
    data.seek(0)
    return plt.imread(data)


def test_every_public_plot_is_in_the_list(painted: Experiment) -> None:
    assert {name.split()[0] for name in NAMES} == set(plot.__all__)
    assert set(NAMES) == set(draw_every_plot([1], WORDS, painted))


@EACH
def test_text_of_data_is_drawn_letter_by_letter_and_readable_in_every_style(
    name: str, painted: Experiment, cjk_font: str, caplog: pytest.LogCaptureFixture
) -> None:
    draw = draw_every_plot([*WORDS, *ODD_TEXT], WORDS, painted)[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # letters without a glyph must not warn
        figure = draw()
        found = texts(figure)
    check_texts(name, found, cjk_font)
    assert not caplog.records  # such as a bold font that was not found
    with plt.style.context("dark_background"):
        before = dict(matplotlib.rcParams)
        dark = draw()
        assert dict(matplotlib.rcParams) == before
        shown = png(dark)
        check_contrast(dark, shown)
    assert np.abs(shown - png(figure)).max() < 0.02  # the same in every style


def check_texts(name: str, found: list[Text], cjk_font: str) -> None:
    shown = "\n".join(t.get_text() for t in found)
    if name not in {"importance", "scatter of numbers"}:
        for word in WORDS:
            drawn = word.replace(NO_LETTER, figure_module.NO_GLYPH)
            assert drawn in shown.replace("\n", "").replace("_ ", "_") or drawn in shown, word
    assert NO_LETTER not in shown
    for text in found:
        written = text.get_text()
        if any(letter in written for letter in "{}<>%\\") and "mathdefault" not in written:
            assert not text.get_parse_math()
            assert not text.get_usetex()
        if CJK[0] in written:
            assert cjk_font in text.get_fontfamily()


def test_legend_has_labels_that_begin_with_an_underscore() -> None:
    (ax,) = plot.scatter(sweep(["_hidden", "_x"]), "params.lr", hue="params.p").axes
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["_hidden", "_x"]


def test_powers_of_ten_remain_mathematics_and_titles_of_the_caller_too() -> None:
    _, ax = plt.subplots()
    ax.set_title("$R^2$")
    plot.scatter(sweep(["$a%$b"]), "params.lr", hue="params.p", ax=ax, log_x=True)
    ax.figure.canvas.draw()
    assert ax.title.get_parse_math()
    assert any(t.get_text().startswith("$\\mathdefault{10^{") for t in ax.get_xticklabels())
    assert all(t.get_parse_math() for t in ax.get_xticklabels())


def test_axes_of_the_caller_get_literal_ticks() -> None:
    _, ax = plt.subplots()
    ax.plot([0, 1], [0, 1])
    ax.figure.canvas.draw()  # creates the ticks
    plot.scatter(sweep(["$a%$b", "${IN}$"]), "params.p", ax=ax)
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["$a%$b", "${IN}$"]


@EACH
def test_values_that_cannot_be_hashed_group_and_color(name: str, painted: Experiment) -> None:
    draw_every_plot(VALUES, WORDS, painted)[name]().canvas.draw()


def test_colors_of_equal_lists_are_equal_and_of_others_differ() -> None:
    (ax,) = plot.scatter(sweep([[0, 1], [0, 2]]), "params.lr", hue="params.p", trend=False).axes
    colors = np.asarray(ax.collections[0].get_facecolor())
    assert (colors[0] == colors[2]).all()
    assert (colors[0] != colors[1]).any()
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["[0, 1]", "[0, 2]"]


def test_long_lists_that_begin_alike_have_different_labels() -> None:
    bands = [[*range(12), 12], [*range(12), 13]]
    (ax,) = plot.scatter(sweep(bands), "params.p").axes
    assert [t.get_text() for t in ax.get_xticklabels()] == [str(one) for one in bands]


def check_contrast(figure: Figure, shown: np.ndarray) -> None:
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


@pytest.fixture(scope="module")
def cjk_font(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
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
    builder.save(path := tmp_path_factory.mktemp("font") / "cjk.ttf")
    known = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(path)
    yield "Noto Sans CJK JP"
    font_manager.fontManager.ttflist[:] = known
    font_manager.fontManager._findfont_cached.cache_clear()


def test_ideographs_count_as_two_letters() -> None:
    assert [text_width_chars(text) for text in ("ab", CJK[0], f"a{CJK[0]}\u2013")] == [2, 4, 6]
    assert text_width_chars("TRUE_POSITIVES") > len("TRUE_POSITIVES")
