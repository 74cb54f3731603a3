"""Figures that a notebook shows once, and their text: drawn letter by letter, measured, wrapped.

matplotlib takes text between two ``$`` for mathematics, and with ``text.usetex`` all text for TeX.
Names of classes, scenes, runs and parameters are neither.
"""

from __future__ import annotations

import io
import re
import struct
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rvlab.errors import SpecError
from rvlab.plot._style.theme import ON_LIGHT, choose_theme_colors

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
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

_OWN_PARAMETERS = (
    *("axes.", "xtick.", "ytick.", "text.", "legend.", "lines.", "patch.", "hatch.", "grid."),
    *("figure.facecolor", "figure.edgecolor", "scatter."),
)

P = ParamSpec("P")
R = TypeVar("R")


def plot_function(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorate a plot: it returns the figure that it creates, or the axes that it is given.

    Its own figure has the same colors with every style sheet, such as ``dark_background``: dark
    text on white. On axes of the caller, its colors are those that are visible on their background.
    Its text is drawn as `make_texts_literal` does. The ``rcParams`` are restored.
    """

    @wraps(draw)
    def draw_literally(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        ax: Any = kwargs.get("ax")
        if ax is not None:
            _require_axes(ax)
            figure, known = ax.figure, _texts(ax.figure)
            before = set(figure.axes)
            made: Any = draw(*args, **kwargs)
            new = (one for one in figure.axes if one not in before)
            make_texts_literal(ax, *new, known=known)
            return made  # type: ignore[no-any-return]
        with matplotlib.rc_context(_own_style()):
            made = draw(*args, **kwargs)
            make_texts_literal(made)
        return made  # type: ignore[no-any-return]

    return draw_literally


def _require_axes(ax: Any) -> None:
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise SpecError(f"ax must be one matplotlib Axes, got {type(ax).__name__}.")


def _texts(figure: Any) -> dict[Any, str]:
    """Return the text objects of a figure that are not empty, with their text."""
    from matplotlib.text import Text

    return {text: text.get_text() for text in figure.findobj(Text) if text.get_text()}


def _own_style() -> Any:
    import matplotlib

    return {
        name: value
        for name, value in matplotlib.rcParamsDefault.items()
        if name.startswith(_OWN_PARAMETERS)
    }


def new_figure(width: float, height: float) -> Figure:
    """Create a figure that a notebook shows once when it is the last value of a cell.

    The figure is not registered with pyplot. Therefore the inline backend does not draw it again at
    the end of the cell, and it is freed with its last reference. Its background is white with every
    style sheet.

    Args:
        width: Width in inches.
        height: Height in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class Picture(Figure):
        def add_axes(self, *args: Any, **kwargs: Any) -> Any:
            made = super().add_axes(*args, **kwargs)
            # Ticks are created when the figure is drawn, with the style sheet of that moment.
            made.tick_params(which="both", color=ON_LIGHT.text, labelcolor=ON_LIGHT.text)
            return made

        def savefig(self, *args: Any, **kwargs: Any) -> None:
            # A style sheet's "savefig.facecolor" would replace the background.
            super().savefig(*args, **{"facecolor": "auto", "edgecolor": "auto"} | kwargs)

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            file, density = io.BytesIO(), _pixel_density()
            # The default level takes a third longer and saves a tenth of the bytes.
            self.savefig(file, format="png", dpi=100 * density, pil_kwargs={"compress_level": 2})
            data = file.getvalue()
            width, height = struct.unpack(">II", data[16:24])  # the header of a PNG file
            return data, {"width": width // density, "height": height // density}

    made = Picture(figsize=(width, height), dpi=100, facecolor="white")
    FigureCanvasAgg(made)
    return made


def _pixel_density() -> int:
    """Return 2 if the notebook's ``InlineBackend.figure_format`` is ``retina``, else 1."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return 1
    from matplotlib_inline.config import InlineBackend  # IPython requires this package

    formats = InlineBackend.instance(parent=shell).figure_formats
    return 2 if formats & {"retina", "png2x"} else 1


def empty_figure(text: str) -> Figure:
    """Create a small figure that contains only a text."""
    made = new_figure(6.0, 1.2)
    write_text_in_empty_axes(made.add_axes((0.0, 0.0, 1.0, 1.0)), text)
    return made


def draw_empty(text: str, ax: Axes | None) -> Figure | Axes:
    """Write why there is nothing to draw into `ax`, or into a small figure of its own."""
    if ax is None:
        return empty_figure(text)
    write_text_in_empty_axes(ax, text)
    return ax


def write_text_in_empty_axes(ax: Axes, text: str) -> None:
    """Write the reason into an empty axes."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": choose_theme_colors(ax).note}
    ax.text(0.5, 0.5, text, transform=ax.transAxes, **look)


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


def text_width_inches(text: str, points: float) -> float:
    """Estimate the width of a line in inches."""
    return text_width_chars(text) * _LETTER_WIDTH * points / 72


def text_width_chars(text: str) -> int:
    """Return the width of a text in mean letters: an ideograph is as wide as two.

    Text in which at least every third character is a capital is up to a quarter wider.
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
    max_chars = max(4, max_chars * len(text) // max(1, text_width_chars(text)))
    lines = textwrap.wrap(marked, max_chars, break_on_hyphens=False)
    return [line.replace(f"{_BREAK_MARK} ", "").replace(_BREAK_MARK, "") for line in lines] or [""]
