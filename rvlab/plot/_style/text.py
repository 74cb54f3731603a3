"""Text in figures: that of data drawn letter by letter, in fonts that have it; width and wrapping.

matplotlib takes text between two ``$`` for mathematics, and with ``text.usetex`` all text for TeX.
Names of classes, scenes, runs and parameters are neither.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axis import Axis
    from matplotlib.text import Text

FALLBACK_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans CJK TC",
    "Noto Sans CJK KR",
    "Noto Sans JP",
    "Noto Sans SC",
    "Noto Sans TC",
    "Noto Sans KR",
    "Source Han Sans",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "IPAexGothic",
    "IPAGothic",
    "TakaoGothic",
    "NanumGothic",
    "Hiragino Sans",
    "PingFang SC",
    "PingFang HK",
    "Heiti TC",
    "Apple SD Gothic Neo",
    "Yu Gothic",
    "MS Gothic",
    "Meiryo",
    "Microsoft YaHei",
    "SimHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Unifont",
)
"""Fonts with Chinese, Japanese or Korean letters, in order of preference. Installed fonts whose
names contain ``CJK`` or begin with ``Noto Sans`` are tried after them."""

NO_GLYPH = "\N{WHITE SQUARE}"
"""Replaces a letter that no font has, so that matplotlib does not warn at each drawing."""

_LETTER_WIDTH = 0.52  # of the type size, slightly more than the mean of English text
_BREAK_MARK = "\x1f"  # marks where a name may be broken
_BREAK_POINT = re.compile("(?<=[a-z])(?=[A-Z])|(?<=-)(?=.)")


def make_texts_literal(*drawn: Artist, known: Mapping[Text, str] | None = None) -> None:
    """Draw all text of artists letter by letter; called once at the end of every plot.

    Labels of ticks that matplotlib formats, such as powers of ten, remain mathematics.

    Args:
        *drawn: A figure, or axes.
        known: Texts of the caller, which may be mathematics, with their content before the plot.
    """
    from matplotlib.axis import Axis
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    formatted: set[Text] = set()
    for one in drawn:
        for axis in one.findobj(Axis):
            labels = {axis.offsetText, *_tick_texts(axis, minor=True)}
            if isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):
                _replace_tick_labels(axis)
            else:
                labels |= set(_tick_texts(axis))
            formatted |= labels
        ticks = {text for axis in one.findobj(Axis) for text in _tick_texts(axis)}
        formatted |= {t for t, said in (known or {}).items() if said == t.get_text()} - ticks
        for text in one.findobj(Text):
            if text not in formatted:
                _draw_text_literally(text)


def _draw_text_literally(text: Text) -> None:
    text.set_parse_math(False)
    text.set_usetex(False)
    written = text.get_text()
    if written.isascii() and written.isprintable():
        return
    families, shown = _fonts_and_letters(written, text.get_fontproperties())
    if families:
        text.set_fontfamily([*text.get_fontfamily(), *families])
        if not all(map(_is_bold_installed, families)):
            text.set_fontweight("normal")  # or matplotlib logs that it found no bold font
    if shown != written:
        text.set_text(shown)


def _tick_texts(axis: Axis, *, minor: bool = False) -> list[Text]:
    ticks = axis.get_minor_ticks() if minor else axis.get_major_ticks()
    return [label for tick in ticks for label in (tick.label1, tick.label2)]


def _replace_tick_labels(axis: Axis) -> None:
    """Replace letters without a glyph in fixed labels, which are formatted at each drawing."""
    labels = axis.get_majorticklabels()
    written = [label.get_text() for label in labels]
    shown = [
        word if word.isascii() else _fonts_and_letters(word, label.get_fontproperties())[1]
        for word, label in zip(written, labels, strict=True)
    ]
    if shown != written:
        axis.set_ticklabels(shown)


def _fonts_and_letters(text: str, properties: Any) -> tuple[list[str], str]:
    """Return the fallback fonts that a text needs, and the text without letters that none has."""
    from matplotlib.font_manager import findfont

    own = findfont(properties)
    lacking = {one for one in text if one != "\n" and not _has_glyph(own, one)}
    families: list[str] = []
    for name, path in _fallback_fonts() if lacking else ():
        found = {one for one in lacking if _has_glyph(path, one)}
        if found:
            families.append(name)
            lacking -= found
        if not lacking:
            break
    box = NO_GLYPH if _has_glyph(own, NO_GLYPH) else "?"
    return families, text.translate({ord(one): box for one in lacking})


def _fallback_fonts() -> list[tuple[str, str]]:
    """List name and path of the installed fallback fonts; cheap, as matplotlib has the list."""
    from matplotlib.font_manager import fontManager

    installed = {font.name: font.fname for font in fontManager.ttflist}
    others = sorted(n for n in installed if "CJK" in n or n.startswith("Noto Sans"))
    names = dict.fromkeys([*FALLBACK_FONTS, *others])
    return [(name, installed[name]) for name in names if name in installed]


def _is_bold_installed(name: str) -> bool:
    from matplotlib.font_manager import fontManager, weight_dict

    weights = [f.weight for f in fontManager.ttflist if f.name == name]
    return any(weight_dict.get(w, 400) >= 600 if isinstance(w, str) else w >= 600 for w in weights)


@lru_cache(4096)
def _has_glyph(path: str, letter: str) -> bool:
    from matplotlib.font_manager import get_font

    return bool(get_font(path).get_char_index(ord(letter)))


def text_inches(text: str, points: float) -> float:
    """Estimate the width of a line in inches."""
    return width_in_letters(text) * _LETTER_WIDTH * points / 72


def width_in_letters(text: str) -> int:
    """Return the width of a text in mean letters: an ideograph is as wide as two.

    Text of mostly capitals is a fifth wider.
    """
    wide = 0 if text.isascii() else sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    capitals = sum(one.isupper() for one in text)
    return len(text) + wide + (capitals // 4 if 2 * capitals >= len(text) - capitals else 0)


def wrap_lines(lines: Sequence[str], width: float, points: float) -> list[str]:
    """Wrap lines to a width.

    Args:
        lines: Lines of any length. Names may also be broken after ``/`` and ``_``, and long names
            before capitals and after ``-``.
        width: Maximum width in inches.
        points: Type size.
    """
    max_chars = max(8, int(width * 72 / (_LETTER_WIDTH * points)))
    return [part for line in lines for part in _break_words(line, max_chars)]


def _break_words(text: str, max_chars: int) -> list[str]:
    marked = re.sub("(?<![/_])([/_])(?![/_])", rf"\1{_BREAK_MARK} ", text)
    # Names such as SemanticSegmentationConfig and run ids have no other break points.
    marked = re.sub(
        rf"\S{{{max_chars},}}", lambda m: _BREAK_POINT.sub(f"{_BREAK_MARK} ", m[0]), marked
    )
    max_chars = max(4, max_chars * len(text) // max(1, width_in_letters(text)))
    lines = textwrap.wrap(marked, max_chars, break_on_hyphens=False)
    return [line.replace(f"{_BREAK_MARK} ", "").replace(_BREAK_MARK, "") for line in lines] or [""]
